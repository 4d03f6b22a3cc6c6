"""The methods of the paper and the preconditioned one, assembled from their parts."""

from torch import Tensor

from gnclightning.solvers.directions import (
    BarzilaiBorweinFirstStep,
    FixedFirstStep,
    GradientDirection,
    PreconditionedDirection,
)
from gnclightning.solvers.line_search import Armijo, ConstantStep
from gnclightning.solvers.safeguard import NO_MORE_THAN_ROUNDING, Safeguard
from gnclightning.solvers.schedules import log_schedule
from gnclightning.solvers.solver import Solver


def gnc_flow(
    schedule: Tensor,
    *,
    search: Armijo | ConstantStep,
    first_step: BarzilaiBorweinFirstStep | FixedFirstStep,
    memory: int = 1,
    tolerance: float = 0.0,
) -> Solver:
    """Algorithm 1, graduated non-convexity flow: d = -t_i grad F(x, t_i) whatever it does to f."""
    return Solver(
        schedule=schedule,
        steps=schedule.shape[-1],
        direction=GradientDirection(),
        first_step=first_step,
        search=search,
        descent_from=None,
        memory=memory,
        tolerance=tolerance,
    )


def gradient_like(
    schedule: Tensor,
    *,
    search: Armijo,
    first_step: BarzilaiBorweinFirstStep | FixedFirstStep,
    descent_from: int = 0,
    safeguard: Safeguard = NO_MORE_THAN_ROUNDING,
    memory: int = 1,
    tolerance: float = 0.0,
    lookahead: int = 1,
) -> Solver:
    """Algorithm 2: d = -t_j grad F(x, t_j) with the largest t_j that descends on f.

    The condition, as far as the safeguard asks, is enforced after `descent_from` iterations.
    """
    return Solver(
        schedule=schedule,
        steps=schedule.shape[-1],
        direction=GradientDirection(),
        first_step=first_step,
        search=search,
        descent_from=descent_from,
        safeguard=safeguard,
        memory=memory,
        tolerance=tolerance,
        lookahead=lookahead,
    )


def preconditioned(
    schedule: Tensor,
    *,
    search: Armijo,
    first_step: FixedFirstStep,
    descent_from: int = 0,
    safeguard: Safeguard = NO_MORE_THAN_ROUNDING,
    memory: int = 1,
    tolerance: float = 0.0,
    lookahead: int = 1,
) -> Solver:
    """Algorithm 2 in the metric A*A + rho_t I; see `gradient_like`."""
    return Solver(
        schedule=schedule,
        steps=schedule.shape[-1],
        direction=PreconditionedDirection(),
        first_step=first_step,
        search=search,
        descent_from=descent_from,
        safeguard=safeguard,
        memory=memory,
        tolerance=tolerance,
        lookahead=lookahead,
    )


def gradient_descent(
    t_min: float,
    steps: int,
    *,
    search: Armijo,
    first_step: BarzilaiBorweinFirstStep | FixedFirstStep,
    memory: int = 1,
    tolerance: float = 0.0,
) -> Solver:
    """Gradient descent on f itself, the paper's baseline (Table 1)."""
    return Solver(
        schedule=log_schedule(t_min, t_min, 1),
        steps=steps,
        direction=GradientDirection(times_t=False),
        first_step=first_step,
        search=search,
        descent_from=None,
        memory=memory,
        tolerance=tolerance,
    )
