"""Several random starts per image: what differs between them, the measurements did not decide."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gnclightning.operators import LinearOperator
from gnclightning.reconstruction.methods import (
    MISSED,
    Callback,
    GraduatedSolver,
    Outcome,
    Step,
)
from gnclightning.reconstruction.records import MeasuredBatch, mean_name
from gnclightning.solvers import Certificate, Status

T = TypeVar("T", Certificate, Outcome, Step)

STD, RESIDUAL = "std", "residual"
"""Names of the maps that come with a mean."""

_WORST_LAST = [
    *(status.label for status in (Status.RUNNING, Status.CONVERGED, Status.BUDGET_SPENT)),
    MISSED,
    *(status.label for status in (Status.SEARCH_FAILED, Status.NOT_FINITE)),
]


@dataclass(frozen=True)
class RandomStarts:
    """A solver that goes from several random starts per image, all of them in one batch.

    The result is that of the first start, the same as without the others; `Outcome.derived` has
    the mean of all, with two maps: `std`, the standard deviation of the starts in each pixel, and
    `residual`, A x - y of the mean, NaN where nothing is measured.

    Attributes:
        method: the solver.
        starts: K, at least 2.
        operator: A.
    """

    method: GraduatedSolver
    starts: int
    operator: LinearOperator

    @property
    def name(self) -> str:
        """That of the solver."""
        return self.method.name

    def __call__(self, measured: MeasuredBatch, callback: Callback) -> Outcome:
        """See `Method`; `callback` is told about the first starts."""
        images = len(measured.names)
        inspect = self.method.inspect

        def tell(step: Step) -> None:
            first = _first(step, images)
            if bool(first.active.any()):
                callback(first)

        method = self.method
        if inspect is not None:
            method = replace(method, inspect=lambda x: inspect(x[:images]))
        found = method(_repeated(measured, self.starts), tell)
        certificate = found.certificate
        return replace(
            _first(found, images),
            status=found.status[:images],
            certificate=None if certificate is None else _first(certificate, images),
            derived={mean_name(self.name): self._mean(found, measured)},
        )

    def _mean(self, found: Outcome, measured: MeasuredBatch) -> Outcome:
        x = found.x.unflatten(0, (self.starts, -1)).double()
        mean = x.mean(0).to(found.x)
        statuses = [found.status[n :: len(measured.names)] for n in range(len(measured.names))]
        return Outcome(
            x=mean,
            status=[max(each, key=_WORST_LAST.index) for each in statuses],
            iterations=self._sum(found.iterations),
            network_evaluations=self._sum(found.network_evaluations),
            operator_evaluations=self._sum(found.operator_evaluations),
            maps={STD: x.std(0).to(found.x), RESIDUAL: self._residual(mean, measured)},
        )

    def _residual(self, mean: Tensor, measured: MeasuredBatch) -> Tensor:
        residual, observed = self.operator(mean) - measured.y, self.operator.observed
        return residual if observed is None else residual.where(observed, torch.nan)

    def _sum(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(0, (self.starts, -1)).sum(0)


def start_seed(first: int, number: int) -> int:
    """The seed of start `number` of an image whose first start, number 0, has the seed `first`."""
    if number == 0:
        return first
    sequence = np.random.SeedSequence(first, spawn_key=(number,))
    return int(sequence.generate_state(1, np.uint64)[0])


def _first(value: T, images: int) -> T:
    """What each tensor says of the first start of all images."""
    entries = {entry.name: getattr(value, entry.name) for entry in fields(value)}
    return replace(value, **{k: v[:images] for k, v in entries.items() if isinstance(v, Tensor)})


def _repeated(measured: MeasuredBatch, starts: int) -> MeasuredBatch:
    """All images once for each start, start after start."""
    values = {entry.name: getattr(measured, entry.name) for entry in fields(MeasuredBatch)}
    repeated: dict[str, Any] = {
        name: torch.cat([value] * starts) if isinstance(value, Tensor) else value
        for name, value in values.items()
    }
    repeated["names"] = measured.names * starts
    repeated["start_seeds"] = _seeds(measured.start_seeds, starts)
    return MeasuredBatch(**repeated)


def _seeds(first: Sequence[int], starts: int) -> tuple[int, ...]:
    return tuple(start_seed(seed, number) for number in range(starts) for seed in first)
