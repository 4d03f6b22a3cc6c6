"""Morozov's discrepancy principle: the weight alpha with which |A x - y| is what the noise is.

After a run of the solver with its usual alpha the weight of each image is multiplied by a factor,
and f minimised again from where the last run ended, until the residual is right: at
minimisers of f the residual never falls as alpha grows (V. A. Morozov, Soviet Math. Dokl. 7, 1966).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gnclightning.objectives import GraduatedObjective
from gnclightning.problem import positions
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.solvers import Record, Solution, Solver, SolverState, blank_record, solve
from gnclightning.tensors import norm

Tell = Callable[[GraduatedObjective, SolverState, Record | None], None]

LARGEST = 1e8
"""Factor of the first weight that none exceeds, and none falls below its inverse."""
_EXPANSION = 4.0
"""First factor between two weights while the right one is not enclosed; squared each time."""
_MARGIN = 0.1
"""Part of an enclosing interval that its new end keeps away from the old ones."""
_NARROW = 1e-3
"""Relative width of an interval that no longer encloses: its ends were not yet minimisers."""


@dataclass(frozen=True)
class Discrepancy:
    """How to search for the weight.

    Attributes:
        tau: |A x - y| shall be tau sigma_y sqrt(m), for m measurements (those with a weight).
        tolerance: relative, of |A x - y|.
        tries: weights tried at most, after the first.
        steps: iterations at t_min for each, from the last iterate.
    """

    tau: float = 1.0
    tolerance: float = 0.01
    tries: int = 20
    steps: int = 10

    def target(self, measured: MeasuredBatch) -> Tensor:
        """The |A x - y| wanted, (B,) float64."""
        return self.tau * measured.noise_norm


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
        solution: of the last run of each image; iterations and evaluations are those of all runs.
        factor: of alpha, (B,) float64.
        reached: whether the residual is within the tolerance, (B,) bool.
    """

    solution: Solution
    factor: Tensor
    reached: Tensor


def solve_to_discrepancy(
    solver: Solver,
    objective: GraduatedObjective,
    x: Tensor,
    target: Tensor,
    rule: Discrepancy,
    tell: Tell,
    width: int | None = None,
) -> Found:
    """Minimise f with the weights that give each image its residual.

    Images that are done wait, bit for bit, so that each ends as it would alone.

    Args:
        solver: for the first run; its last time only, for the others.
        objective: f with the first weights.
        x: starts (B, ...).
        target: |A x - y| wanted, (B,).
        rule: tolerance and limits.
        tell: told the present objective, and what a callback of `solve` is told.
        width: see `solve`.
    """
    search = _Search.at(torch.ones_like(target))
    solution = solve(solver, objective, x, partial(tell, objective), width)
    again = replace(solver, schedule=solver.schedule[..., -1:], steps=rule.steps)
    for _ in range(rule.tries):
        ratio = _residual(solution) / target
        rows = positions(_outside(ratio, rule.tolerance))
        if not len(rows):
            break
        search = search.next(ratio, rows)
        solution = _run_again(again, objective.scaled(search.factor), solution, rows, tell, width)
    reached = ~_outside(_residual(solution) / target, rule.tolerance)
    return Found(solution, search.factor, reached)


def _residual(solution: Solution) -> Tensor:
    return norm(solution.state.point.residual)


def _outside(ratio: Tensor, tolerance: float) -> Tensor:
    """Images whose residual is not yet right; those without a finite one have no other."""
    return ratio.isfinite() & ((ratio - 1).abs() > tolerance)


def _run_again(
    solver: Solver,
    objective: GraduatedObjective,
    before: Solution,
    rows: Tensor,
    tell: Tell,
    width: int | None,
) -> Solution:
    """The images `rows` minimise f from where they are; the others stay."""
    blank = blank_record(len(before.x), rows.device)
    costs = ("iterations", "failures", "network_evaluations", "operator_evaluations")
    spent = {name: getattr(before.state, name)[rows] for name in costs}

    def merged(part: SolverState) -> SolverState:
        total = {name: spent[name] + getattr(part, name) for name in costs}
        return before.state.merge(rows, replace(part, **total))

    def told(part: SolverState, record: Record | None) -> None:
        if record is not None:
            tell(objective, merged(part), blank.merge(rows, record))

    found = solve(solver, objective.select(rows), before.x[rows], told, width)
    state = merged(found.state)
    trace = [blank.merge(rows, record) for record in found.trace]
    certificate = before.certificate.merge(rows, found.certificate)
    return Solution(state.point.x, state, before.trace + trace, certificate)


@dataclass(frozen=True)
class _Search:
    """A search for the factor of each image, in logarithms.

    Attributes:
        factor: tried last, (B,).
        ends: log factors known to give too small and too large residuals, (B, 2), NaN if unknown.
        values: log of residual over target there.
        stride: log of the next expansion, (B,).
    """

    factor: Tensor
    ends: Tensor
    values: Tensor
    stride: Tensor

    @classmethod
    def at(cls, factor: Tensor) -> "_Search":
        unknown = factor.new_full((len(factor), 2), torch.nan)
        stride = torch.full_like(factor, _EXPANSION).log()
        return cls(factor, unknown, unknown, stride)

    def next(self, ratio: Tensor, rows: Tensor) -> "_Search":
        """The next factors of the images `rows`, given what the last ones led to."""
        place, value = self.factor.log(), ratio.log()
        side = (value > 0).long()
        ends = self.ends.scatter(1, side[:, None], place[:, None])
        values = self.values.scatter(1, side[:, None], value[:, None])
        width = ends[:, 1] - ends[:, 0]
        enclosed = width > _NARROW  # False where an end is unknown
        part = -values[:, 0] / (values[:, 1] - values[:, 0])
        inside = ends[:, 0] + width * part.clamp(_MARGIN, 1 - _MARGIN)
        # An interval that closed without success is forgotten, but for the place just tried.
        closed = width <= _NARROW
        stride = torch.where(closed, 0.1 * self.stride, self.stride)
        beyond = place + torch.where(value > 0, -stride, stride)
        chosen = torch.where(enclosed, inside, beyond)
        other = torch.nn.functional.one_hot(1 - side, 2).bool() & closed[:, None]
        factor = self.factor.index_copy(0, rows, chosen[rows].exp().clamp(1 / LARGEST, LARGEST))
        stride = torch.where(enclosed, stride, 2 * stride)
        return _Search(
            factor,
            torch.where(other, torch.nan, ends),
            torch.where(other, torch.nan, values),
            self.stride.index_copy(0, rows, stride[rows]),
        )
