"""ELLIPSES phantoms (arXiv 2404.18699, Section 4.2), generated on the fly.

A phantom is determined by `(seed, split, index)` and its size: not by the batch it is drawn in, the
order of the draws or the number of workers. The splits have disjoint random streams, so that no
test phantom is ever seen in training. An image covers [-1, 1]^2 with pixel centres at
`linspace(-1, 1, size)` along both axes, row 0 at the top, y up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gnclightning.errors import UserError

Split = Literal["train", "validation", "test"]

STREAM_LENGTH = 2**32
"""Phantoms per seed and split: an index is one 32-bit word of the seed sequence's spawn key."""

MEAN_COUNT = 20
MEAN_INTENSITY = 0.4

# Intensities are integer multiples of 2^-40 (a relative change of 1e-12), so that sums of them are
# exact in any order: where all ellipses have ended, a running sum is exactly zero again.
_UNITS = 2.0**40

# So many images at a time keep the working set in the cache and the overhead per image small.
_CHUNK = 16


@dataclass(frozen=True, eq=False)
class Ellipses:
    """The ellipses of one phantom, each array (K,), lengths on the scale of [-1, 1]^2.

    Attributes:
        semi_axes: (2, K), in [0, 0.5].
        centre: (2, K), x and y, in [-0.5, 0.5].
        angle: of the first semi-axis against the x axis, radians, counter-clockwise.
        intensity: what an ellipse adds to the pixels whose centres it holds, >= 0.
    """

    semi_axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    angle: NDArray[np.float64]
    intensity: NDArray[np.float64]


def draw_ellipses(rng: np.random.Generator) -> Ellipses:
    """Draw the ellipses of one phantom; there may be none.

    Their number is Poisson(20), semi-axes are uniform in [-0.5, 0.5] up to their sign, which does
    not matter, centres uniform in [-0.5, 0.5]^2, angles uniform in [0, 2 pi), intensities
    exponential with mean 0.4 (arXiv 2404.18699, Section 4.2).
    """
    count = rng.poisson(MEAN_COUNT)
    unit = rng.random((5, count))
    intensity = np.rint(rng.exponential(MEAN_INTENSITY, count) * _UNITS) / _UNITS
    return Ellipses(0.5 * unit[:2], unit[2:4] - 0.5, 2 * np.pi * unit[4], intensity)


def phantom(seed: int, split: Split, index: int, size: int = 128) -> NDArray[np.float32]:
    """Phantom number `index` of a split: (size, size) in [0, 1], maximum 1, background exactly 0.

    Args:
        seed: chooses the family of phantoms, >= 0.
        split: "train", "validation" or "test"; their phantoms never overlap.
        index: 0 <= index < `STREAM_LENGTH`.
        size: pixels along each side, at least 3 (with fewer, no pixel centre can be hit).

    Raises:
        UserError: an argument is outside of its range.
    """
    return phantoms([index], seed, split, size)[0, 0]


def phantoms(
    indices: Sequence[int], seed: int, split: Split, size: int = 128
) -> NDArray[np.float32]:
    """Several phantoms at once, (B, 1, size, size): the same as from `phantom`, but faster.

    Args:
        indices: numbers of the phantoms, in any order.
        seed: see `phantom`.
        split: see `phantom`.
        size: see `phantom`.

    Raises:
        UserError: an argument is outside of its range.
    """
    _check(indices, seed, split, size)
    stream = get_args(Split).index(split)
    images = np.empty((len(indices), 1, size, size), np.float32)
    for first in range(0, len(indices), _CHUNK):
        generators = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
            for index in indices[first : first + _CHUNK]
        ]
        sums = _draw_sums(generators, size)
        images[first : first + _CHUNK, 0] = sums / sums.max((1, 2), keepdims=True)
    return images


def _check(indices: Sequence[int], seed: int, split: str, size: int) -> None:
    if split not in get_args(Split):
        raise UserError(f"expected a split among {', '.join(get_args(Split))}, got {split!r}")
    if seed < 0:
        raise UserError(f"expected a phantom seed of at least 0, got {seed}")
    if size < 3:
        raise UserError(
            f"expected phantoms of at least 3 pixels a side, got {size}: raise the size"
        )
    ends = (indices[0], indices[-1]) if isinstance(indices, range) and indices else indices
    if len(ends) and not (min(ends) >= 0 and max(ends) < STREAM_LENGTH):
        raise UserError(
            f"expected phantom indices from 0 to {STREAM_LENGTH - 1}, "
            f"got {min(ends)} to {max(ends)}"
        )


