"""What a report says, read from the files of a run folder; plain values, fit for JSON."""

import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.reconstruction import folder
from gnclightning.reconstruction.records import LEFT_OUT, label, mean_name
from gnclightning.reconstruction.report.gallery import (
    LEVELS,
    SAMPLE,
    WORST,
    choose,
    layers,
    pack_images,
)

MOST_ROWS = 2000
"""Images in the table."""
_BINS = 24
_CURVES = (
    ("psnr", "PSNR (dB)", False),
    ("objective", "objective f", True),
    ("gradient_norm", "|grad f|", True),
    ("step_size", "step size", True),
    ("descent_condition", "cosine of grad f and direction", False),
)
"""Column of the trace, what the axis says, and whether it is logarithmic."""

Row = dict[str, str]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class _Run:
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
        return np.array([_number(cell) for cell in cells])

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


def read_content(path: Path) -> dict[str, Any]:
    """Everything that the page shows.

    Args:
        path: a run folder with at least one finished batch.
    """
    with h5py.File(path / folder.RECONSTRUCTIONS) as file:
        run = _Run(
            path,
            [row for row in _table(path / folder.METRICS) if row["status"] != LEFT_OUT],
            _table(path / folder.TRACE),
            json.loads((path / folder.CERTIFICATE).read_text(encoding="utf-8")),
            json.loads((path / folder.SUMMARY).read_text(encoding="utf-8")),
            file,
        )
        gallery = _gallery(run)
        shown = [image["name"] for image in gallery["images"]]
        return {
            "title": path.resolve().name,
            "command": _command(path),
            "config": (path / folder.CONFIG).read_text(encoding="utf-8"),
            "environment": run.summary["environment"],
            "summary": _summary(run),
            "gallery": gallery,
            "curves": [c for c in (_curve(run, *each, shown) for each in _CURVES) if c],
            "histograms": _histograms(run),
            "table": _rows(run),
        }


def _summary(run: _Run) -> dict[str, Any]:
    each = run.summary["methods"]
    mean = mean_name(run.solver)  # of starts, whose time is the solver's
    methods = [{"label": label(name), **each[name]} for name in run.solver_first]
    certificate = run.certificate.get(run.solver, {})
    good = run.certified("gradient_like") == 1
    return {
        "finished": run.summary["finished"],
        "images": run.summary["images"],
        "images_asked_for": run.summary["images_asked_for"],
        "left_out": run.summary["left_out"],
        "seconds": sum(each[name]["seconds"]["mean"] for name in each if name != mean),
        "solver": label(run.solver),
        "algorithm": run.solver.replace("_", " "),
        "verdict": certificate.get("verdict"),
        "gradient_like": int(good.sum()),
        "methods": methods,
        "known": run.known,
        "discrepancy": _mean(run.discrepancy),
    }


def _gallery(run: _Run) -> dict[str, Any]:
    kinds = layers(run.file, run.solver, [run.direct, *run.methods])
    chosen = choose(run.order)
    images = pack_images(run.file, run.names, chosen, [kind["key"] for kind in kinds])
    height, width = dataset(run.file, run.direct).shape[1:]
    return {
        "note": _note(len(images), len(run.names), run.known),
        "width": width,
        "height": height,
        "levels": LEVELS,
        "layers": kinds,
        "left": run.direct,
        "right": run.solver,
        "images": images,
    }


def _note(shown: int, images: int, known: bool) -> str:
    """What the gallery holds, in words."""
    order = "by PSNR" if known else "by how the run ended and how far |Ax - y| is from the noise"
    if shown == images:
        return f"All {images:,} images, worst first {order}."
    worst = min(shown, WORST)
    note = f"{shown:,} of {images:,} images: the {worst:,} worst {order}"
    if shown > WORST:
        note += f", and {shown - WORST:,} evenly spaced among the others"
    if shown < WORST + SAMPLE:
        note += "; more would make this file too large"
    return f"{note}. All are in {folder.RECONSTRUCTIONS}."


