"""The figure of several random starts: where they differ, and whether their mean fits the data."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnclightning.reconstruction.records import BatchResult, MethodResult
from gnclightning.reconstruction.starts import RESIDUAL, STD

_MOST_IMAGES = 10
_PANEL = 1.9
_SHOWN_PERCENTILE = 99.5
_SIGMAS = 3.0
"""The scale of residuals, in standard deviations of the noise: pure noise seldom leaves it."""

Image = NDArray[np.float32]


def draw_starts(results: Sequence[BatchResult]) -> Figure | None:
    """Mean, standard deviation, error if the truth is known, and residual over the noise level.

    None if no result is the mean of several starts. The first ten images are shown.
    """
    found = ((result, m) for result in results for m in result.methods if STD in m.maps)
    rows = list(
        islice(((r, m, n) for r, m in found for n in range(len(r.batch.names))), _MOST_IMAGES)
    )
    if not rows:
        return None
    known = rows[0][0].batch.truth is not None
    headings = ["mean of the starts", "standard deviation", "|mean - truth|", "(A x - y) / noise"]
    if not known:
        headings.pop(2)
    figure = Figure(figsize=(_PANEL * len(headings) + 0.3, _PANEL * len(rows) + 1))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(rows), len(headings), squeeze=False)
    for panels, (result, method, n) in zip(grid, rows, strict=True):
        panels[0].set_ylabel(result.batch.names[n], parse_math=False)
        _draw_row(panels, result, method, n)
    for column in grid[:, 1:-1].T:  # the starts may agree far better than any is right
        largest = max(_largest(panel.images[0].get_array().data) for panel in column)
        for panel in column:
            panel.images[0].set_clim(0, largest)
    for panel, heading in zip(grid[0], headings, strict=True):
        panel.set_title(heading)
    for panel in grid.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    options = {"location": "bottom", "aspect": 20, "pad": 0.03, "shrink": 0.9}
    for number in range(1, len(headings)):
        extend = "both" if number == len(headings) - 1 else "max"
        column = grid[:, number]
        bar = figure.colorbar(column[0].images[0], ax=list(column), extend=extend, **options)
        bar.ax.locator_params(nbins=4)
    figure.suptitle("Where random starts differ", fontsize=10)
    return figure


def _draw_row(
    panels: NDArray[np.object_], result: BatchResult, method: MethodResult, n: int
) -> None:
    mean, truth = method.x[n, 0].numpy(), result.batch.truth
    panels[0].imshow(mean, cmap="gray", vmin=0, vmax=1)
    deviations: list[Image] = [method.maps[STD][n, 0].numpy()]
    if truth is not None:
        deviations.append(np.abs(mean - truth[n, 0].numpy()))
    for panel, values in zip(panels[1:], deviations, strict=False):
        panel.imshow(values, cmap="magma")
    residual = method.maps[RESIDUAL][n, 0].numpy()
    sigma = float(result.batch.sigma_y[n]) or _rms(residual)  # exact measurements have no level
    last: Axes = panels[-1]
    shown = residual.reshape(-1, residual.shape[-1])  # real above imaginary parts
    last.imshow(shown / sigma, cmap="coolwarm", vmin=-_SIGMAS, vmax=_SIGMAS, aspect="auto")
    last.set_xlabel(f"RMS {_rms(residual) / sigma:.2f}")


def _rms(values: Image) -> float:
    return float(np.sqrt(np.nanmean(np.square(values, dtype=np.float64)))) or 1.0


def _largest(values: Image) -> float:
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, _SHOWN_PERCENTILE)) if finite.size else 0.0