def _draw_sums(generators: list[np.random.Generator], size: int) -> NDArray[np.int64]:
    """Sums of ellipses (B, size, size), none of them empty, in units of 2^-40."""
    sums = rasterise([draw_ellipses(rng) for rng in generators], size)
    empty = np.flatnonzero(~sums.any((1, 2)))
    if empty.size:
        # Redrawn from its own generator, an empty image does not change its neighbours.
        sums[empty] = _draw_sums([generators[i] for i in empty], size)
    return sums


def rasterise(drawn: Sequence[Ellipses], size: int) -> NDArray[np.int64]:
    """Sum the ellipses of each phantom, (B, size, size), in units of 2^-40.

    A pixel belongs to an ellipse if its centre does. Each row that an ellipse meets is one
    interval of pixels: its intensity enters at the first and leaves behind the last one, and a
    running sum over the flattened images does the rest.
    """
    together = Ellipses(
        np.concatenate([e.semi_axes for e in drawn], axis=1),
        np.concatenate([e.centre for e in drawn], axis=1),
        np.concatenate([e.angle for e in drawn]),
        np.concatenate([e.intensity for e in drawn]),
    )
    image = np.repeat(np.arange(len(drawn)), [e.angle.size for e in drawn])
    ellipse, row, enter, leave = _chords(together, size)

    # An exit behind a row's last pixel is the next row's first one: the running sum carries over.
    start = (image[ellipse] * size + row) * size
    weight = (together.intensity * _UNITS).astype(np.int64)[ellipse]
    change = np.zeros(len(drawn) * size * size + 1, np.int64)
    np.add.at(change, start + enter, weight)
    np.add.at(change, start + leave, -weight)
    return np.cumsum(change[:-1]).reshape(len(drawn), size, size)


def _chords(e: Ellipses, size: int) -> tuple[NDArray[np.int64], ...]:
    """The chord of each ellipse in each row it meets: (ellipse, row, first, last + 1), each (M,).

    With S = R diag(a^2, b^2) R^T an ellipse is z^T S^-1 z <= 1. At height y its chord has the
    midpoint y S_xy / S_yy and the half length a b / sqrt(S_yy) * sqrt(1 - y^2 / S_yy).
    """
    (a, b), (centre_x, centre_y) = e.semi_axes, e.centre
    cos, sin = np.cos(e.angle), np.sin(e.angle)
    half_height = np.hypot(a * sin, b * cos)
    half_length = a * b / half_height
    slope = (a * a - b * b) * cos * sin / half_height**2

    spacing = 2 / (size - 1)
    ellipse, row = _rows(centre_y, half_height, spacing, size)
    y = (1 - centre_y)[ellipse] - row * spacing
    middle = centre_x[ellipse] + slope[ellipse] * y
    # At an ellipse's very tip the root's argument may round to below zero.
    relative = np.maximum(1 - (y / half_height[ellipse]) ** 2, 0)
    half = half_length[ellipse] * np.sqrt(relative)
    first = np.clip(np.ceil((middle - half + 1) / spacing), 0, size).astype(np.int64)
    behind = np.clip(np.floor((middle + half + 1) / spacing) + 1, 0, size).astype(np.int64)
    return ellipse, row, first, behind


def _rows(
    centre_y: NDArray[np.float64], half_height: NDArray[np.float64], spacing: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs (ellipse, row) such that the ellipse meets the row, two arrays (M,)."""
    first = np.ceil((1 - centre_y - half_height) / spacing).clip(0).astype(np.int64)
    last = np.floor((1 - centre_y + half_height) / spacing).clip(max=size - 1).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    ellipse = np.repeat(np.arange(count.size), count)
    row = np.arange(ellipse.size) + np.repeat(first - (np.cumsum(count) - count), count)
    return ellipse, row


class EllipsesDataset(Dataset[Tensor]):
    """The first `count` phantoms of a split, as a map-style data set of tensors (1, size, size).

    Args:
        split: "train", "validation" or "test".
        count: number of phantoms, at most `STREAM_LENGTH`; none is made before it is asked for.
        seed: see `phantom`.
        size: see `phantom`.

    Raises:
        UserError: an argument is outside of its range.
    """

    def __init__(self, split: Split, count: int, seed: int = 0, size: int = 128):
        if count < 1:
            raise UserError(f"expected a count of at least 1 phantom, got {count}")
        _check([count - 1], seed, split, size)
        self.split: Split = split
        self.count = count
        self.seed = seed
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        """Make a batch of phantoms in one go; PyTorch's loader calls this where it exists."""
        for index in indices:
            if not 0 <= index < self.count:
                raise IndexError(f"phantom {index} of {self.count}")
        return list(torch.from_numpy(phantoms(indices, self.seed, self.split, self.size)))
