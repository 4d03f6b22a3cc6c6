"""One iteration of a graduated non-convexity method, assembled from its parts."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.problem import Point, Problem, barzilai_borwein, positions
from gnclightning.solvers.choice import Choice, Chosen, Levels
from gnclightning.solvers.directions import (
    LARGEST_STEP,
    SMALLEST_STEP,
    Direction,
    FirstStep,
)
from gnclightning.solvers.line_search import Armijo, LineSearch, SearchResult
from gnclightning.solvers.safeguard import NO_MORE_THAN_ROUNDING, Safeguard
from gnclightning.solvers.state import Record, SolverState, Status, blank_record
from gnclightning.tensors import norm


@dataclass(frozen=True)
class _Iteration:
    """What one iteration of a batch did; `Solver._record` turns it into numbers."""

    before: SolverState
    chosen: Chosen
    t: Tensor
    found: SearchResult
    after: SolverState


@dataclass(frozen=True)
class Solver:
    """Directions from F(., t_i), line search and stopping on f = F(., t_min).

    Attributes:
        schedule: times t_1 > ... > t_I = t_min (I,), float64; or several schedules (S, I), of which
            each image follows the one that `init` is told.
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
        lookahead: levels, at most, whose directions the adaptive smoothing schedule tries at once
            after a refusal, twice as many each time. What it finds is the same; it needs fewer
            passes and up to twice the prior evaluations, which pays where these are cheap.
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
    lookahead: int = 1

    @property
    def sufficient_decrease(self) -> float | None:
        """The constant of Armijo's rule, which each step satisfies; None without that rule."""
        return self.search.c if isinstance(self.search, Armijo) else None

    def init(
        self,
        problem: Problem,
        x: Tensor,
        schedule: Tensor | None = None,
        width: int | None = None,
    ) -> SolverState:
        """The state before the first iteration: one evaluation of f and its gradient.

        Args:
            problem: the objective f and its family.
            x: starts (B, ...).
            schedule: which of several schedules each image follows, (B,) int64; None: the first.
            width: see `step`.
        """
        point = _evaluated(problem, x, width)
        value, gradient_norm = point.value, norm(point.gradient)
        zero = torch.zeros_like(value, dtype=torch.int64)
        finite = value.isfinite() & gradient_norm.isfinite()
        return SolverState(
            point=point,
            schedule=zero if schedule is None else schedule,
            level=zero - 1,
            step_size=torch.full_like(value, torch.nan),
            proposal=torch.full_like(value, torch.nan),
            recent=value[:, None].repeat(1, self.memory),
            gradient_norm=gradient_norm,
            initial_gradient_norm=gradient_norm,
            status=torch.where(finite, int(Status.RUNNING), int(Status.NOT_FINITE)),
            iterations=zero,
            failures=zero,
            network_evaluations=zero + 1,
            operator_evaluations=zero + 2,
        )

    def step(
        self, problem: Problem, state: SolverState, width: int | None = None
    ) -> tuple[SolverState, Record]:
        """One iteration of every running image; the others are not touched.

        With a `width`, of the first so many of them: as soon as one has stopped the next takes its
        place, so that the batch that problem and network see stays full.
        """
        rows = _running(state, width)
        if rows is None:
            iteration = self._iterate(problem, state)
            return iteration.after, self._record(iteration)
        iteration = self._iterate(problem.select(rows), state.select(rows))
        blank = blank_record(len(state.status), rows.device)
        return state.merge(rows, iteration.after), blank.merge(rows, self._record(iteration))

    def advance(self, problem: Problem, state: SolverState) -> SolverState:
        """As `step`, without a record: cheaper where the prior costs next to nothing."""
        rows = _running(state)
        if rows is None:
            return self._iterate(problem, state).after
        return state.merge(rows, self._iterate(problem.select(rows), state.select(rows)).after)

    def _iterate(self, problem: Problem, state: SolverState) -> _Iteration:
        """One iteration, all images running."""
        levels = Levels(self.schedule)
        choose = Choice(levels, self.direction, self.descent_from, self.safeguard, self.lookahead)
        chosen = choose(problem, state)
        t = levels.times(chosen.level, state.schedule)
        scale = self.direction.scale(t)
        trial = self.first_step(state.proposal, state.step_size, scale)
        # Along -grad f the Barzilai-Borwein step fits, whatever the direction's own scale is.
        trial = torch.where(chosen.fallback & (state.proposal > 0), state.proposal, trial)
        trial = trial.clamp(SMALLEST_STEP, LARGEST_STEP)
        reference = state.recent.amax(1)
        found = self.search(problem, state.point, chosen.ray, trial, reference, chosen.slope)
        after = self._advance(state, chosen, found, problem.move_cost)
        after = replace(after, status=self._status(after, found))
        return _Iteration(state, chosen, t, found, after)

    def _record(self, iteration: _Iteration) -> Record:
        before, chosen, found = iteration.before, iteration.chosen, iteration.found
        return Record(
            t=iteration.t,
            value=found.point.value,
            fidelity=found.point.fidelity,
            regulariser=found.point.regulariser,
            error=found.point.error,
            gradient_norm=iteration.after.gradient_norm,
            step_size=found.step,
            trials=found.trials,
            slope=chosen.slope,
            descent=chosen.slope / (before.gradient_norm * chosen.direction_norm),
            direction_norm=chosen.direction_norm,
            gap=norm(chosen.gradient - before.point.gradient),
            fallback=chosen.fallback,
            active=torch.ones_like(found.accepted),
        )

    def _advance(
        self, state: SolverState, chosen: Chosen, found: SearchResult, move_cost: int
    ) -> SolverState:
        """Everything but the status."""
        value, proposal = found.point.value[:, None], state.proposal
        if self.first_step.follows_proposal or self.descent_from is not None:
            proposal = barzilai_borwein(state.point, found.point)
        return SolverState(
            point=found.point,
            schedule=state.schedule,
            level=chosen.level,
            step_size=found.step,
            proposal=proposal,
            recent=torch.cat([state.recent[:, 1:], value], dim=1),
            gradient_norm=norm(found.point.gradient),
            initial_gradient_norm=state.initial_gradient_norm,
            status=state.status,
            iterations=state.iterations + 1,
            failures=state.failures + (~found.accepted).long(),
            network_evaluations=state.network_evaluations
            + chosen.network_evaluations
            + found.trials * move_cost,
            operator_evaluations=state.operator_evaluations + chosen.operator_evaluations,
        )

    def _status(self, state: SolverState, found: SearchResult) -> Tensor:
        """A failed search is final only at t_min: an earlier direction may be followed by a better.

        Later rules win over earlier ones.
        """
        at_end = state.level == Levels(self.schedule).last
        status = torch.full_like(state.status, int(Status.RUNNING))
        converged = state.gradient_norm <= self.tolerance * state.initial_gradient_norm
        status.masked_fill_(state.iterations >= self.steps, int(Status.BUDGET_SPENT))
        status.masked_fill_(~found.accepted & at_end, int(Status.SEARCH_FAILED))
        status.masked_fill_(~found.finite, int(Status.NOT_FINITE))
        status.masked_fill_(converged, int(Status.CONVERGED))
        return status


def _evaluated(problem: Problem, x: Tensor, width: int | None) -> Point:
    """F at x, of `width` images at a time."""
    if width is None or width >= len(x):
        return problem.evaluate(x)
    parts: list[Point] = []
    for first in range(0, len(x), width):
        rows = torch.arange(first, min(first + width, len(x)), device=x.device)
        parts.append(problem.select(rows).evaluate(x[rows]))
    return Point.join(parts)


def _running(state: SolverState, width: int | None = None) -> Tensor | None:
    """Positions of the first `width` images that are running; None if these are all images."""
    rows = positions(state.status == Status.RUNNING)[:width]
    return None if len(rows) == len(state.status) else rows
