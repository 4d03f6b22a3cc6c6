"""Numbers of single images: who is better on which, and what the certificate says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan, sqrt
from statistics import fmean, stdev

import h5py
import numpy as np

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.experiments.arms.results import Result
from gnclightning.reconstruction.folder import RECONSTRUCTIONS
from gnclightning.reconstruction.records import MetricsRow

_DEVIATIONS = 3.0


@dataclass(frozen=True)
class Entry:
    """A method of an arm.

    Attributes:
        title: in tables and figures.
        result: of the arm.
        method: its name in the arm's files.
    """

    title: str
    result: Result
    method: str

    @cached_property
    def rows(self) -> dict[str, MetricsRow]:
        """By image."""
        return {row.image: row for row in self.result.metrics(self.method)}

    def mean(self, column: str, images: Sequence[str] | None = None) -> float:
        """Of a column of `metrics.csv`, over these images or all."""
        return fmean(getattr(self.rows[name], column) for name in images or self.rows)


def gain(one: Entry, other: Entry) -> tuple[float, float]:
    """By how much PSNR of one is above the other on the images of both: mean, standard error."""
    shared = [name for name in one.rows if name in other.rows]
    return mean_and_error([one.rows[name].psnr - other.rows[name].psnr for name in shared])


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error, NaN for a single value."""
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else nan
    return fmean(values), error


@dataclass(frozen=True)
class Trust:
    """What a run says of its own reconstruction of an image, without knowing the truth.

    Attributes:
        gradient_like: whether its certificate calls the run so.
        residual: |A x - y| / (sigma_y sqrt(m)), for m measurements.
        measurements: m.
    """

    gradient_like: bool
    residual: float
    measurements: int

    @property
    def warns(self) -> bool:
        """Whether the run was not gradient-like, or x fits worse than noise explains.

        Pure noise has a ratio of 1 with the standard deviation 1 / sqrt(2 m). One below it is
        no warning: a good reconstruction fits a part of the noise.
        """
        bound = 1 + _DEVIATIONS / sqrt(2 * self.measurements)
        return not self.gradient_like or not self.residual <= bound


def trust(result: Result) -> dict[str, Trust]:
    """For each image of an arm, of its solver."""
    with h5py.File(result.folder / RECONSTRUCTIONS) as file:
        measurements = int(np.prod(dataset(file, "sinogram").shape[1:]))
    certified = {str(c["image"]): c["gradient_like"] for c in result.certificates[result.solver]}
    return {
        row.image: Trust(bool(certified[row.image]), row.residual, measurements)
        for row in result.metrics()
    }


@dataclass(frozen=True)
class Duel:
    """The solver against the best other method of a condition, image by image.

    Attributes:
        psnr: of all methods, by title and in the order of the images; the solver's is the last.
        trusts: one per image.
    """

    psnr: dict[str, list[float]]
    trusts: list[Trust]

    @cached_property
    def gains(self) -> list[float]:
        """The solver's PSNR less that of the method that is the best other one in the mean."""
        *others, solver = self.psnr.values()
        best = max(others, key=fmean)
        return [a - b for a, b in zip(solver, best, strict=True)]

    @property
    def best(self) -> str:
        """The title of that method."""
        return max(list(self.psnr)[:-1], key=lambda title: fmean(self.psnr[title]))

    def warned(self, chosen: Callable[[float], bool]) -> tuple[int, int]:
        """How many of the images with such a gain have a warning, and how many there are."""
        found = [t.warns for t, g in zip(self.trusts, self.gains, strict=True) if chosen(g)]
        return sum(found), len(found)


def duel(entries: Sequence[Entry], trusts: dict[str, Trust], images: Sequence[str]) -> Duel:
    """Of these methods, the solver last, on these images."""
    psnr = {entry.title: [entry.rows[name].psnr for name in images] for entry in entries}
    return Duel(psnr, [trusts[name] for name in images])
