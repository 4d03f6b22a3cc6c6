"""Small problems with known answers, and solvers for them, shared by tests."""

import torch
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import Matrix
from gnclightning.priors import GaussianMixture, Prior
from gnclightning.sde import SDE, VPSDE
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    ConstantStep,
    FixedFirstStep,
    Solver,
    gnc_flow,
    gradient_descent,
    gradient_like,
    log_schedule,
    preconditioned,
)

T_MIN, C = 1e-2, 1e-3


class CountedMatrix(Matrix):
    """Counts its applications per column."""

    applications = 0

    def _matvec(self, x: Tensor) -> Tensor:
        self.applications += len(x)
        return super()._matvec(x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        self.applications += len(y)
        return super()._rmatvec(y)


class ScoreOnly:
    """The score of a prior, without its energy; counts evaluations per image."""

    def __init__(self, prior: Prior):
        self.prior = prior
        self.evaluations = 0

    def score(self, x, t):
        self.evaluations += len(x)
        return self.prior.score(x, t)

    def curvature(self, t):
        return self.prior.curvature(t)

    def mean_scale(self, t):
        return self.prior.mean_scale(t)


class Counting(ScoreOnly):
    """A prior with its energy, likewise."""

    def energy(self, x, t):
        self.evaluations += len(x)
        return self.prior.energy(x, t)

    def energy_and_score(self, x, t):
        self.evaluations += len(x)
        return self.prior.energy_and_score(x, t)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_prior(sde: SDE, n: int, variance: float = 1.0) -> GaussianMixture:
    eye = torch.eye(n, dtype=torch.float64)
    return GaussianMixture(sde, torch.full((1, n), 0.5, dtype=torch.float64), variance * eye[None])


def mixture_prior(sde: SDE, n: int, spread: float = 2.0) -> GaussianMixture:
    means = spread * random(4, n, seed=11)
    roots = random(4, n, n, seed=12)
    eye = torch.eye(n, dtype=torch.float64)
    return GaussianMixture(sde, means, 0.1 * roots @ roots.mT / n + 0.05 * eye)


def problem(
    batch: int = 5, n: int = 6, m: int = 4, *, gaussian: bool = False, alpha: float = 0.3
) -> GraduatedObjective:
    """Underdetermined, non-convex unless `gaussian`; counts A, A* and prior evaluations."""
    sde = VPSDE()
    prior = gaussian_prior(sde, n) if gaussian else mixture_prior(sde, n)
    operator = CountedMatrix(random(m, n, seed=1))
    y = random(batch, n, seed=2) @ operator.matrix.mT
    return GraduatedObjective(
        operator,
        y,
        Counting(prior),
        Alpha.noise_scale(sde, alpha),
        T_MIN,
        cg_factor=0,
        cg_steps=3,
    )


def start(batch: int = 5, n: int = 6, seed: int = 3) -> Tensor:
    return 2 * random(batch, n, seed=seed)


def solvers(steps: int = 25) -> dict[str, Solver]:
    """One of each kind."""
    schedule = log_schedule(1.0, T_MIN, steps)
    bb = BarzilaiBorweinFirstStep(0.1, 4.0)
    return {
        "gnc_flow": gnc_flow(schedule, search=Armijo(C), first_step=bb),
        "constant": gnc_flow(schedule, search=ConstantStep(), first_step=FixedFirstStep(0.02)),
        "gradient_like": gradient_like(schedule, search=Armijo(C), first_step=bb),
        "nonmonotone": gradient_like(schedule, search=Armijo(C), first_step=bb, memory=4),
        "preconditioned": preconditioned(
            schedule, search=Armijo(C), first_step=FixedFirstStep(1.0)
        ),
        "gradient_descent": gradient_descent(T_MIN, steps, search=Armijo(C), first_step=bb),
    }
