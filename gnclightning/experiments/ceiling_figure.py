"""The figure of the ceiling."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import COLOURS, style
from gnclightning.experiments.arms.results import Result
from gnclightning.experiments.ceiling_estimate import Array, Estimate
from gnclightning.reconstruction.records import label


def draw(
    measured: Mapping[int, float],
    found: Estimate,
    beside: Result,
    alike: tuple[Array, Array],
) -> Figure:
    """PSNR of the mean over the number of samples; errors over standard deviations of pixels.

    Args:
        measured: PSNR of the mean of so many samples, the mean over the images.
        found: what is expected of them.
        beside: the methods to compare with.
        alike: see `ceiling_estimate.reliability`.
    """
    with style():
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
        _draw_quality(left, measured, found, beside)
        _draw_reliability(right, *alike)
    return figure


def _draw_quality(
    panel: Axes, measured: Mapping[int, float], found: Estimate, beside: Result
) -> None:
    numbers = np.geomspace(1, max(measured), 100)
    panel.plot(numbers, [found.psnr(n).mean() for n in numbers], color=COLOURS[0], label="expected")
    panel.plot(*zip(*measured.items(), strict=True), "o", color=COLOURS[0], label="mean of samples")
    panel.axhline(found.psnr().mean(), color=COLOURS[0], linestyle="--", label="ceiling")
    others = [
        method for method in beside.methods if beside.mean("psnr", method) > min(measured.values())
    ]
    for method, colour in zip(reversed(others), COLOURS[1:], strict=False):
        panel.axhline(beside.mean("psnr", method), color=colour, linestyle=":", label=label(method))
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(measured), [str(number) for number in measured])
    panel.set(xlabel="samples", ylabel="PSNR (dB)")
    panel.legend(loc="lower right", frameon=True)


def _draw_reliability(panel: Axes, spread: Array, missed: Array) -> None:
    ends = [min(spread.min(), missed.min()), max(spread.max(), missed.max())]
    panel.plot(ends, ends, color="0.6", linestyle="--", label="a right prior")
    panel.plot(spread, missed, "o-", color=COLOURS[0], label="this one")
    panel.set(xlabel="standard deviation of samples", ylabel="error of their mean")
    panel.legend(loc="upper left")
