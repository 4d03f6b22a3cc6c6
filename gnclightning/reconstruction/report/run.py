"""A run as its folder holds it: what the report reads."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.reconstruction import folder
from gnclightning.reconstruction.records import LEFT_OUT

Row = dict[str, str]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run folder.

    Attributes:
        path: the folder.
        metrics, trace: rows of the tables, without images that were left out.
        certificate, summary: of the JSON files.
        file: the open HDF5 file.
    """

    path: Path
    metrics: list[Row]
    trace: list[Row]
    certificate: dict[str, Any]
    summary: dict[str, Any]
    file: h5py.File

    @cached_property
    def names(self) -> list[str]:
        """Of the images, in the order of the HDF5 file."""
        return [row["image"] for row in self.metrics if row["method"] == self.methods[0]]

    @cached_property
    def methods(self) -> list[str]:
        """In the order in which they ran."""
        return list(dict.fromkeys(row["method"] for row in self.metrics))

    @cached_property
    def solver_first(self) -> list[str]:
        """The methods with the solver first, so that it has the same colour everywhere."""
        return sorted(self.methods, key=lambda name: name != self.solver)

    @cached_property
    def solver(self) -> str:
        """The method with a certificate, or if there is none the last."""
        return next(iter(self.certificate), self.methods[-1])

    @cached_property
    def known(self) -> bool:
        """Whether there is ground truth."""
        return "ground_truth" in self.file

    def column(self, method: str, name: str) -> Numbers:
        """A number for each image; NaN where there is none."""
        cells = [row[name] for row in self.metrics if row["method"] == method]
        return np.array([number(cell) for cell in cells])

    def certified(self, name: str) -> Numbers:
        """A number of the solver's certificate for each image, NaN where there is none."""
        rows = self.certificate.get(self.solver, {}).get("images", [])
        values = [row.get(name) for row in rows] or [None] * len(self.names)
        return np.array([np.nan if value is None else float(value) for value in values])

    @cached_property
    def discrepancy(self) -> Numbers:
        """|A x - y| of each reconstruction over what the noise gives; 1 is noise."""
        return self.column(self.solver, "residual")

    @cached_property
    def direct(self) -> str:
        """The direct reconstruction, whether or not it was compared with."""
        return str(self.file.attrs["direct"])

    @cached_property
    def order(self) -> list[int]:
        """Numbers of the images from the worst on; those without a number come first."""
        if self.known:
            badness = -self.column(self.solver, "psnr")
        else:
            failed = self.certified("gradient_like") != 1
            badness = np.abs(self.discrepancy - 1) + 1e9 * failed
        return np.argsort(-np.nan_to_num(badness, nan=np.inf), kind="stable").tolist()


@contextmanager
def open_run(path: Path) -> Iterator[RunFiles]:
    """Read the files of a run folder that has at least one finished batch."""
    with h5py.File(path / folder.RECONSTRUCTIONS) as file:
        yield RunFiles(
            path,
            [row for row in _table(path / folder.METRICS) if row["status"] != LEFT_OUT],
            _table(path / folder.TRACE),
            json.loads((path / folder.CERTIFICATE).read_text(encoding="utf-8")),
            json.loads((path / folder.SUMMARY).read_text(encoding="utf-8")),
            file,
        )


def _table(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(cell: str) -> float:
    """Of a cell of a table; NaN of an empty one."""
    return float(cell) if cell else float("nan")
