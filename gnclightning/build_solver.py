"""From configuration to solvers and their objectives: algorithms, schedules, weights alpha_t."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any, Literal

from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.config.objective import AlphaConfig
from gnclightning.config.solver import (
    DescentConfig,
    FirstOrderConfig,
    GNCFlowConfig,
    GradientDescentConfig,
    GradientLikeConfig,
    GraduatedConfig,
    PreconditionedConfig,
    SolverConfig,
)
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import LinearOperator, weighted
from gnclightning.priors import EnergyPrior, NetworkPrior, Prior, ScaledEnergy, ScaledPrior
from gnclightning.reconstruction.discrepancy import Discrepancy
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    ConstantStep,
    FixedFirstStep,
    Safeguard,
    Solver,
    gnc_flow,
    gradient_descent,
    gradient_like,
    linear_schedule,
    log_schedule,
    preconditioned,
)

_LEAST_STEPS_PER_WEIGHT = 10
"""With fewer, iterates are no minimisers: their residuals need not rise with alpha, by which the
search for it goes astray, and takes longer than it saved."""


def build_alpha(
    config: AlphaConfig, prior: NetworkPrior, solver: SolverConfig, operator: LinearOperator
) -> Callable[[Tensor], Alpha]:
    """The rule that gives the weights alpha_t for noise of standard deviation sigma_y."""
    if config.from_noise:
        gain = solver.alpha_gain if config.gain is None else config.gain
        in_units = gain * operator.mean_gain()
        return lambda sigma_y: Alpha.from_noise_level(
            prior.sde, sigma_y, solver.last_time, in_units, config.weight
        )
    rule = Alpha.constant if config.rule == "constant" else Alpha.noise_scale
    alpha = rule(prior.sde, config.weight)
    return lambda sigma_y: replace(alpha, scale=alpha.scale.to(sigma_y.device))


def build_discrepancy(config: AlphaConfig, solver: SolverConfig) -> Discrepancy | None:
    """How to search for the weight, if that is asked for."""
    if config.rule != "discrepancy":
        return None
    steps = max(_LEAST_STEPS_PER_WEIGHT, ceil(solver.steps / 4))
    return Discrepancy(config.tau, config.tolerance, config.tries, steps)


def build_solver(config: SolverConfig) -> Solver:
    """The algorithm with its line search, first step and schedule.

    After the last time of the schedule, t_min, it goes on there until its steps are done.
    """
    return replace(_algorithm(config), steps=config.steps)


def _algorithm(config: SolverConfig) -> Solver:
    search = Armijo(config.armijo, config.shrink, config.max_trials)
    common = {"memory": config.nonmonotone + 1, "tolerance": config.gradient_tolerance}
    fixed = FixedFirstStep(config.first_step)
    if isinstance(config, PreconditionedConfig):
        return preconditioned(
            build_schedule(config),
            search=search,
            first_step=fixed,
            **_descent(config),
            **common,
        )
    assert isinstance(config, FirstOrderConfig)
    first = BarzilaiBorweinFirstStep(config.first_step, config.barzilai_borwein)
    match config:
        case GradientLikeConfig():
            return gradient_like(
                build_schedule(config),
                search=search,
                first_step=first,
                **_descent(config),
                **common,
            )
        case GNCFlowConfig(step_rule="constant", constant_step=step):
            return gnc_flow(
                build_schedule(config),
                search=ConstantStep(),
                first_step=FixedFirstStep(step),
                **common,
            )
        case GNCFlowConfig():
            return gnc_flow(build_schedule(config), search=search, first_step=first, **common)
        case GradientDescentConfig():
            return gradient_descent(
                config.last_time, config.steps, search=search, first_step=first, **common
            )
    raise AssertionError(config)


def _descent(config: DescentConfig) -> dict[str, Any]:
    """What makes directions descend on f."""
    safeguard = Safeguard(config.kappa_1, config.kappa_2)
    return {"descent_from": config.descent_from, "safeguard": safeguard}


def build_schedule(config: GraduatedConfig) -> Tensor:
    """The smoothing times from t_max down to t_min, reached `final_steps` before the end."""
    spacing = log_schedule if config.schedule == "log" else linear_schedule
    return spacing(config.t_max, config.last_time, config.steps - config.final_steps + 1)


def build_regulariser(evaluate_at: Literal["x", "scaled"], prior: NetworkPrior) -> Prior:
    """R(., t): the prior at x, or at gamma_t x."""
    if evaluate_at == "x":
        return prior
    if isinstance(prior, EnergyPrior):
        return ScaledEnergy(prior, prior.sde)
    return ScaledPrior(prior, prior.sde)


def build_objective(
    solver: SolverConfig,
    operator: LinearOperator,
    regulariser: Prior,
    alpha: Callable[[Tensor], Alpha],
) -> Callable[[MeasuredBatch], GraduatedObjective]:
    """What gives a measured batch its objective."""
    more: dict[str, Any] = {}
    if isinstance(solver, PreconditionedConfig):
        more = {
            "damping": solver.damping,
            "cg_factor": solver.cg_factor,
            "cg_steps": solver.cg_steps,
        }
    return lambda measured: GraduatedObjective(
        *weighted(operator, measured.y, measured.weights),
        regulariser,
        alpha(measured.sigma_y),
        solver.last_time,
        sigma_y=measured.sigma_y,
        **more,
    )
