"""The figure beside Table 2."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import plot_traces, style
from gnclightning.experiments.arms.results import Result


def draw(results: Sequence[Result]) -> Figure:
    """PSNR over the iterations, mean over the images."""
    with style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        panel = figure.subplots()
        plot_traces(panel, results, "psnr")
        panel.set(xlabel="iteration (logarithmic from 10 on)", ylabel="PSNR (dB)")
        panel.legend(loc="best")
    return figure
