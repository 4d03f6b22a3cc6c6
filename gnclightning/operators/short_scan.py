"""Fans over less than a turn: what they cover, and Parker's weights."""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from gnclightning.operators.fan_beam import FanBeam2D

_TURN = 2 * math.pi
_WIDER = 2.5
"""Than the next widest, a gap between two angles is where the scan began and ended."""
_ROUNDING = 1e-6


class Arc(NamedTuple):
    """The angles from `start` to `start + extent`, in radians."""

    start: float
    extent: float


def scanned_arc(angles: tuple[float, ...]) -> Arc:
    """What the angles cover, each half the way to its neighbours; a turn unless one gap is wide.

    Args:
        angles: in radians, any values in any order.
    """
    folded = torch.tensor(angles, dtype=torch.float64).remainder(_TURN).sort().values
    gaps = torch.diff(folded, append=folded[:1] + _TURN)
    if len(gaps) == 1:
        return Arc(angles[0], _TURN)
    (widest, usual), places = gaps.topk(2)
    if widest <= _WIDER * usual:
        return Arc(float(folded[0]), _TURN)
    first = folded[(int(places[0]) + 1) % len(folded)]
    return Arc(float(first - usual / 2), float(_TURN - widest + usual))


def ray_shares(geometry: FanBeam2D, arc: Arc) -> Tensor:
    """What each ray counts, (angles, detectors), float64: those of one line add up to 1.

    Warns of an arc that does not see every line through the image: what it lacks is missing.

    Args:
        geometry: where the rays run.
        arc: what its angles cover.
    """
    if arc.extent == _TURN:
        return torch.full(geometry.range_shape, 0.5, dtype=torch.float64)
    needed = math.pi + geometry.fan_angle
    if arc.extent < needed - _ROUNDING:
        warnings.warn(
            f"fbp: expected fans over a whole turn, or half a turn and the fan angle, together "
            f"{math.degrees(needed):.4g} degrees, got {math.degrees(arc.extent):.4g}: lines "
            "through the image that no ray sees are missing from it; measure more angles, or "
            "reconstruct with a prior",
            stacklevel=3,
        )
    turned = torch.tensor(geometry.angles, dtype=torch.float64).sub(arc.start).remainder(_TURN)
    slants = torch.atan(geometry.detector_positions / geometry.length)
    return parker_weights(turned[:, None], slants, arc.extent)


def parker_weights(turned: Tensor, slants: Tensor, extent: float) -> Tensor:
    """Smooth weights of rays such that those of one line add up to 1 (D. L. Parker, 1982).

    "Optimal short scan convolution reconstruction for fanbeam CT", Med. Phys. 9, eq. 12, with
    (extent - pi)/2 in place of half the fan angle, so that wider arcs may be used in full. The ray
    (beta, gamma) and the ray (beta + pi - 2 gamma, -gamma) are one line; a line that the arc sees
    once has the weight 1.

    Args:
        turned: angles beta from the start of the arc, 0 to `extent`.
        slants: angles gamma of the rays to the middle one; the two are broadcast.
        extent: of the arc, at most a turn.
    """
    margin = (extent - math.pi) / 2
    begins = turned / (margin + slants).clamp(min=_ROUNDING)
    ends = (extent - turned) / (margin - slants).clamp(min=_ROUNDING)
    return (math.pi / 4 * torch.minimum(begins, ends).clamp(0, 2)).sin().square()
