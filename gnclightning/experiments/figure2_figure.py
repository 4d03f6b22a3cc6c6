"""The drawing of Figure 2."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import plot_traces, style
from gnclightning.experiments.arms.results import Result

_PANELS = (
    ("psnr", "PSNR (dB)", "linear"),
    ("objective", "objective f", "log"),
    ("descent_condition", "cosine of ∇f and direction", "linear"),
    ("step_size", "step size", "log"),
)
"""Column of `trace.csv`, what the axis says, and its scale."""


def draw(results: Sequence[Result]) -> Figure:
    """PSNR, objective, descent condition and step size over the iterations."""
    with style():
        figure = Figure(figsize=(7.2, 5), layout="constrained")
        panels: list[Axes] = list(figure.subplots(2, 2, sharex=True).flat)
        for panel, (column, text, scale) in zip(panels, _PANELS, strict=True):
            plot_traces(panel, results, column)
            panel.set(ylabel=text, yscale=scale)
        panels[2].axhline(0, color="black", linewidth=0.8)
        for panel in panels[2:]:
            panel.set_xlabel("iteration (logarithmic from 10 on)")
        panels[0].legend(loc="lower right")
    return figure
