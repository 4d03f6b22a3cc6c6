"""The figure of the alpha study."""

from collections.abc import Sequence
from statistics import fmean

from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import COLOURS, style
from gnclightning.experiments.arms.results import Result


def draw(tried: Sequence[Result], rules: Sequence[Result], oracle: Sequence[float]) -> Figure:
    """PSNR over the mean alpha: the sweep, the rules, and the oracle's PSNR as a line."""
    with style():
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        panel = figure.subplots()
        panel.axhline(fmean(oracle), color="0.6", linestyle="--", label="oracle")
        points = [(r.mean("alpha"), r.mean("psnr")) for r in tried]
        panel.plot(*zip(*points, strict=True), "o-", color=COLOURS[0], label="sweep")
        for rule, colour in zip(rules, COLOURS[1:], strict=False):
            panel.plot(
                rule.mean("alpha"), rule.mean("psnr"), "s", color=colour, label=rule.arm.title
            )
        panel.set_xscale("log")
        panel.set(xlabel="alpha at t_min, mean over the images", ylabel="PSNR (dB)")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
