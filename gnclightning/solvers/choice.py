"""Which level of the schedule gives an iteration its direction (arXiv 2404.18699, Section 3.2)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.problem import Batch, Point, Problem, Ray, first_true, positions
from gnclightning.solvers.directions import Direction, Vector
from gnclightning.solvers.safeguard import Safeguard
from gnclightning.solvers.state import SolverState
from gnclightning.tensors import inner, norm, take


@dataclass(frozen=True)
class Levels:
    """The times that the directions pass through.

    Attributes:
        schedule: t_1 > ... > t_I = t_min (I,), float64; or several schedules (S, I).
    """

    schedule: Tensor

    @property
    def last(self) -> int:
        """The level of t_min."""
        return self.schedule.shape[-1] - 1

    def times(self, level: Tensor, which: Tensor) -> Tensor:
        """Times of the levels (B,) in each image's schedule `which` (B,); (B,) float64."""
        schedule = self.schedule.to(level.device)
        return schedule[level] if schedule.ndim == 1 else schedule[which, level]


@dataclass(frozen=True)
class Chosen:
    """The direction of one iteration, per image; `gradient` is grad F(x, t) at its level."""

    ray: Ray
    direction_norm: Tensor
    level: Tensor
    slope: Tensor
    gradient: Tensor
    fallback: Tensor
    network_evaluations: Tensor
    operator_evaluations: Tensor


@dataclass(frozen=True)
class Proposed(Batch):
    """A direction at one level, whose ray may not be known yet.

    Attributes:
        direction: the proposal.
        level: position in the schedule, (B,) int64.
        gradient: grad F(x, t) at this level, like x.
        slope: <grad f, d>, (B,).
        norm: |d|, (B,).
        evaluations: prior evaluations of all that was proposed to find it, (B,) int64: none at
            t_min.
        projections: their applications of A and A*, (B,) int64.
    """

    direction: Vector | Ray
    level: Tensor
    gradient: Tensor
    slope: Tensor
    norm: Tensor
    evaluations: Tensor
    projections: Tensor


@dataclass(frozen=True)
class Choice:
    """Chooses each image's direction; attributes as those of `Solver`."""

    levels: Levels
    direction: Direction
    descent_from: int | None
    safeguard: Safeguard
    lookahead: int

    def __call__(self, problem: Problem, state: SolverState) -> Chosen:
        """The direction at the next level, or at the first later one that the safeguard admits."""
        level = (state.level + 1).clamp(max=self.levels.last)
        found = self._propose(problem, state.point, self.levels.times(level, state.schedule), level)
        refused = torch.zeros_like(level, dtype=torch.bool)
        if self.descent_from is not None:
            due = state.iterations >= self.descent_from
            refused = due & ~self._admits(found, state.gradient_norm)
            self._go_on(problem, state, found, refused)
        ray = self.direction.ray(problem, found.direction)
        projections = found.projections
        if ray is not found.direction:
            projections = projections + ray.projections
        chosen = Chosen(
            ray=ray,
            direction_norm=found.norm,
            level=found.level,
            slope=found.slope,
            gradient=found.gradient,
            fallback=torch.zeros_like(refused),
            network_evaluations=found.evaluations,
            operator_evaluations=projections,
        )
        rows = positions(refused)
        return self._fall_back(problem, state, chosen, rows) if len(rows) else chosen

    def _go_on(
        self, problem: Problem, state: SolverState, found: Proposed, refused: Tensor
    ) -> None:
        """Where `refused`, put into `found` the proposal of the first later level admitted.

        Where there is none it is that of the last level, and stays refused.
        """
        last, width = self.levels.last, 1
        rows = positions(refused & (found.level < last))
        while len(rows):
            ahead = found.level[rows, None] + torch.arange(1, width + 1, device=rows.device)
            repeated = rows.repeat_interleave(width)
            level = ahead.clamp(max=last).flatten()
            tried = self._propose(
                problem.select(repeated),
                state.point.select(repeated),
                self.levels.times(level, state.schedule[repeated]),
                level,
            )
            admitted = self._admits(tried, state.gradient_norm[repeated])
            first, success = first_true(admitted.reshape(-1, width))
            part = tried.select(first)
            evaluations = found.evaluations[rows] + tried.evaluations.reshape(-1, width).sum(1)
            projections = found.projections[rows] + tried.projections.reshape(-1, width).sum(1)
            found.write(rows, replace(part, evaluations=evaluations, projections=projections))
            refused.index_copy_(0, rows, ~success)
            rows = rows[~success & (part.level < last)]
            # Never more proposals at once than images, which memory is made for.
            width = max(1, min(2 * width, self.lookahead, len(refused) // max(len(rows), 1)))

    def _admits(self, found: Proposed, gradient_norm: Tensor) -> Tensor:
        return self.safeguard.admits(found.slope, found.norm, gradient_norm)

    def _fall_back(
        self, problem: Problem, state: SolverState, chosen: Chosen, rows: Tensor
    ) -> Chosen:
        """Replace the directions of `rows` by -grad f: one A and one A* more for each."""
        gradient, gradient_norm = take(state.point.gradient, rows), state.gradient_norm[rows]
        return replace(
            chosen,
            ray=chosen.ray.merge(rows, problem.select(rows).ray(-gradient)),
            direction_norm=chosen.direction_norm.index_copy(0, rows, gradient_norm),
            slope=chosen.slope.index_copy(0, rows, -(gradient_norm**2)),
            fallback=chosen.fallback.index_fill(0, rows, True),
            operator_evaluations=chosen.operator_evaluations.index_add(
                0, rows, torch.full_like(rows, 2)
            ),
        )

    def _propose(self, problem: Problem, point: Point, t: Tensor, level: Tensor) -> Proposed:
        """The direction at each image's level, whose time is t (B,)."""
        graduated = level < self.levels.last
        rows = positions(graduated)
        if len(rows) == len(level):
            gradient = problem.gradient(point, t)
        else:
            gradient = point.gradient
            if len(rows):
                part = problem.select(rows).gradient(point.select(rows), t[rows])
                gradient = gradient.clone().index_copy_(0, rows, part)
        proposal = self.direction.propose(problem, gradient, t)
        return Proposed(
            direction=proposal,
            level=level,
            gradient=gradient,
            slope=inner(point.gradient, proposal.direction),
            norm=norm(proposal.direction),
            evaluations=graduated.long(),
            projections=proposal.projections,
        )
