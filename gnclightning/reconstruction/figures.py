"""The figures of a run, drawn without pyplot's global state."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnclightning.reconstruction.curves import positive
from gnclightning.reconstruction.figures_alpha import draw_alpha
from gnclightning.reconstruction.figures_starts import draw_starts
from gnclightning.reconstruction.folder import (
    ALPHA_FIGURE,
    CONVERGENCE_FIGURE,
    ERRORS_FIGURE,
    RECONSTRUCTIONS_FIGURE,
    STARTS_FIGURE,
)
from gnclightning.reconstruction.records import BatchResult, MetricsRow, TraceRow, label

_MOST_IMAGES = 10
_PANEL = 1.75
"""Width of an image in inches."""
_SHOWN_PERCENTILE = 99.5
"""Larger errors than this percentile share the last colour."""
_ERROR_COLOURS = "magma"
_MEAN_COLOUR = "#0b5394"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 150,
}
_CURVES = (
    ("psnr", "PSNR (dB)", "linear"),
    ("objective", "objective f", "log"),
    ("step_size", "step size", "log"),
    ("descent_condition", "cosine of ∇f and direction", "linear"),
)
"""Column of `trace.csv`, what the axis says, and its scale."""

Image = NDArray[np.float32]


def draw(results: Sequence[BatchResult]) -> dict[str, Figure]:
    """Reconstructions, error maps (of the first ten images) and convergence, by file name.

    Without ground truth there are no error maps, without iterations no convergence, and without
    several starts or weights no figure of these.
    """
    with mpl.rc_context(STYLE):
        drawn = {RECONSTRUCTIONS_FIGURE: _reconstructions(results)}
        if results[0].batch.truth is not None:
            drawn[ERRORS_FIGURE] = _errors(results)
        if any(method.trace for result in results for method in result.methods):
            drawn[CONVERGENCE_FIGURE] = _convergence(results)
        if (starts := draw_starts(results)) is not None:
            drawn[STARTS_FIGURE] = starts
        if (alpha := draw_alpha(results)) is not None:
            drawn[ALPHA_FIGURE] = alpha
        return drawn


def _shown(
    results: Sequence[BatchResult],
) -> Iterator[tuple[Image | None, list[Image], list[MetricsRow]]]:
    """For each image: the truth if it is known, and what the methods made of it."""
    shown = 0
    for result in results:
        for index in range(min(len(result.batch.names), _MOST_IMAGES - shown)):
            shown += 1
            images = [m.x[index, 0].numpy() for m in result.methods]
            rows = [m.metrics[index] for m in result.methods]
            truth = result.batch.truth
            yield None if truth is None else truth[index, 0].numpy(), images, rows


def _reconstructions(results: Sequence[BatchResult]) -> Figure:
    """Ground truth, if it is known, and reconstructions side by side, in [0,1]."""
    shown = list(_shown(results))
    known = shown[0][0] is not None
    headings = [label(m.method) for m in results[0].methods]
    figure, grid = _grid(shown[0][1][0], len(shown), ["ground truth"] * known + headings)
    for axes, (truth, images, rows) in zip(grid, shown, strict=True):
        axes[0].set_ylabel(rows[0].image, parse_math=False)
        if truth is not None:
            axes[0].imshow(truth, cmap="gray", vmin=0, vmax=1)
        for panel, image, row in zip(axes[int(known) :], images, rows, strict=True):
            panel.imshow(image, cmap="gray", vmin=0, vmax=1)
            if known:
                panel.set_xlabel(f"{row.psnr:.2f} dB / {row.ssim:.3f}")
    figure.suptitle("Reconstructions" + ", PSNR / SSIM" * known, fontsize=10)
    return figure


def _errors(results: Sequence[BatchResult]) -> Figure:
    """|reconstruction - ground truth| on one colour scale.

    The scale ends where the errors of the best method on show nearly do: that of filtered
    back-projection is so much larger that its scale would leave all others black.
    """
    shown = [
        (np.abs(np.stack(images) - truth), rows)
        for truth, images, rows in _shown(results)
        if truth is not None
    ]
    scales = np.stack([np.percentile(e, _SHOWN_PERCENTILE, axis=(1, 2)) for e, _ in shown])
    finite = np.where(np.isfinite(scales), scales, 0).max(0)
    largest = float(finite[finite > 0].min(initial=1.0))
    headings = [label(m.method) for m in results[0].methods]
    figure, grid = _grid(shown[0][0][0], len(shown), headings)
    for axes, (errors, rows) in zip(grid, shown, strict=True):
        axes[0].set_ylabel(rows[0].image, parse_math=False)
        for panel, error in zip(axes, errors, strict=True):
            panel.imshow(error, cmap=_ERROR_COLOURS, vmin=0, vmax=largest)
    scale = ScalarMappable(Normalize(0, largest), _ERROR_COLOURS)
    # The distance of a colour bar is a part of the height.
    distance = 0.1 / len(shown)
    figure.colorbar(
        scale, ax=grid, extend="max", location="bottom", shrink=0.8, aspect=40, pad=distance
    )
    figure.suptitle("Absolute errors", fontsize=10)
    return figure


def _grid(image: Image, rows: int, headings: Sequence[str]) -> tuple[Figure, NDArray[np.object_]]:
    """A figure with panels (rows, columns) for images; headings above the columns."""
    height = _PANEL * image.shape[0] / image.shape[1]
    size = (_PANEL * len(headings) + 0.3, (height + 0.2) * rows + 1)
    figure = Figure(figsize=size, layout="compressed")
    grid = figure.subplots(rows, len(headings), squeeze=False)
    for panel in grid.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    for panel, heading in zip(grid[0], headings, strict=True):
        panel.set_title(heading)
    return figure, grid


def _convergence(results: Sequence[BatchResult]) -> Figure:
    """PSNR, objective, step size and descent condition over iterations (the paper's Fig. 2)."""
    traced = [m for result in results for m in result.methods if m.trace]
    rows = [row for m in traced for row in m.trace]
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2, 2, sharex=True).flat)
    for panel, (column, text, scale) in zip(panels, _CURVES, strict=True):
        curves = _curves(rows, column)
        if column == "objective":
            curves, text = positive(curves, text)
        if scale == "log":
            curves[~(curves > 0)] = np.nan  # a failed search has no step
        _plot(panel, curves, "no ground truth" if column == "psnr" else "no values to show")
        panel.set(ylabel=text, yscale=scale)
    panels[3].axhline(0, color="black", linewidth=0.8)
    for panel in panels[2:]:
        panel.set_xlabel("iteration")
    panels[0].legend(loc="lower right")
    names = dict.fromkeys(m.method.replace("_", " ") for m in traced)
    figure.suptitle(f"Convergence: {', '.join(names)}", fontsize=10)
    return figure


def _curves(rows: Sequence[TraceRow], column: str) -> NDArray[np.float64]:
    """One curve per image (N, iterations + 1), NaN after it has stopped."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(row.image for row in rows))}
    curves = np.full((len(numbers), 1 + max(row.iteration for row in rows)), np.nan)
    for row in rows:
        curves[numbers[row.image], row.iteration] = getattr(row, column)
    return curves


def _plot(panel: Axes, curves: NDArray[np.float64], without: str) -> None:
    """Each image's curve and their mean; `without` any values, that."""
    iterations = np.arange(curves.shape[1])
    for number, curve in enumerate(curves):
        name = "one image" if number == 0 else None
        panel.plot(iterations, curve, color="#9aa5b1", linewidth=0.6, alpha=0.8, label=name)
    known = ~np.isnan(curves).all(0)
    if not known.any():
        panel.text(0.5, 0.5, without, ha="center", transform=panel.transAxes)
        return
    means = np.nanmean(curves[:, known], axis=0)
    panel.plot(iterations[known], means, color=_MEAN_COLOUR, linewidth=1.8, label="mean")
    panel.margins(x=0.02)
