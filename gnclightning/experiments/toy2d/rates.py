"""Runs one method from all starts, and counts where the iterates are while it runs.

No iterate is stored: memory does not grow with the number of iterations.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.experiments.toy2d.methods import Plan
from gnclightning.objectives import GraduatedObjective
from gnclightning.problem import positions
from gnclightning.solvers import SolverState, Status

NEAR = 0.1
"""Distance from the global minimiser of f that counts as having reached it (Section 4.1)."""
STATIONARY, STRICTLY_STATIONARY = 0.1, 1e-3
"""Norms of grad f that count as stationary: the paper's, which 12.8 % of the starts satisfy from
the beginning, and one that only stationary points satisfy."""
QUANTITIES = ("global_minimum_rate", "stationary_rate", "strict_stationary_rate")


@dataclass(frozen=True)
class Rates:
    """What became of the starts with one t_max.

    Attributes:
        curves: `QUANTITIES` as shares of the starts after 0, 1, ... iterations, (3, steps + 1).
        reached: whether each start ended near the global minimiser, (starts,) bool.
    """

    curves: NDArray[np.float64]
    reached: NDArray[np.bool_]


def measure(
    plan: Plan,
    objective: GraduatedObjective,
    starts: Tensor,
    schedule: Tensor,
    steps: int,
    minimiser: Tensor,
) -> list[Rates]:
    """Run a method and count.

    Args:
        plan: the method for S schedules.
        objective: of B points.
        starts: (B, 2), as many for each schedule, in the same order.
        schedule: which schedule each start follows, (B,) int64, ascending.
        steps: iterations.
        minimiser: global minimiser of f, (2,).

    Returns:
        One entry per schedule.
    """
    count = int(schedule[-1]) + 1
    membership = torch.nn.functional.one_hot(schedule, count).double()
    settled = torch.zeros(len(QUANTITIES), count, dtype=torch.float64)
    curves = torch.empty(steps + 1, len(QUANTITIES), count, dtype=torch.float64)
    reached = torch.zeros(len(starts), dtype=torch.bool)
    rows = torch.arange(len(starts))
    with torch.no_grad():
        state = plan.solver(0).init(objective, starts, schedule)
        for iteration in range(steps + 1):
            flags = _flags(state, minimiser)
            curves[iteration] = settled + flags @ membership
            running = state.status == Status.RUNNING
            if not bool(running.all()):
                # A start that has stopped does not move again: its share is settled.
                stopped, going = positions(~running), positions(running)
                settled += flags[:, stopped] @ membership[stopped]
                reached[rows[stopped]] = flags[0, stopped] > 0
                state, objective = state.select(going), objective.select(going)
                membership, rows = membership[going], rows[going]
            if len(rows) and iteration < steps:
                state = plan.solver(iteration).advance(objective, state)
    shares = (curves * count / len(starts)).permute(2, 1, 0).numpy()
    return [
        Rates(part, ends)
        for part, ends in zip(shares, reached.view(count, -1).numpy(), strict=True)
    ]


def _flags(state: SolverState, minimiser: Tensor) -> Tensor:
    """Which of the `QUANTITIES` each iterate satisfies, (3, B) as float64."""
    near = (state.point.x - minimiser).square().sum(1) <= NEAR**2
    gradient = state.gradient_norm
    return torch.stack([near, gradient <= STATIONARY, gradient <= STRICTLY_STATIONARY]).double()


def trajectories(
    plan: Plan, objective: GraduatedObjective, starts: Tensor, steps: int
) -> NDArray[np.float64]:
    """The iterates of a few starts with one schedule, (steps + 1, B, 2)."""
    with torch.no_grad():
        state = plan.solver(0).init(objective, starts)
        points = [state.point.x]
        for iteration in range(steps):
            if bool((state.status == Status.RUNNING).any()):
                state = plan.solver(iteration).advance(objective, state)
            points.append(state.point.x)
    return torch.stack(points).numpy()
