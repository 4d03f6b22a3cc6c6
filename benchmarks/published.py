"""Algorithm 1 with the evaluation pattern of the published experiments, to compare ours with.

Written from the description of that pattern: images are reconstructed one by one; each quantity is
computed where the algorithm names it, from the image alone. So one iteration evaluates grad F(x, t)
and grad f(x) (for the descent condition, which is logged, and for the Barzilai-Borwein step), each
with A and A*; f(x), although the accepted trial already gave it; and f of each trial, each with A.
Step sizes, line search and what happens after refused trials are as in `gnclightning.solvers`, so
that the iterates agree.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.operators import LinearOperator
from gnclightning.priors import EnergyPrior
from gnclightning.tensors import inner, squared_norm

C, SHRINK, TRIALS = 1e-3, 0.5, 15
FIRST, FACTOR = 0.01, 4.0
SMALLEST, LARGEST = 1e-10, 1e10


@dataclass
class Published:
    """Algorithm 1 on one image at a time, with counts of what it evaluates.

    Attributes:
        operator: A.
        prior: R and its score.
        alpha: of all images of the batch that is to come.
        times: the schedule, whose last time is t_min unless it is given.
        t_min: of f.
    """

    operator: LinearOperator
    prior: EnergyPrior
    alpha: Alpha
    times: list[float]
    t_min: float
    energies: int = 0
    gradients: int = 0
    projections: int = 0

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """The last iterates for measurements y (B, ...) from the starts x (B, ...)."""
        found = []
        for i in range(len(y)):
            weight = self.alpha.select(torch.tensor([i], device=y.device))
            found.append(self._image(y[i : i + 1], x[i : i + 1], weight))
        return torch.cat(found)

    def _image(self, y: Tensor, x: Tensor, alpha: Alpha) -> Tensor:
        step, last = x.new_full((1,), torch.nan, dtype=torch.float64), None
        for t in self.times:
            direction = -t * self._gradient(x, y, t, alpha)
            gradient = self._gradient(x, y, self.t_min, alpha)
            slope = inner(gradient, direction)
            fallback = 2 * step if bool(step > 0) else torch.full_like(step, FIRST)
            trial = fallback if last is None else _first_step(x, gradient, last, fallback, t)
            last = x, gradient
            x, step = self._search(x, y, direction, slope, trial.clamp(SMALLEST, LARGEST), alpha)
        return x

    def _search(
        self, x: Tensor, y: Tensor, direction: Tensor, slope: Tensor, step: Tensor, alpha: Alpha
    ) -> tuple[Tensor, Tensor]:
        value = self._value(x, y, alpha)
        for _ in range(TRIALS):
            new = x + step.to(x) * direction
            if bool(self._value(new, y, alpha) <= value + C * step * slope):
                return new, step
            step = step * SHRINK
        return x, torch.zeros_like(step)

    def _value(self, x: Tensor, y: Tensor, alpha: Alpha) -> Tensor:
        """f(x): the energy and A."""
        self.energies += 1
        self.projections += 1
        t = x.new_full((1,), self.t_min, dtype=torch.float64)
        fidelity = 0.5 * squared_norm(self.operator(x) - y)
        return fidelity + alpha(t) * self.prior.energy(x, t.to(x)).double()

    def _gradient(self, x: Tensor, y: Tensor, t: float, alpha: Alpha) -> Tensor:
        """Grad F(x,t): the score, A and A*."""
        self.gradients += 1
        self.projections += 2
        time = x.new_full((1,), t, dtype=torch.float64)
        data = self.operator.adjoint(self.operator(x) - y)
        return data - alpha(time).to(x) * self.prior.score(x, time.to(x))


def _first_step(
    x: Tensor, gradient: Tensor, last: tuple[Tensor, Tensor], fallback: Tensor, t: float
) -> Tensor:
    """`FACTOR` times the second Barzilai-Borwein step where it is positive."""
    change = gradient - last[1]
    step = inner(x - last[0], change) / squared_norm(change)
    return FACTOR * step / t if bool((step > 0) & step.isfinite()) else fallback
