"""Ways to reconstruct a measured batch, behind one interface."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from gnclightning.baselines import total_variation, tv_weight
from gnclightning.diagnostics import Inspection
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import LinearOperator, weighted
from gnclightning.problem import Point
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.discrepancy import Discrepancy, Tell, solve_to_discrepancy
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.solvers import (
    Certificate,
    Record,
    Solution,
    Solver,
    SolverState,
    Status,
    solve,
)

DIRECT = "direct"
"""Status of a method without iterations."""
MISSED = "discrepancy missed"
"""Status where no weight alpha was found that gives the residual asked for."""


@dataclass(frozen=True)
class Step:
    """What one iteration led to.

    Attributes:
        number: of the iteration of the batch; 0 is the start.
        iterations: that each image has done, (B,) int64; fewer than `number` where images waited
            for others to stop.
        x: what the result would be if this were the last iteration (B, 1, H, W), save for the last
            steps towards the mean.
        active: images that took part, (B,) bool.
        values: t, objective, data_fidelity, regulariser, step_size, line_search_trials,
            descent_condition and gradient_norm, as columns of (B, 8) float64.
    """

    number: int
    iterations: Tensor
    x: Tensor
    active: Tensor
    values: Tensor


Callback = Callable[[Step], None]


@dataclass(frozen=True)
class Outcome:
    """What a method made of a batch, and what it cost.

    Attributes:
        x: reconstructions (B, 1, H, W).
        status: why each image's run ended.
        iterations: (B,) int64.
        network_evaluations: forward-and-backward passes of the prior, (B,) int64.
        operator_evaluations: applications of A, A* or a back-projection, (B,) int64.
        certificate: of an iterative solver.
        inspect: inspects its prior at the last iterate, if that was asked for; not part of the
            method's work.
        alpha: weight of the regulariser at t_min, (B,) float64; None without one.
        derived: further reconstructions that the same work gave, by their names.
        maps: images or sinograms (B, 1, ...) that say something of `x`, by name.
    """

    x: Tensor
    status: list[str]
    iterations: Tensor
    network_evaluations: Tensor
    operator_evaluations: Tensor
    certificate: Certificate | None = None
    inspect: Callable[[], Inspection] | None = None
    alpha: Tensor | None = None
    derived: Mapping[str, "Outcome"] = field(default_factory=dict[str, "Outcome"])
    maps: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class Method(Protocol):
    """A reconstruction method."""

    @property
    def name(self) -> str:
        """As in tables and files."""
        ...

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """Reconstruct; `callback` is told about the start and each iteration with an objective."""
        ...


@dataclass(frozen=True)
class DirectReconstruction:
    """One without iterations and without a prior, such as filtered back-projection.

    Attributes:
        name: as in tables and files.
        of: from measurements (B, 1, ...) to images (B, 1, H, W); done again although the batch
            holds it, so that its time is known.
    """

    name: str
    of: Callable[[Tensor], Tensor]

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        x = self.of(measured.y)
        none = torch.zeros(len(x), dtype=torch.int64)
        return Outcome(x, [DIRECT] * len(x), none, none, none + 1)


@dataclass(frozen=True)
class TotalVariation:
    """See `baselines.total_variation`.

    Attributes:
        operator: A.
        gain: squared norm of a column of A, see `tv_weight`.
        weight: of the total variation; None takes it from the noise level.
        iterations: of the primal-dual method.
        factor: of the weight from the noise level.
    """

    operator: LinearOperator
    gain: float
    weight: float | None
    iterations: int
    factor: float = 1.0
    name: str = "tv"

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        weight = self.weight
        if weight is None:
            weight = self.factor * tv_weight(measured.sigma_y, self.gain)
        operator, y = weighted(self.operator, measured.y, measured.weights)
        found = total_variation(operator, y, weight, self.iterations)
        status = [Status.BUDGET_SPENT.label] * len(found.image)
        none = torch.zeros_like(found.iterations)
        return Outcome(found.image, status, found.iterations, none, 2 * found.iterations)


@dataclass(frozen=True)
class GraduatedSolver:
    """Minimises 1/2 |A x - y|^2 + alpha_t R(x,t) with one of the solvers of `solvers`.

    Attributes:
        name: of the solver.
        solver: the solver.
        objective: f and its family for a measured batch.
        start: the first iterates (B, 1, H, W).
        denoise: whether the result is the posterior mean at t_min, or the last iterate.
        symmetric, mean_steps: see `GraduatedObjective.posterior_mean`.
        inspect: inspects the prior at iterates.
        discrepancy: how to search for alpha; None keeps that of `objective`.
        limit: how many images are iterated together; the others wait, and enter as images stop.
            None: all.
    """

    name: str
    solver: Solver
    objective: Callable[[MeasuredBatch], GraduatedObjective]
    start: Callable[[MeasuredBatch], Tensor]
    denoise: bool
    symmetric: bool = False
    mean_steps: int = 0
    inspect: Callable[[Tensor], Inspection] | None = None
    discrepancy: Discrepancy | None = None
    limit: BatchLimit | None = None

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        objective = self.objective(measured)
        number = count()
        width = None if self.limit is None else self.limit.width(len(measured.names))

        def tell(present: GraduatedObjective, state: SolverState, record: Record | None) -> None:
            shown = present.posterior_mean(state.point)[0] if self.denoise else state.point.x
            callback(_step(next(number), shown, state, record))

        solution, objective, missed = self._solve(objective, measured, tell, width)
        image, network, projections = self.result(objective, solution.state.point, width)
        t_min = torch.full_like(solution.state.point.value, objective.t_min)
        labels = [status.label for status in solution.status]
        return Outcome(
            x=image,
            status=[MISSED if miss else label for label, miss in zip(labels, missed, strict=True)],
            iterations=solution.state.iterations,
            network_evaluations=solution.state.network_evaluations + network,
            operator_evaluations=solution.state.operator_evaluations + projections,
            certificate=solution.certificate,
            inspect=None if self.inspect is None else partial(self.inspect, solution.x),
            alpha=objective.alpha(t_min),
        )

    def _solve(
        self,
        objective: GraduatedObjective,
        measured: MeasuredBatch,
        tell: Tell,
        width: int | None,
    ) -> tuple[Solution, GraduatedObjective, list[bool]]:
        """The solution, the objective that it belongs to, and who missed the discrepancy."""
        start = self.start(measured)
        if self.discrepancy is None:
            solution = solve(self.solver, objective, start, partial(tell, objective), width)
            return solution, objective, [False] * len(start)
        target = self.discrepancy.target(measured)
        found = solve_to_discrepancy(
            self.solver, objective, start, target, self.discrepancy, tell, width
        )
        return found.solution, objective.scaled(found.factor), (~found.reached).tolist()

    def result(
        self, objective: GraduatedObjective, point: Point, width: int | None
    ) -> tuple[Tensor, int, Tensor]:
        """What a last iterate gives, `width` images at a time.

        Returns:
            The images, network evaluations for each, and applications of A and A* (B,).
        """
        if not self.denoise:
            return point.x, 0, torch.zeros_like(point.value, dtype=torch.int64)
        rows = torch.arange(len(point.x), device=point.x.device)
        parts = [
            objective.select(part).posterior_mean(
                point.select(part), self.symmetric, self.mean_steps
            )
            for part in rows.split(width or len(rows))
        ]
        images, projections = zip(*parts, strict=True)
        return torch.cat(images), self.mean_steps, torch.cat(projections)


def random_start(measured: MeasuredBatch) -> Tensor:
    """x_1 ~ N(0, I), each image from its own seed and drawn on the CPU."""
    draws = [
        torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
        for image, seed in zip(measured.direct, measured.start_seeds, strict=True)
    ]
    return torch.stack(draws).to(measured.direct)


def direct_start(measured: MeasuredBatch) -> Tensor:
    """The direct reconstructions."""
    return measured.direct


def _step(number: int, x: Tensor, state: SolverState, record: Record | None) -> Step:
    if record is None:
        point, unknown = state.point, torch.full_like(state.point.value, torch.nan)
        known = [point.value, point.fidelity, point.regulariser]
        values = [unknown, *known, unknown, unknown, unknown, state.initial_gradient_norm]
        active = torch.ones_like(unknown).bool()
    else:
        values = [
            record.t,
            record.value,
            record.fidelity,
            record.regulariser,
            record.step_size,
            record.trials.double(),
            record.descent,
            record.gradient_norm,
        ]
        active = record.active
    return Step(number, state.iterations, x, active, torch.stack(values, dim=1))
