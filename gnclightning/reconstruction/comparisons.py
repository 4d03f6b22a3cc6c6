"""The methods of `baselines` behind the interface of `methods`.

They leave neither trace nor certificate: these belong to the solver that they are compared with.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.baselines import Reconstructed, nonmonotone_apg
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.methods import Callback, GraduatedSolver, Outcome
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.solvers import Status


@dataclass(frozen=True)
class Comparison:
    """A method that takes as many steps, at the same cost, whatever the image.

    Attributes:
        name: as in tables and files.
        reconstruct: reconstructs measured images.
        iterations: its steps.
        limit: how many images it takes at once; None: all.
    """

    name: str
    reconstruct: Callable[[MeasuredBatch], Reconstructed]
    iterations: int
    limit: BatchLimit | None = None

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        found = [self.reconstruct(part) for part in _parts(measured, self.limit)]
        x, cost = torch.cat([part.image for part in found]), found[0]
        one = torch.ones(len(x), dtype=torch.int64)
        return Outcome(
            x,
            _statuses(x),
            self.iterations * one,
            cost.network_evaluations * one,
            cost.operator_evaluations * one,
        )


@dataclass(frozen=True)
class AcceleratedDescent:
    """See `baselines.nonmonotone_apg`, on the f of a solver, from its start.

    Attributes:
        solver: gives f, the start, and what is made of the last iterate; does no step.
        steps: iterations.
        step_size: first trial of the first backtracking.
        limit: how many images are iterated at once; None: all.
    """

    solver: GraduatedSolver
    steps: int
    step_size: float
    limit: BatchLimit | None = None
    name: str = "nmapg"

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        parts = [self._reconstruct(part) for part in _parts(measured, self.limit)]
        x, network, projections, alpha = (torch.cat(column) for column in zip(*parts, strict=True))
        iterations = torch.full_like(network, self.steps)
        return Outcome(x, _statuses(x), iterations, network, projections, alpha=alpha)

    def _reconstruct(self, measured: MeasuredBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images, network and operator evaluations, and the weight of the regulariser."""
        objective = self.solver.objective(measured)
        start = self.solver.start(measured)
        found = nonmonotone_apg(objective, start, self.steps, step_size=self.step_size)
        x, network, projections = self.solver.result(objective, found.point, None)
        alpha = objective.alpha(torch.full_like(found.point.value, objective.t_min))
        return x, found.evaluations + network, 2 * found.evaluations + projections, alpha


@dataclass(frozen=True)
class OtherSolver:
    """Gradient descent on f, or another solver or weight that the run's is compared with.

    Attributes:
        solver: the other one.
    """

    solver: GraduatedSolver

    @property
    def name(self) -> str:
        """That of the solver."""
        return self.solver.name

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`."""
        return replace(self.solver(measured, lambda step: None), certificate=None, inspect=None)


def _parts(measured: MeasuredBatch, limit: BatchLimit | None) -> Iterator[MeasuredBatch]:
    """As many images at a time as the limit says.

    Where rays are weighted, one: each image then has an operator of its own, and what a method
    derives from the norm of the operator must not depend on the other images of the batch.
    """
    images = len(measured.names)
    width = images if limit is None else limit.width(images)
    if measured.weights is not None:
        width = 1
    for first in range(0, images, width):
        yield measured.part(slice(first, first + width))


def _statuses(x: Tensor) -> list[str]:
    finite = x.flatten(1).isfinite().all(1).tolist()
    return [(Status.BUDGET_SPENT if good else Status.NOT_FINITE).label for good in finite]
