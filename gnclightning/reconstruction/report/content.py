"""What a report says, read from the files of a run folder; plain values, fit for JSON."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.reconstruction import folder
from gnclightning.reconstruction.curves import positive
from gnclightning.reconstruction.records import label, mean_name
from gnclightning.reconstruction.report.gallery import (
    LEVELS,
    SAMPLE,
    WORST,
    choose,
    layers,
    pack_images,
)
from gnclightning.reconstruction.report.run import Numbers, RunFiles, number, open_run

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


def read_content(path: Path) -> dict[str, Any]:
    """Everything that the page shows.

    Args:
        path: a run folder with at least one finished batch.
    """
    with open_run(path) as run:
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


def _summary(run: RunFiles) -> dict[str, Any]:
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


def _gallery(run: RunFiles) -> dict[str, Any]:
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
    run: RunFiles, column: str, text: str, logarithmic: bool, shown: Sequence[str]
) -> dict[str, Any] | None:
    """Mean and spread over the images by iteration, and the curves of the images on show."""
    if not run.trace:
        return None
    place = {name: number for number, name in enumerate(run.names)}
    length = 1 + max(int(row["iteration"]) for row in run.trace)
    curves = np.full((len(place), length), np.nan)
    for row in run.trace:
        curves[place[row["image"]], int(row["iteration"])] = number(row[column])
    if column == "objective":
        curves, text = positive(curves, text)
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


def _histograms(run: RunFiles) -> list[dict[str, Any]]:
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


def _rows(run: RunFiles) -> dict[str, Any]:
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


def _mean(values: Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _digits(values: Numbers) -> list[float]:
    """Five significant digits are more than a page shows."""
    return [float(f"{value:.5g}") for value in values.tolist()]
