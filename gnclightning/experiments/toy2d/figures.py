"""Fig. 1 of the paper with a strict tolerance beside it, and the study's figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnclightning.experiments.toy2d.critical_points import Minima
from gnclightning.experiments.toy2d.methods import PAPER, schedules
from gnclightning.experiments.toy2d.problem import SIDE, batch_last, objective, start_grid
from gnclightning.experiments.toy2d.rates import (
    QUANTITIES,
    STATIONARY,
    STRICTLY_STATIONARY,
    trajectories,
)
from gnclightning.experiments.toy2d.storage import Results

_STYLE: dict[Any, Any] = {"font.size": 8, "axes.titlesize": 8, "figure.dpi": 150}
_NAMES = {"alg1": "Algorithm 1", "alg2": "Algorithm 2"}
_TITLES = (
    "reached the global minimum",
    f"stationary, |∇f| ≤ {STATIONARY:g}",
    f"stationary, |∇f| ≤ {STRICTLY_STATIONARY:g}",
)
_PATHS = torch.tensor(
    [[-8.0, -8.0], [-8.0, 8.0], [8.0, -8.0], [8.0, 8.0], [-3.0, 5.0], [3.0, -6.0]]
).double()
"""Starts of the trajectories shown."""
_CONTOURS = 200
_WIDENING = 1.05
"""Half the width of the band that stands for a t_max alone, as a factor."""


def draw(results: Results, t_max: Sequence[float], minima: Minima) -> Figure:
    """Start plane and rates over iteration and t_max, one row per algorithm."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(13, 5.6), layout="constrained")
        grid = figure.subplots(len(PAPER), 1 + len(QUANTITIES))
        for axes, method in zip(grid, PAPER, strict=True):
            rates = results.of(method, t_max)
            reached = np.mean([found.reached for found in rates], axis=0)
            _start_plane(figure, axes[0], reached.reshape(results.starts, -1))
            _landscape(axes[0], minima)
            _paths(axes[0], method, t_max, results.steps)
            axes[0].set_title(f"{_NAMES[method]}: start plane")
            curves = np.stack([found.curves for found in rates], axis=1)
            for panel, title, shares in zip(axes[1:], _TITLES, curves, strict=True):
                _over_t_max(figure, panel, t_max, shares)
                panel.set_title(f"{_NAMES[method]}: {title}")
    return figure


def _start_plane(figure: Figure, panel: Axes, reached: NDArray[np.float64]) -> None:
    """Share of the values of t_max that lead each start to the global minimum."""
    axis = np.linspace(-SIDE, SIDE, len(reached))
    colours = panel.pcolormesh(axis, axis, reached.T, vmin=0, vmax=1, shading="nearest")
    figure.colorbar(colours, ax=panel, label="share of t_max")
    panel.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")


def _landscape(panel: Axes, minima: Minima) -> None:
    """Isolines of f, its minima and the line A x = y."""
    points = start_grid(_CONTOURS)
    values = objective(len(points)).evaluate(points).value.reshape(_CONTOURS, -1).numpy()
    axis = np.linspace(-SIDE, SIDE, _CONTOURS)
    levels = values.min() + (values.max() - values.min()) * np.linspace(0.02, 1, 14) ** 2
    panel.contour(axis, axis, values.T, levels, colors="white", linewidths=0.4)
    panel.plot([2 - SIDE, SIDE], [SIDE, 2 - SIDE], color="white", linestyle="--", linewidth=0.8)
    best, *others = minima.points.tolist()
    for x, y in others:
        panel.plot(x, y, "wx", markersize=5)
    panel.plot(*best, "r*", markersize=8)
    panel.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE))


def _paths(panel: Axes, method: str, t_max: Sequence[float], steps: int) -> None:
    """Trajectories with the smallest, the middle and the largest t_max."""
    for value in sorted({t_max[0], t_max[len(t_max) // 2], t_max[-1]}):
        plan = PAPER[method](schedules([value], steps))
        paths = trajectories(plan, objective(len(_PATHS)), batch_last(_PATHS), steps)
        for number in range(len(_PATHS)):
            panel.plot(*paths[:, number].T, color="tab:orange", linewidth=0.7)


def _over_t_max(
    figure: Figure, panel: Axes, t_max: Sequence[float], shares: NDArray[np.float64]
) -> None:
    """A rate (T, iterations + 1) over iteration and t_max."""
    between = np.sqrt(np.multiply(t_max[1:], t_max[:-1]))
    edges = np.concatenate([[t_max[0] / _WIDENING], between, [t_max[-1] * _WIDENING]])
    iterations = np.arange(shares.shape[1] + 1) - 0.5
    colours = panel.pcolormesh(iterations, edges, shares, vmin=0, vmax=1, rasterized=True)
    figure.colorbar(colours, ax=panel)
    panel.set(xlabel="iteration", ylabel=r"$t_{\max}$", yscale="log")


def draw_study(study: Mapping[str, Any]) -> Figure:
    """Rates over K, the iterations before the descent condition is enforced."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        variants = {
            "algorithm_1_until_k": "Algorithm 1 for K iterations, then Algorithm 2",
            "condition_after_k": "Armijo from the start, descent condition after K",
        }
        for panel, (key, title) in zip(panels, variants.items(), strict=True):
            for name, label in zip(QUANTITIES, _TITLES, strict=True):
                values = [rates[name] for rates in study[key]]
                panel.plot(study["descent_from"], values, marker="o", label=label)
            panel.set(title=title, xlabel="K", ylim=(-0.03, 1.03))
        for method, style in (("preconditioned", "--"), ("nonmonotone", ":")):
            panels[1].axhline(
                study[method][QUANTITIES[0]],
                color="grey",
                linestyle=style,
                label=f"{method}: {_TITLES[0]}",
            )
        panels[0].set_ylabel("share of starts")
        panels[0].legend()
        panels[1].legend()
        figure.suptitle(rf"$t_{{\max}}$ = {study['t_max']:g}")
    return figure
