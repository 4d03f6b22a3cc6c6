"""The drawing of Figure 3."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnclightning.experiments.arms.figures import style
from gnclightning.experiments.arms.results import Result

_PANEL = 1.9
"""Width of an image in inches."""
_INSET = 0.45
"""Side of an inset, as a part of its panel's."""
_EDGE = "#f1c232"

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Column:
    """What a method made of the images.

    Attributes:
        title: above the column.
        images: (N, H, W).
        captions: below each image.
    """

    title: str
    images: Image
    captions: list[str]


def columns_of(result: Result, method: str, title: str) -> Column:
    """A method of an arm, with PSNR and SSIM of each image."""
    captions = [f"{row.psnr:.2f} dB / {row.ssim:.3f}" for row in result.metrics(method)]
    return Column(title, result.arrays(method), captions)


def draw(truth: Image, columns: Sequence[Column], zoom: float) -> Figure:
    """The truth and what each method made of it, a row per image, in grey levels of [0,1].

    Args:
        truth: (N, H, W).
        columns: the methods.
        zoom: how many times the part in each inset is enlarged.
    """
    shown = [Column("ground truth", truth, [""] * len(truth)), *columns]
    height = _PANEL * truth.shape[1] / truth.shape[2]
    with style():
        size = (_PANEL * len(shown) + 0.2, (height + 0.2) * len(truth) + 0.4)
        figure = Figure(figsize=size, layout="compressed")
        grid = figure.subplots(len(truth), len(shown), squeeze=False)
        side = max(2, round(min(truth.shape[1:]) * _INSET / zoom))
        for number, panels in enumerate(grid):
            corner = busiest(truth[number], side)
            free = emptiest_corner(truth[number], corner, side)
            for panel, column in zip(panels, shown, strict=True):
                _draw(panel, column.images[number], corner, side, free)
                panel.set_xlabel(column.captions[number])
        for panel, column in zip(grid[0], shown, strict=True):
            panel.set_title(column.title)
    return figure


def busiest(image: Image, side: int) -> tuple[int, int]:
    """First row and column of the square of `side` pixels in which the image varies most.

    Squares are compared by the sum of the absolute differences of neighbouring pixels within them;
    of equals it is the first.
    """
    down = np.abs(np.diff(image.astype(np.float64), axis=0))[:, :-1]
    across = np.abs(np.diff(image.astype(np.float64), axis=1))[:-1]
    sums = np.pad(down + across, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inner = side - 1  # differences within the square
    total = sums[inner:, inner:] - sums[:-inner, inner:] - sums[inner:, :-inner]
    total += sums[:-inner, :-inner]
    row, column = np.unravel_index(np.argmax(np.round(total, 9)), total.shape)
    return int(row), int(column)


def emptiest_corner(image: Image, corner: tuple[int, int], side: int) -> tuple[bool, bool]:
    """Where an inset hides least: whether that is at the bottom, and whether at the right.

    Args:
        image: (H, W).
        corner: first row and column of the square that is enlarged, which is not hidden if there is
            a corner without it.
        side: of the square.
    """
    rows, columns = (int(np.ceil(_INSET * length)) for length in image.shape)
    kept = image.astype(np.float64)
    row, column = corner
    kept[row : row + side, column : column + side] += kept.sum()
    parts = {
        (bottom, right): kept[-rows:, :] if bottom else kept[:rows, :]
        for bottom in (False, True)
        for right in (False, True)
    }
    hidden = {
        (bottom, right): (part[:, -columns:] if right else part[:, :columns]).sum()
        for (bottom, right), part in parts.items()
    }
    return min(hidden, key=lambda place: hidden[place])


def _draw(
    panel: Axes, image: Image, corner: tuple[int, int], side: int, free: tuple[bool, bool]
) -> None:
    """An image with an inset in a free corner."""
    row, column = corner
    bottom, right = free
    panel.imshow(image, cmap="gray", vmin=0, vmax=1)
    place = (right * (1 - _INSET), (not bottom) * (1 - _INSET), _INSET, _INSET)
    inset = panel.inset_axes(place)
    inset.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    inset.set(xlim=(column - 0.5, column + side - 0.5), ylim=(row + side - 0.5, row - 0.5))
    panel.indicate_inset_zoom(inset, edgecolor=_EDGE, alpha=1, linewidth=0.8)
    inset.spines[:].set(visible=True, color=_EDGE, linewidth=1)
    for axes in (panel, inset):
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    panel.spines[:].set_visible(False)
