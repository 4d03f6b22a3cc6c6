"""The figure of the schedule study."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import COLOURS, style
from gnclightning.experiments.arms.results import Result

_MARKERS = "os^vD<"


def draw(by_group: Mapping[str, Sequence[Result]]) -> Figure:
    """PSNR over network evaluations, the means over the images, a colour for each group."""
    with style():
        figure = Figure(figsize=(8.4, 4.4), layout="constrained")
        panel = figure.subplots()
        for number, (group, results) in enumerate(by_group.items()):
            points = sorted((r.mean("network_evaluations"), r.mean("psnr")) for r in results)
            panel.plot(
                *zip(*points, strict=True),
                linestyle="-" if len({x for x, _ in points}) == len(points) > 2 else "",
                marker="*" if number == 0 else _MARKERS[number // len(COLOURS)],
                markersize=12 if number == 0 else 5,
                color=COLOURS[number % len(COLOURS)],
                zorder=3 if number == 0 else 2,
                label=group,
            )
        panel.set_xscale("log")
        panel.set(xlabel="network evaluations per image", ylabel="PSNR (dB)")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
