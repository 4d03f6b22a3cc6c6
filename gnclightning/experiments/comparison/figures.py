"""PSNR over time, and where the solver wins and loses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import style
from gnclightning.experiments.comparison.images import Duel
from gnclightning.experiments.comparison.tables import CurvePoint

_SOLVERS = {"GNC": "#0b5394", "GNC, Algorithm 1": "#3d85c6", "GNC, Algorithm 2": "#9fc5e8"}
_OTHERS = [colormaps["tab10"](number) for number in range(1, 10)]
_SPREAD = 0.3
"""How far the marks of a condition's images reach to both sides; conditions are one apart."""


def draw_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """PSNR over processor seconds per image, a line for each method."""
    with style():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        panel = figure.subplots()
        others = iter(_OTHERS)
        for title, points in curves.items():
            seconds, psnr = [p.cpu_seconds for p in points], [p.psnr for p in points]
            solver = title in _SOLVERS
            panel.plot(
                seconds,
                psnr,
                marker="o",
                markersize=4 if solver else 3,
                linewidth=1.8 if solver else 0.9,
                color=_SOLVERS[title] if solver else next(others),
                label=title,
                zorder=3 if solver else 2,
            )
        panel.set(xlabel="processor seconds per image", ylabel="PSNR (dB)", xscale="log")
        figure.legend(loc="outside right upper")
    return figure


def draw_conditions(duels: Mapping[str, Duel]) -> Figure:
    """By how much the solver is above the best other method, a mark per image."""
    with style():
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        panel = figure.subplots()
        for number, one in enumerate(duels.values()):
            places = number + np.linspace(-_SPREAD, _SPREAD, len(one.gains) + 2)[1:-1]
            warned = np.array([t.warns for t in one.trusts])
            for chosen, marker, name in [(~warned, "o", "no warning"), (warned, "x", "warning")]:
                panel.plot(
                    places[chosen],
                    np.array(one.gains)[chosen],
                    linestyle="",
                    marker=marker,
                    markersize=4,
                    color="#0b5394" if marker == "o" else "#cc5500",
                    label=name if number == 0 else None,
                )
        panel.axhline(0, color="#666666", linewidth=0.8)
        panel.set_xticks(range(len(duels)), list(duels), rotation=30, ha="right")
        panel.set_ylabel("GNC above the best other method (dB)")
        panel.grid(visible=False, axis="x")
        panel.legend(loc="best")
    return figure
