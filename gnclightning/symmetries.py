"""Flips and quarter turns of images: the symmetries of the square."""

from collections.abc import Iterator

import torch
from torch import Tensor


def flips_and_turns(x: Tensor) -> Iterator[tuple[Tensor, tuple[bool, int]]]:
    """Every flipped and turned version of images (B, C, H, W), with what `undo` needs.

    The images as they are come first. Eight versions of square images; the four that keep height
    and width of others.
    """
    for flip in (False, True):
        for turn in range(0, 4, 8 // order(x)):
            yield torch.rot90(x.flip(-1) if flip else x, turn, (-2, -1)), (flip, turn)


def order(x: Tensor) -> int:
    """How many versions there are, the images themselves included."""
    return 8 if x.shape[-1] == x.shape[-2] else 4


def undo(x: Tensor, done: tuple[bool, int]) -> Tensor:
    """Turn and flip back what `flips_and_turns` gave."""
    flip, turn = done
    x = torch.rot90(x, -turn, (-2, -1))
    return x.flip(-1) if flip else x
