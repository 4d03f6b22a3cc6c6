"""What the figures of the experiments share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from gnclightning.experiments.arms.results import Result
from gnclightning.reconstruction.figures import STYLE
from gnclightning.reconstruction.records import TraceRow

COLOURS = ("#0b5394", "#cc5500", "#38761d", "#a64d79", "#7f6000", "#45818e", "#666666")
"""One for each arm, in their order."""
_ITERATIONS = (0, 5, 10, 20, 50, 100, 200, 500, 1000)


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, those of runs included."""
    with mpl.rc_context(STYLE):
        yield


def plot_traces(panel: Axes, results: Sequence[Result], column: str) -> None:
    """A column of `trace.csv` over the iterations, a curve for each arm: the mean of its images.

    The axis is logarithmic from iteration 10 on: methods differ in their number of iterations.
    """
    for number, (result, colour) in enumerate(zip(results, COLOURS, strict=False)):
        curve = mean_curve(result.trace, column)
        width = 3.2 if number == 0 else 1.3  # to be seen below another that is the same
        panel.plot(*zip(*curve, strict=True), color=colour, linewidth=width, label=result.arm.title)
    panel.set_xscale("symlog", linthresh=10, linscale=0.6)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(FixedLocator(_ITERATIONS))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(ScalarFormatter())


def mean_curve(trace: Sequence[TraceRow], column: str) -> list[tuple[int, float]]:
    """Iterations and the mean over the images of their values there; left out where it is NaN."""
    values: dict[int, list[float]] = {}
    for row in trace:
        values.setdefault(int(row.iteration), []).append(getattr(row, column))
    means = ((iteration, fmean(values[iteration])) for iteration in sorted(values))
    return [(iteration, mean) for iteration, mean in means if not isnan(mean)]
