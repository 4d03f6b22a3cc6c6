"""Backtracking along a ray until Armijo's rule holds, per image (Algorithms 1 and 2)."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from gnclightning.problem import Batch, Point, Problem, Ray, first_true, positions
from gnclightning.tensors import squared_norm


@dataclass(frozen=True)
class SearchResult(Batch):
    """Outcome per image.

    Attributes:
        point: where the search ended; the old iterate, bit for bit, where it failed.
        step: accepted step (B,), 0 where it failed.
        trials: points tried (B,), int64; each cost one move.
        accepted: (B,) bool.
        finite: whether any trial was finite (B,) bool.
    """

    point: Point
    step: Tensor
    trials: Tensor
    accepted: Tensor
    finite: Tensor


class LineSearch(Protocol):
    """Chooses a step along a ray."""

    def __call__(
        self,
        problem: Problem,
        point: Point,
        ray: Ray,
        step: Tensor,
        reference: Tensor,
        slope: Tensor,
    ) -> SearchResult:
        """Search from the first trial `step`.

        Args:
            problem: evaluates f along the ray.
            point: the current iterates.
            ray: the directions d.
            step: first trial (B,), positive.
            reference: value that the new one is compared with (B,): f, or the largest recent f.
            slope: <grad f, d> (B,).
        """
        ...


@dataclass(frozen=True)
class Armijo:
    """First step of step, shrink step, shrink^2 step, ... with f_new <= reference + c step slope.

    Only images still searching are evaluated. A value that is not finite is never accepted. Where
    f is integrated the estimated error of its change is added to f_new: the rule then holds even if
    the integral is that wrong, as far as the reference is the old value.

    Attributes:
        c: sufficient-decrease constant in (0,1).
        shrink: factor between trials in (0,1).
        max_trials: trials before the search has failed.
        at_once: trials, at most, that are evaluated together after a refusal, twice as many each
            time. What is accepted is the same; see `Solver.lookahead`.
    """

    c: float = 1e-3
    shrink: float = 0.5
    max_trials: int = 15
    at_once: int = 1

    def __call__(
        self,
        problem: Problem,
        point: Point,
        ray: Ray,
        step: Tensor,
        reference: Tensor,
        slope: Tensor,
    ) -> SearchResult:
        """See `LineSearch`."""
        result = self._trial(problem, point, ray, step, reference, slope)
        steps = torch.tensor([self.shrink**k for k in range(self.max_trials)]).to(step)
        rows, tried, width = positions(~result.accepted), 1, 1
        while len(rows) and tried < self.max_trials:
            width = min(width, self.max_trials - tried)
            repeated = rows.repeat_interleave(width)
            attempts = self._trial(
                problem.select(repeated),
                point.select(repeated),
                ray.select(repeated),
                (step[rows, None] * steps[tried : tried + width]).flatten(),
                reference[repeated],
                slope[repeated],
            )
            first, accepted = first_true(attempts.accepted.reshape(-1, width))
            tried += width
            part = attempts.select(first)
            trials = torch.full_like(part.trials, tried)
            finite = result.finite[rows] | attempts.finite.reshape(-1, width).any(1)
            result.write(rows, replace(part, trials=trials, finite=finite))
            rows, width = rows[~accepted], min(2 * width, self.at_once)
        return _undo_failures(point, result) if len(rows) else result

    def _trial(
        self,
        problem: Problem,
        point: Point,
        ray: Ray,
        step: Tensor,
        reference: Tensor,
        slope: Tensor,
    ) -> SearchResult:
        new = problem.move(point, ray, step)
        finite = _finite(new)
        accepted = finite & (new.value + new.error <= reference + self.c * step * slope)
        trials = torch.ones_like(step, dtype=torch.int64)
        return SearchResult(new, step.clone(), trials, accepted, finite)


@dataclass(frozen=True)
class ConstantStep:
    """Takes the proposed step whatever f does (Algorithm 1 without step-size rule).

    Only a value that is not finite is refused.
    """

    def __call__(
        self,
        problem: Problem,
        point: Point,
        ray: Ray,
        step: Tensor,
        reference: Tensor,
        slope: Tensor,
    ) -> SearchResult:
        """See `LineSearch`."""
        new = problem.move(point, ray, step)
        finite = _finite(new)
        result = SearchResult(new, step, torch.ones_like(step, dtype=torch.int64), finite, finite)
        return result if bool(finite.all()) else _undo_failures(point, result)


def _finite(point: Point) -> Tensor:
    """Whether value and gradient are numbers, (B,)."""
    return (point.value + squared_norm(point.gradient)).isfinite()


def _undo_failures(point: Point, result: SearchResult) -> SearchResult:
    """Put the old iterate back, bit for bit, where the search failed."""
    rows = positions(~result.accepted)
    part = result.select(rows)
    undone = SearchResult(
        point.select(rows), torch.zeros_like(part.step), part.trials, part.accepted, part.finite
    )
    return result.merge(rows, undone)
