"""Flips and quarter turns of images: the symmetries of the square."""

import torch
from torch import Tensor


def order(x: Tensor) -> int:
    """How many flipped and turned versions of images (B, C, H, W) there are, themselves included.

    Eight of square images; the four that keep height and width of others.
    """
    return 8 if x.shape[-1] == x.shape[-2] else 4


def version(x: Tensor, number: int) -> Tensor:
    """Flipped and turned images (B, C, H, W); versions repeat after `order`, 0 is `x` itself."""
    flip, turns = _moves(x, number)
    return torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def original(x: Tensor, number: int) -> Tensor:
    """Turn and flip back what `version` gave."""
    flip, turns = _moves(x, number)
    x = torch.rot90(x, -turns, (-2, -1))
    return x.flip(-1) if flip else x


def _moves(x: Tensor, number: int) -> tuple[bool, int]:
    """Whether to flip, and quarter turns after that."""
    turns = order(x) // 2
    return number // turns % 2 == 1, number % turns * (4 // turns)
