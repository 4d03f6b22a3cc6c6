"""The figure beside Table 1."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gnclightning.experiments.arms.figures import COLOURS, style

_BESIDE = 0.25
"""Distance of two methods' marks of an image, which are one apart."""


def draw(psnr: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """PSNR of each image from each start.

    Args:
        psnr: for each method, the values of all images, start after start.
    """
    with style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        panel = figure.subplots()
        images = range(1, 1 + max(len(values) for starts in psnr.values() for values in starts))
        for number, (title, starts) in enumerate(psnr.items()):
            offset = _BESIDE * (number - (len(psnr) - 1) / 2)
            for values in starts:
                panel.plot(
                    [image + offset for image in images],
                    values,
                    linestyle="",
                    marker="_",
                    markersize=9,
                    color=COLOURS[number],
                    label=title if values is starts[0] else None,
                )
        panel.set(xlabel="image", ylabel="PSNR (dB), a mark per start", xticks=list(images))
        panel.set_xlim(0.5, len(images) + 0.5)
        panel.grid(visible=False, axis="x")
        panel.legend(loc="best")
    return figure