def _curve(
    run: _Run, column: str, text: str, logarithmic: bool, shown: Sequence[str]
) -> dict[str, Any] | None:
    """Mean and spread over the images by iteration, and the curves of the images on show."""
    if not run.trace:
        return None
    place = {name: number for number, name in enumerate(run.names)}
    length = 1 + max(int(row["iteration"]) for row in run.trace)
    curves = np.full((len(place), length), np.nan)
    for row in run.trace:
        curves[place[row["image"]], int(row["iteration"])] = _number(row[column])
    if logarithmic:
        curves[~(curves > 0)] = np.nan
    curves[~np.isfinite(curves)] = np.nan
    iterations = np.flatnonzero(~np.isnan(curves).all(0))
    if not iterations.size:
        return None
    some = curves[:, iterations]
    low, high = np.nanquantile(some, [0.1, 0.9], axis=0)
    return {
        "label": text,
        "logarithmic": logarithmic,
        "iterations": iterations.tolist(),
        "mean": _digits(np.nanmean(some, axis=0)),
        "low": _digits(low),
        "high": _digits(high),
        "images": {name: _digits(some[place[name]]) for name in shown},
    }


def _histograms(run: _Run) -> list[dict[str, Any]]:
    """Of what is known of each image."""
    quality = [("psnr", "PSNR (dB)"), ("ssim", "SSIM")] if run.known else []
    found = [
        _histogram(text, {label(m): run.column(m, name) for m in run.solver_first})
        for name, text in quality
    ]
    found.append(_histogram("|Ax - y| over the noise", {label(run.solver): run.discrepancy}))
    stationarity = run.certified("relative_stationarity")
    with np.errstate(divide="ignore"):
        powers = np.log10(stationarity)
    text = "log10 of |grad f| at the end over that at the start"
    found.append(_histogram(text, {label(run.solver): powers}))
    return [one for one in found if one]


def _histogram(text: str, series: dict[str, Numbers]) -> dict[str, Any] | None:
    finite = {name: values[np.isfinite(values)] for name, values in series.items()}
    together = np.concatenate(list(finite.values()))
    if not together.size:
        return None
    edges = np.histogram_bin_edges(together, _BINS)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in finite.items()}
    return {"label": text, "edges": _digits(edges), "counts": counts}


def _rows(run: _Run) -> dict[str, Any]:
    """The table of images, worst first."""
    statuses = [row["status"] for row in run.metrics if row["method"] == run.solver]
    numbers = {f"PSNR {label(m)}": run.column(m, "psnr") for m in run.solver_first if run.known}
    if run.known:
        numbers[f"SSIM {label(run.solver)}"] = run.column(run.solver, "ssim")
    numbers |= {
        "|Ax-y| / noise": run.discrepancy,
        "|grad f|, end / start": run.certified("relative_stationarity"),
        "iterations": run.column(run.solver, "iterations"),
        "seconds": run.column(run.solver, "seconds"),
    }
    words = {1.0: "yes", 0.0: "no"}
    certified = [words.get(value, "") for value in run.certified("gradient_like").tolist()]
    order = run.order[:MOST_ROWS]
    columns = [_digits(values[order]) for values in numbers.values()]
    return {
        "columns": ["image", *numbers, "gradient-like", "status"],
        "rows": [
            [run.names[n], *row, certified[n], statuses[n]]
            for n, *row in zip(order, *columns, strict=True)
        ],
        "images": len(run.names),
    }


def _command(path: Path) -> str:
    """The command that does the run again, in another folder."""
    config = shlex.quote(str(path / folder.CONFIG))
    again = shlex.quote(f"output={path}-again")
    return f"gnc-reconstruct --config {config} {again}"


def _table(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")


def _mean(values: Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _digits(values: Numbers) -> list[float]:
    """Five significant digits are more than a page shows."""
    return [float(f"{value:.5g}") for value in values.tolist()]
