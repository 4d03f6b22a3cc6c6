"""The figure of several weights of the regulariser: what they lead to, and which is right."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnclightning.reconstruction.records import BatchResult, MetricsRow, has_other_weight

_COLUMNS = {"psnr": "PSNR (dB)", "residual": "|A x - y| / noise"}
_OWN, _EACH, _MEAN = "#cc4125", "#9aa5b1", "#0b5394"


def draw_alpha(results: Sequence[BatchResult]) -> Figure | None:
    """PSNR, if the truth is known, and residual of each image over the weight, and their mean.

    None if the solver reconstructed with one weight only. The run's own weight is marked. Images
    of which a run failed are left out.
    """
    methods = [m.method for m in results[0].methods]
    others = [name for name in methods if has_other_weight(name)]
    if not others:
        return None
    names = [*others, methods[methods.index(others[-1]) + 1]]
    rows = [
        [next(row for row in m.metrics if row.image == image) for m in picked]
        for result in results
        for picked in [[m for m in result.methods if m.method in names]]
        for image in result.batch.names
    ]
    columns = [name for name in _COLUMNS if np.isfinite(_table(rows, name)).all(1).any()]
    if not columns:
        return None
    figure = Figure(figsize=(3.6 * len(columns), 2.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(columns), squeeze=False).flat)
    for panel, column in zip(panels, columns, strict=True):
        _draw(panel, rows, column)
    if "residual" in columns:
        panels[-1].axhline(1, color="black", linewidth=0.8)
    panels[0].legend()
    figure.suptitle("Weights of the regulariser", fontsize=10)
    return figure


def _draw(panel: Axes, rows: Sequence[Sequence[MetricsRow]], column: str) -> None:
    """A curve for each image; the last row of each is the run's own weight."""
    weights, values = _table(rows, "alpha"), _table(rows, column)
    known = np.isfinite(values).all(1)
    weights, values = weights[known], values[known]
    order = np.argsort(weights[0])
    for x, y in zip(weights, values, strict=True):
        panel.plot(x[order], y[order], color=_EACH, linewidth=0.6)
    mean_weights, means = np.exp(np.log(weights).mean(0)), values.mean(0)
    panel.plot(mean_weights[order], means[order], ".-", color=_MEAN, label="mean")
    panel.plot(mean_weights[-1], means[-1], "o", color=_OWN, label="alpha of the run")
    panel.set(xscale="log", xlabel="alpha at t_min", ylabel=_COLUMNS[column])


def _table(rows: Sequence[Sequence[MetricsRow]], column: str) -> NDArray[np.float64]:
    return np.array([[getattr(row, column) for row in each] for each in rows], dtype=np.float64)
