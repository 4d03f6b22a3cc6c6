"""One iteration of a graduated non-convexity method, assembled from its parts."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.problem import Batch, Point, Problem, Ray, positions
from gnclightning.solvers.directions import (
    LARGEST_STEP,
    SMALLEST_STEP,
    Direction,
    FirstStep,
    Vector,
    barzilai_borwein,
)
from gnclightning.solvers.line_search import Armijo, LineSearch, SearchResult
from gnclightning.solvers.safeguard import NO_MORE_THAN_ROUNDING, Safeguard
from gnclightning.solvers.state import Record, SolverState, Status, blank_record
from gnclightning.tensors import inner, norm


@dataclass(frozen=True)
class Chosen:
    """The direction of one iteration, per image."""

    ray: Ray
    level: Tensor
    slope: Tensor
    direction_norm: Tensor
    gap: Tensor
    fallback: Tensor
    network_evaluations: Tensor
    operator_evaluations: Tensor


@dataclass(frozen=True)
class Proposed(Batch):
    """A direction at one level, whose ray may not be known yet.

    Attributes:
        direction: the proposal.
        slope: <grad f, d>, (B,).
        norm: |d|, (B,).
        gap: |grad F - grad f|, (B,).
        evaluations: prior evaluations it cost, (B,) int64: none at t_min.
    """

    direction: Vector | Ray
    slope: Tensor
    norm: Tensor
    gap: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Solver:
    """Directions from F(., t_i), line search and stopping on f = F(., t_min).

    Attributes:
        schedule: times t_1 > ... > t_I = t_min (I,), float64.
        steps: iterations at most; the schedule's last time is kept once reached.
        direction: see `directions`.
        first_step: see `directions`.
        search: see `line_search`.
        descent_from: after this many iterations, take the largest t_j, j past the last one, whose
            direction descends on f (the adaptive smoothing schedule of Section 3.2), as far as the
            safeguard asks; None: never. As a departure from Theorem 3.2 the schedule moves on by
            at least one each iteration, so that it cannot stall. A late start is what Section 5
            suggests: limit points are stationary all the same, and the first directions may leave
            a local minimum of f.
        safeguard: what descending means; a direction at t_min that it does not admit gives way to
            -grad f.
        memory: the Armijo reference is the largest of this many last values; 1 is monotone.
        tolerance: stop where |grad f(x)| <= tolerance |grad f(x_1)|.
    """

    schedule: Tensor
    steps: int
    direction: Direction
    first_step: FirstStep
    search: LineSearch
    descent_from: int | None = 0
    safeguard: Safeguard = NO_MORE_THAN_ROUNDING
    memory: int = 1
    tolerance: float = 0.0

    @property
    def sufficient_decrease(self) -> float | None:
        """The constant of Armijo's rule, which each step satisfies; None without that rule."""
        return self.search.c if isinstance(self.search, Armijo) else None

    def init(self, problem: Problem, x: Tensor) -> SolverState:
        """The state before the first iteration: one evaluation of f and its gradient."""
        point = problem.evaluate(x)
        value = point.value
        zero = torch.zeros_like(value, dtype=torch.int64)
        finite = value.isfinite() & norm(point.gradient).isfinite()
        return SolverState(
            point=point,
            level=zero - 1,
            step_size=torch.full_like(value, torch.nan),
            proposal=torch.full_like(value, torch.nan),
            recent=value[:, None].repeat(1, self.memory),
            initial_gradient_norm=norm(point.gradient),
            status=torch.where(finite, int(Status.RUNNING), int(Status.NOT_FINITE)),
            iterations=zero,
            failures=zero,
            network_evaluations=zero + 1,
            operator_evaluations=zero + 2,
        )

    def step(self, problem: Problem, state: SolverState) -> tuple[SolverState, Record]:
        """One iteration of every running image; the others are not touched."""
        rows = positions(state.status == Status.RUNNING)
        if len(rows) == len(state.status):
            return self._step(problem, state)
        part, record = self._step(problem.select(rows), state.select(rows))
        blank = blank_record(len(state.status), rows.device)
        return state.merge(rows, part), blank.merge(rows, record)

    def _step(self, problem: Problem, state: SolverState) -> tuple[SolverState, Record]:
        """One iteration, all images running."""
        point = state.point
        chosen = self._choose(problem, state)
        t = self._times(chosen.level)
        trial = self.first_step(state.proposal, state.step_size, self.direction.scale(t))
        # Along -grad f the Barzilai-Borwein step fits, whatever the direction's own scale is.
        trial = torch.where(chosen.fallback & (state.proposal > 0), state.proposal, trial)
        trial = trial.clamp(SMALLEST_STEP, LARGEST_STEP)
        reference = state.recent.amax(1)
        found = self.search(problem, point, chosen.ray, trial, reference, chosen.slope)
        after = self._advance(state, chosen, found)
        gradient_norm = norm(point.gradient)
        record = Record(
            t=t,
            value=found.point.value,
            fidelity=found.point.fidelity,
            regulariser=found.point.regulariser,
            gradient_norm=norm(found.point.gradient),
            step_size=found.step,
            trials=found.trials,
            slope=chosen.slope,
            descent=chosen.slope / (gradient_norm * chosen.direction_norm),
            direction_norm=chosen.direction_norm,
            reference=reference,
            gap=chosen.gap,
            fallback=chosen.fallback,
            active=torch.ones_like(found.accepted),
        )
        return replace(after, status=self._status(after, found, record)), record

    def _choose(self, problem: Problem, state: SolverState) -> Chosen:
        """The direction at the next level, or at the first later one that the safeguard admits."""
        last, gradient_norm = len(self.schedule) - 1, norm(state.point.gradient)
        level = (state.level + 1).clamp(max=last)
        found = self._propose(problem, state.point, level)
        attempts, refused = torch.ones_like(level), torch.zeros_like(level, dtype=torch.bool)
        while self.descent_from is not None:
            admitted = self.safeguard.admits(found.slope, found.norm, gradient_norm)
            refused = (state.iterations >= self.descent_from) & ~admitted
            rows = positions(refused & (level < last))
            if not len(rows):
                break
            further = level[rows] + 1
            part = self._propose(problem.select(rows), state.point.select(rows), further)
            evaluations = found.evaluations.index_add(0, rows, part.evaluations)
            found = replace(found.merge(rows, part), evaluations=evaluations)
            level = level.index_copy(0, rows, further)
            attempts = attempts.index_add(0, rows, torch.ones_like(rows))
        per_proposal, per_ray = self.direction.cost(problem)
        chosen = Chosen(
            ray=self.direction.ray(problem, found.direction),
            level=level,
            slope=found.slope,
            direction_norm=found.norm,
            gap=found.gap,
            fallback=torch.zeros_like(refused),
            network_evaluations=found.evaluations,
            operator_evaluations=attempts * per_proposal + per_ray,
        )
        rows = positions(refused)
        return self._fall_back(problem, state.point, chosen, rows) if len(rows) else chosen

    def _fall_back(self, problem: Problem, point: Point, chosen: Chosen, rows: Tensor) -> Chosen:
        """Replace the directions of `rows` by -grad f: one A and one A* more for each."""
        gradient = point.gradient.index_select(0, rows)
        size = norm(gradient)
        return replace(
            chosen,
            ray=chosen.ray.merge(rows, problem.select(rows).ray(-gradient)),
            slope=chosen.slope.index_copy(0, rows, -(size**2)),
            direction_norm=chosen.direction_norm.index_copy(0, rows, size),
            fallback=chosen.fallback.index_fill(0, rows, True),
            operator_evaluations=chosen.operator_evaluations.index_add(
                0, rows, torch.full_like(rows, 2)
            ),
        )

    def _propose(self, problem: Problem, point: Point, level: Tensor) -> Proposed:
        """The direction at each image's level."""
        t = self._times(level)
        graduated = level < len(self.schedule) - 1
        rows = positions(graduated)
        if len(rows) == len(level):
            gradient = problem.gradient(point, t)
        else:
            gradient = point.gradient
            if len(rows):
                part = problem.select(rows).gradient(point.select(rows), t[rows])
                gradient = gradient.index_copy(0, rows, part)
        proposal = self.direction.propose(problem, gradient, t)
        return Proposed(
            direction=proposal,
            slope=inner(point.gradient, proposal.direction),
            norm=norm(proposal.direction),
            gap=norm(gradient - point.gradient),
            evaluations=graduated.long(),
        )

    def _advance(self, state: SolverState, chosen: Chosen, found: SearchResult) -> SolverState:
        """Everything but the status."""
        value = found.point.value[:, None]
        return SolverState(
            point=found.point,
            level=chosen.level,
            step_size=found.step,
            proposal=barzilai_borwein(state.point, found.point),
            recent=torch.cat([state.recent[:, 1:], value], dim=1),
            initial_gradient_norm=state.initial_gradient_norm,
            status=state.status,
            iterations=state.iterations + 1,
            failures=state.failures + (~found.accepted).long(),
            network_evaluations=state.network_evaluations
            + chosen.network_evaluations
            + found.trials,
            operator_evaluations=state.operator_evaluations + chosen.operator_evaluations,
        )

    def _status(self, state: SolverState, found: SearchResult, record: Record) -> Tensor:
        """A failed search is final only at t_min: an earlier direction may be followed by a better.

        Later rules win over earlier ones.
        """
        at_end = state.level == len(self.schedule) - 1
        status = torch.full_like(state.status, int(Status.RUNNING))
        rules = (
            (state.iterations >= self.steps, Status.BUDGET_SPENT),
            (~found.accepted & at_end, Status.SEARCH_FAILED),
            (~found.finite, Status.NOT_FINITE),
            (
                record.gradient_norm <= self.tolerance * state.initial_gradient_norm,
                Status.CONVERGED,
            ),
        )
        for condition, outcome in rules:
            status = torch.where(condition, int(outcome), status)
        return status

    def _times(self, level: Tensor) -> Tensor:
        """Schedule times of the levels, (B,) float64."""
        return self.schedule.to(level.device)[level]
