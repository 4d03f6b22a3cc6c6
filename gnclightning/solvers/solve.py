"""The loop: from a problem and a start to a solution with trace and certificate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.problem import Problem
from gnclightning.solvers.certificate import Certificate, certify
from gnclightning.solvers.solver import Solver
from gnclightning.solvers.state import Record, SolverState, Status

Callback = Callable[[SolverState, Record | None], None]
"""Told the state at the start, without a record, and after each iteration, with its record."""


@dataclass(frozen=True)
class Solution:
    """What a solver returns, for a batch.

    Attributes:
        x: the last iterates (B, ...).
        state: the whole last state; `iterate` goes on from it.
        trace: one record per iteration.
        certificate: see `certificate`.
    """

    x: Tensor
    state: SolverState
    trace: list[Record]
    certificate: Certificate

    @property
    def status(self) -> list[Status]:
        """Why each image stopped."""
        return [Status(int(code)) for code in self.state.status]


def iterate(
    solver: Solver, problem: Problem, state: SolverState, width: int | None = None
) -> Iterator[tuple[SolverState, Record]]:
    """Step until no image is running; yields the state after each iteration and its record."""
    while bool((state.status == Status.RUNNING).any()):
        state, record = solver.step(problem, state, width)
        yield state, record


def solve(
    solver: Solver,
    problem: Problem,
    x: Tensor,
    callback: Callback | None = None,
    width: int | None = None,
) -> Solution:
    """Run `solver` on `problem` from the starts `x` (B, ...).

    Args:
        solver: see `algorithms` for ready-made ones.
        problem: the objective f and its family.
        x: starts (B, ...), not changed.
        callback: may log what it is told, must not change it.
        width: images that are iterated together, at most; see `Solver.step`. None: all.
    """
    with torch.no_grad():
        state = start = solver.init(problem, x, width=width)
        if callback is not None:
            callback(start, None)
        trace: list[Record] = []
        for state, record in iterate(solver, problem, start, width):
            trace.append(record)
            if callback is not None:
                callback(state, record)
    certificate = certify(
        trace,
        solver.sufficient_decrease,
        problem.t_min,
        start.point.value,
        start.initial_gradient_norm,
        solver.memory,
        problem.integrated,
    )
    return Solution(state.point.x, state, trace, certificate)
