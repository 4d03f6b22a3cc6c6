"""The schema of the solvers: what they share is written once, and inherited."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from gnclightning.config.sections import FieldError, Section, bounded

_TIME_OF_NOISE = 0.25
"""What t_min is in units of the relative noise level if it is not given."""
_MEAN_STEPS, _MOST_MEAN_STEPS = 4, 16
_FEW_FROM_TIME, _MORE_BELOW = 0.025, 0.43
"""Steps of the last denoising if not given: few from this time on, that of 10 % noise, else more
by this power of the time, up to the most at 1e-3 (docs/results.md, "Little noise")."""
_SMALLEST_TIME, _LARGEST_TIME = 1e-3, 0.1
"""Between these lies t_min if it is not given; reconstructions beyond them were not measured."""


@dataclass(kw_only=True)
class SolverConfig(Section):
    """The algorithm, with backtracking along the Armijo rule."""

    alpha_gain: ClassVar[float] = 1.0
    """What alpha.gain is when it is not given."""

    name: str
    """Which algorithm."""
    steps: int = bounded(40, ">= 1")
    """Iterations."""
    t_min: float | None = bounded(None, "> 0, <= 1")
    """Smallest time: the objective f is the one smoothed to this time; null: a quarter of the
    relative noise level, between 1e-3 and 0.1."""
    first_step: float = bounded(1.0, "> 0")
    """Step size that the first line search tries first."""
    armijo: float = bounded(1e-3, "> 0, < 1")
    """Constant of the Armijo rule: part of the predicted decrease that a step must reach."""
    shrink: float = bounded(0.5, "> 0, < 1")
    """Factor of the step size after a rejected trial."""
    max_trials: int = bounded(15, ">= 1")
    """Trials of a line search before it fails."""
    nonmonotone: int = bounded(0, ">= 0")
    """Former values that a step may be compared with, besides the current; 0: monotone."""
    gradient_tolerance: float = bounded(0.0, ">= 0")
    """Stop once the gradient norm falls to this part of its first value; 0: never."""
    final_denoising: bool = True
    """Whether the result is the mean of the images that the last iterate can be with noise of level
    t_min (Tweedie's formula, at no cost), or the last iterate itself."""
    mean_steps: int | None = bounded(None, ">= 0")
    """Steps of the last denoising that compare its result, not the iterate, with the measurements:
    exact for Gaussian priors, one evaluation each and projections as an iteration. The result is
    the mean over the last eight, each of which sees the image flipped or turned otherwise where the
    prior's metadata say that these are as likely. The less is measured, or the less noise there is,
    the more steps help; null: 4 for t_min from 0.025 on, up to 16 at 1e-3."""

    @property
    def last_time(self) -> float:
        """`t_min`, filled in where the noise level is known."""
        assert self.t_min is not None
        return self.t_min

    @property
    def steps_towards_mean(self) -> int:
        """`mean_steps`, or what stands for it if it is not given."""
        if self.mean_steps is not None:
            return self.mean_steps
        steps = round(_MEAN_STEPS * (_FEW_FROM_TIME / self.last_time) ** _MORE_BELOW)
        return min(max(steps, _MEAN_STEPS), _MOST_MEAN_STEPS)

    def time_for(self, noise: float) -> float:
        """The `t_min` for a relative noise level, if none is given, to six digits."""
        return self.time_near(_TIME_OF_NOISE * noise)

    def time_near(self, time: float) -> float:
        """The nearest time that `t_min` may have if none is given, to six digits."""
        return float(f"{min(max(time, _SMALLEST_TIME), _LARGEST_TIME):.6g}")


@dataclass(kw_only=True)
class GraduatedConfig(SolverConfig):
    """A solver whose direction follows a schedule of smoothing times."""

    t_max: float = bounded(1.0, "> 0, <= 1")
    """Time of the first, smoothest objective."""
    schedule: Literal["log", "linear"] = "log"
    """Spacing of the times from t_max down to t_min."""
    final_steps: int = bounded(1, ">= 1")
    """How many of the iterations, the last ones, are at t_min."""

    def time_near(self, time: float) -> float:
        """See `SolverConfig`; at most t_max."""
        return min(super().time_near(time), self.t_max)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.t_min is not None and self.t_min > self.t_max:
            raise FieldError(self, "t_min", f"expected <= t_max={self.t_max}, got {self.t_min}")
        if self.final_steps > self.steps:
            message = f"expected <= steps={self.steps}, got {self.final_steps}"
            raise FieldError(self, "final_steps", message)


@dataclass(kw_only=True)
class DescentConfig(GraduatedConfig):
    """A graduated solver that makes its directions descend on f."""

    descent_from: int = bounded(0, ">= 0")
    """Iterations after which a direction must descend on f: the schedule then skips times whose
    direction does not."""
    kappa_1: float = bounded(1e-8, "> 0, <= 1")
    """Descending means <grad f, d> <= -kappa_1 |grad f|^2 ..."""
    kappa_2: float = bounded(1e8, ">= 1")
    """... and |d| <= kappa_2 |grad f|; at t_min, -grad f replaces a direction without the two."""


@dataclass(kw_only=True)
class FirstOrderConfig(SolverConfig):
    """A solver without preconditioner: many steps, of Barzilai-Borwein size.

    A*A limits its steps, so that x follows the smoothing only where the curvature alpha_t / nu_t^2
    of the regulariser is not much less: hence the larger gain of alpha and the shorter range of
    times (docs/results.md, "Algorithms 1 and 2").
    """

    alpha_gain: ClassVar[float] = 5.0

    steps: int = bounded(300, ">= 1")
    first_step: float = bounded(0.01, "> 0")
    barzilai_borwein: float = bounded(1.9, "> 0")
    """Factor of the second Barzilai-Borwein step that later line searches try first. Just under 2,
    where the stiffest direction of A would no longer decrease, the first trial is accepted."""


@dataclass(kw_only=True)
class FirstOrderGraduatedConfig(FirstOrderConfig, GraduatedConfig):
    """A first-order solver along a schedule."""

    t_max: float = bounded(0.1, "> 0, <= 1")


@dataclass(kw_only=True)
class PreconditionedConfig(DescentConfig):
    """Gradient-like method in the metric of A*A + rho_t I; few iterations."""

    name: str = "preconditioned"
    steps: int = bounded(10, ">= 1")
    """Iterations. Fewer, down to 4, are enough with start=fbp solver.t_max=0.2."""
    cg_steps: int = bounded(15, ">= 1")
    """Conjugate-gradient steps for each direction, at least."""
    cg_factor: float = bounded(1.5, ">= 0")
    """Steps in units of the square root of the condition number 1 + |A|^2 / rho_t where these are
    more, up to 300: the less noise, the more. 0: always cg_steps."""
    damping: float = bounded(2.0, "> 0")
    """kappa in rho_t = kappa alpha_t c_t, with the curvature c_t of the prior (1/nu_t^2)."""


@dataclass(kw_only=True)
class GradientLikeConfig(FirstOrderGraduatedConfig, DescentConfig):
    """Algorithm 2: gradient-like directions, smoothing adapted to the descent condition."""

    name: str = "gradient_like"


@dataclass(kw_only=True)
class GNCFlowConfig(FirstOrderGraduatedConfig):
    """Algorithm 1: graduated non-convexity flow along a fixed schedule."""

    name: str = "gnc_flow"
    step_rule: Literal["armijo", "constant"] = "armijo"
    """armijo: line search; constant: constant_step times t, without line search."""
    constant_step: float = bounded(5e-4, "> 0")
    """Step size of step_rule=constant."""


@dataclass(kw_only=True)
class GradientDescentConfig(FirstOrderConfig):
    """Gradient descent on f, without graduation: the baseline."""

    name: str = "gradient_descent"
