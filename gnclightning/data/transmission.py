"""From what a detector counts to line integrals: y = -log((counts - dark) / (flat - dark))."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.errors import UserError

_MOST_BAD = 0.5
"""Part of the pixels; more speak for a mistake, not for a detector."""
_DEAD = 1e-3
"""Part of the median beam that a pixel's exceeds if it is alive: a dead one has noise, too."""


@dataclass(frozen=True)
class Transmission:
    """Line integrals, and what they were made of.

    Attributes:
        line_integrals: (1, angles, detectors) float32, finite.
        counts: what came through, in units of what is stored, likewise; 0 where a pixel is dead.
            Under Poisson statistics the variance of a line integral is inverse to it.
        dead: pixels without a usable flat field or value, filled in from their neighbours.
        clipped: pixels that were raised to the least transmission.
    """

    line_integrals: Tensor
    counts: Tensor
    dead: int
    clipped: int


def transmission(stored: Tensor, flat: Tensor, dark: Tensor, least: float) -> Transmission:
    """Line integrals of the counts of one sinogram.

    Args:
        stored: counts (1, angles, detectors); NaN and infinity mark dead pixels.
        flat: counts of the open beam, (1, frames, detectors), averaged over the frames.
        dark: counts without beam, likewise.
        least: transmission, in (0, 1), that lower ones are raised to.

    Raises:
        UserError: half of the pixels are dead or clipped, or a whole projection is.
    """
    background = dark.double().mean(1, keepdim=True)
    beam = (flat.double().mean(1, keepdim=True) - background).expand_as(stored)
    through = stored.double() - background
    least_beam = (_DEAD * beam.nanmedian()).clamp(min=0)
    dead = ~(through.isfinite() & beam.isfinite() & (beam > least_beam))
    part = torch.where(dead, 1.0, through / torch.where(dead, 1.0, beam))
    low = (part < least) & ~dead
    bad = (int(dead.sum()), int(low.sum()))
    if sum(bad) > _MOST_BAD * stored.numel():
        raise UserError(
            f"expected counts between those of data.dark and data.flat, got {bad[0]} dead pixels "
            f"and {bad[1]} below data.least_transmission={least:g} of {stored.numel()}: check that "
            "flat and dark are those of this scan, and not exchanged"
        )
    y = _filled((-part.clamp(min=least).log()).numpy(), dead.numpy())
    counts = torch.where(dead, 0.0, part.clamp(min=least) * beam)
    return Transmission(torch.from_numpy(y).float(), counts.float(), *bad)


def _filled(y: NDArray[np.float64], dead: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`y` with dead pixels interpolated linearly between the living of their projection."""
    places = np.arange(y.shape[-1])
    for index in zip(*np.nonzero(dead.any(-1)), strict=True):
        living = ~dead[index]
        if not living.any():
            raise UserError(
                "expected some living pixels in each projection, got none in that of angle "
                f"{index[1]}: leave this angle out"
            )
        y[index] = np.interp(places, places[living], y[index][living])
    return y
