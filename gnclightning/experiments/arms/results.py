"""What arms left, read from their run folders."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.config import ReconstructConfig
from gnclightning.experiments.arms.arm import Arm
from gnclightning.reconstruction import folder as names
from gnclightning.reconstruction.records import LEFT_OUT, MetricsRow, TraceRow

Row = TypeVar("Row", MetricsRow, TraceRow)
_WORDS = ("image", "method", "status")


class ResultRow(NamedTuple):
    """A row of `results.csv`: a method of an arm, as means over its images.

    `psnr_std` and `ssim_std` are standard deviations over the images (divided by their number).
    `gradient_like` is the number of images whose run was gradient-like, as certificates say; it is
    NaN for methods without certificate, as `cpu_seconds` is on GPUs.
    """

    arm: str
    method: str
    images: int
    psnr: float
    psnr_std: float
    ssim: float
    ssim_std: float
    iterations: float
    network_evaluations: float
    operator_evaluations: float
    seconds: float
    cpu_seconds: float
    gradient_like: float
    settings: str


@dataclass(frozen=True)
class Result:
    """A finished arm.

    Attributes:
        arm: what was run.
        folder: its run folder, which all numbers are read from.
        config: its settings.
    """

    arm: Arm
    folder: Path
    config: ReconstructConfig

    @property
    def solver(self) -> str:
        """Name of the method that is the arm's solver."""
        return self.config.solver.name

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        return json.loads((self.folder / names.SUMMARY).read_text(encoding="utf-8"))

    @property
    def methods(self) -> list[str]:
        """All methods of the run, the solver last."""
        return list(self.summary["methods"])

    @cached_property
    def _metrics(self) -> list[MetricsRow]:
        rows = _read(self.folder / names.METRICS, MetricsRow)
        return [row for row in rows if row.status != LEFT_OUT]

    def metrics(self, method: str | None = None) -> list[MetricsRow]:
        """Rows of `metrics.csv` of a method, None: of the solver; one per image that was used."""
        return [row for row in self._metrics if row.method == (method or self.solver)]

    @cached_property
    def trace(self) -> list[TraceRow]:
        """Rows of `trace.csv`."""
        return _read(self.folder / names.TRACE, TraceRow)

    @cached_property
    def certificates(self) -> dict[str, list[dict[str, Any]]]:
        """For each method with a certificate its entries, one per image."""
        text = (self.folder / names.CERTIFICATE).read_text(encoding="utf-8")
        return {method: found["images"] for method, found in json.loads(text).items()}

    def arrays(self, name: str) -> NDArray[np.float32]:
        """A data set of `reconstructions.h5`, such as `ground_truth` or a method's name."""
        with h5py.File(self.folder / names.RECONSTRUCTIONS) as file:
            return np.asarray(file[name])

    def mean(self, column: str, method: str | None = None) -> float:
        """Mean of a column of `metrics.csv` over the images, as `metrics`."""
        return fmean(getattr(row, column) for row in self.metrics(method))

    def rows(self) -> list[ResultRow]:
        """A row of `results.csv` for each method."""
        return [self._row(method) for method in self.methods]

    def _row(self, method: str) -> ResultRow:
        rows, certificates = self.metrics(method), self.certificates.get(method)

        def over_images(average: Callable[[Sequence[float]], float], column: str) -> float:
            return average([getattr(row, column) for row in rows])

        good = nan if certificates is None else sum(c["gradient_like"] for c in certificates)
        return ResultRow(
            self.arm.name,
            method,
            len(rows),
            over_images(fmean, "psnr"),
            over_images(_spread, "psnr"),
            over_images(fmean, "ssim"),
            over_images(_spread, "ssim"),
            *(self.mean(name, method) for name in ResultRow._fields[7:12]),
            gradient_like=good,
            settings=" ".join(self.arm.settings),
        )


def _spread(values: Sequence[float]) -> float:
    """Their standard deviation; NaN where one is not finite."""
    return pstdev(values) if np.isfinite(values).all() else nan


def _read(path: Path, kind: type[Row]) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [kind(**{k: _cell(k, v) for k, v in row.items()}) for row in csv.DictReader(file)]


def _cell(column: str, text: str) -> Any:
    if column in _WORDS:
        return text
    return float(text) if text else nan
