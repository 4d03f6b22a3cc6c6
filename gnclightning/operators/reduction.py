"""A scan as a part of it that looks at flipped and turned images.

A ray through a flipped image is another ray through the image itself, and a square grid of pixels
has eight flips and turns. Where the scan has both rays, one row of the matrix of A serves for both:
60 evenly spaced angles need 15, and half of the detector, an eighth of the matrix.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from gnclightning.operators.geometry import ParallelBeam2D, PlanarGeometry

_WASTE = 1.25  # rays computed for each ray that is wanted, at most
_SAME_ANGLE = 1e-12
_TURN = 2 * math.pi


class Symmetry(Enum):
    """A map of the pixels that is its own inverse; each preserves the angle between rays."""

    TRANSPOSE = "transpose"
    MIRROR = "mirror"
    UPEND = "upend"
    HALF_TURN = "half turn"

    def of(self, x: Tensor) -> Tensor:
        """Images (rows, columns, ...) seen this way; of the same shape."""
        if self is Symmetry.TRANSPOSE:
            return x.transpose(0, 1)
        return x.flip({Symmetry.MIRROR: (1,), Symmetry.UPEND: (0,)}.get(self, (0, 1)))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the changed image finds its value at (x, y)."""
        if self is Symmetry.TRANSPOSE:
            return -y, -x
        if self is Symmetry.HALF_TURN:
            return -x, -y
        return (-x, y) if self is Symmetry.MIRROR else (x, -y)


_GROUPS = (
    (Symmetry.TRANSPOSE, Symmetry.MIRROR, Symmetry.UPEND),
    (Symmetry.MIRROR, Symmetry.UPEND),
    (Symmetry.HALF_TURN,),
    (),
)


@dataclass(frozen=True)
class Reduction:
    """Which rays of a part of a scan, through which versions of an image, are those of the scan.

    Attributes:
        part: a scan of the same pixels with fewer angles and bins.
        symmetries: each doubles the versions of an image that the part looks at.
        slots: where each ray of the scan is among (rays of the part, versions), (rays,).
        rays: the inverse, (rays of the part * versions,); the number of rays where none is wanted.
    """

    part: PlanarGeometry
    symmetries: tuple[Symmetry, ...]
    slots: Tensor
    rays: Tensor

    @property
    def versions(self) -> int:
        """How many versions of an image there are, itself included."""
        return 2 ** len(self.symmetries)

    def spread(self, x: Tensor) -> Tensor:
        """All versions of images, (rows, columns, n) -> (rows, columns, versions * n)."""
        for symmetry in self.symmetries:
            x = torch.cat([x, symmetry.of(x)], dim=2)
        return x

    def gather(self, x: Tensor) -> Tensor:
        """The transpose of `spread`: versions put back and summed."""
        for symmetry in reversed(self.symmetries):
            same, changed = x.chunk(2, dim=2)
            x = same + symmetry.of(changed)
        return x


def reduction(geometry: PlanarGeometry) -> Reduction:
    """The one with the most versions that computes few rays in vain."""
    square = geometry.image_shape[0] == geometry.image_shape[1]
    found = (_reduce(geometry, symmetries) for symmetries in _GROUPS[0 if square else 1 :])
    return next(some for some in found if len(some.rays) <= _WASTE * len(some.slots))


def _seen_from(angle: float, changes: Sequence[Symmetry]) -> tuple[float, bool]:
    """What ray through an image a ray at `angle` is that passes the image after these changes.

    Returns:
        Its angle, and whether its bin counts from the other end.
    """
    x, y = -math.sin(angle), math.cos(angle)  # along the beams
    for change in reversed(changes):
        x, y = change.place(x, y)
    reflections = sum(change is not Symmetry.HALF_TURN for change in changes)
    return math.atan2(-x, y), reflections % 2 == 1


class _Use(NamedTuple):
    """An angle of the scan, or the second half of its bins, from an angle of the part."""

    angle: int
    reverse: bool
    source: int
    version: int


def _reduce(geometry: PlanarGeometry, symmetries: tuple[Symmetry, ...]) -> Reduction:
    """Take angles into the part, in order, until they give all others."""
    count, centred = geometry.detector_count, geometry.detector_offset == 0
    parallel = isinstance(geometry, ParallelBeam2D)
    # Half a turn on, parallel rays are their own reverse: half of a centred detector will do.
    halved = parallel and centred and len(symmetries) > 0
    bins = (count + 1) // 2 if halved else count
    chosen: list[int] = []
    uses: dict[tuple[int, bool], _Use] = {}
    angles = _Angles(geometry.angles)
    for number, angle in enumerate(geometry.angles):
        # More than once where an angle is repeated, or its reverse is in the scan.
        while (number, False) not in uses or (halved and (number, True) not in uses):
            for version in range(2 ** len(symmetries)):
                changes = [change for bit, change in enumerate(symmetries) if version >> bit & 1]
                seen = [_seen_from(angle, changes)]
                if parallel:  # from the other end the same ray, with its bins reversed
                    seen += [(way + math.pi, not reverse) for way, reverse in seen]
                for way, reverse in seen:
                    keys = ((a, halved and reverse) for a in angles.near(way))
                    key = next((key for key in keys if key not in uses), None)
                    if key is not None and (centred or not reverse):
                        uses[key] = _Use(key[0], reverse, len(chosen), version)
                        break
            chosen.append(number)
    part = replace(
        geometry,
        angles=tuple(geometry.angles[number] for number in chosen),
        detector_count=bins,
        detector_offset=geometry.detector_offset + (count - bins) / 2 * geometry.detector_spacing,
    )
    return _indexed(geometry, part, symmetries, list(uses.values()))


def _indexed(
    geometry: PlanarGeometry,
    part: PlanarGeometry,
    symmetries: tuple[Symmetry, ...],
    uses: list[_Use],
) -> Reduction:
    """Angle by angle into ray by ray."""
    count, bins = geometry.detector_count, part.detector_count
    slots = torch.empty(math.prod(geometry.range_shape), dtype=torch.int64)
    bin_ = torch.arange(bins)
    # The middle bin is in both halves of the detector: one of them is enough.
    for reverse in (True, False):
        some = torch.tensor([use for use in uses if use.reverse == reverse]).reshape(-1, 4)
        angle, _, source, version = some.long().T[..., None]
        ray = angle * count + (count - 1 - bin_ if reverse else bin_)
        slots[ray] = (source * bins + bin_) * 2 ** len(symmetries) + version
    rays = torch.full((math.prod(part.range_shape) * 2 ** len(symmetries),), len(slots))
    rays[slots] = torch.arange(len(slots))
    return Reduction(part, symmetries, slots, rays)


class _Angles:
    """Finds equal angles, up to rounding and whole turns."""

    def __init__(self, angles: Sequence[float]) -> None:
        # By their directions, as `_seen_from` gives them: many turns are no multiple of a float.
        turned = [math.atan2(math.sin(angle), math.cos(angle)) % _TURN for angle in angles]
        self._order = sorted(range(len(turned)), key=turned.__getitem__)
        self._sorted = [turned[number] for number in self._order]

    def near(self, angle: float) -> list[int]:
        """Positions of the angles that equal `angle`."""
        found: list[int] = []
        for turns in (-1, 0, 1):
            middle = angle % _TURN + turns * _TURN
            first = bisect.bisect_left(self._sorted, middle - _SAME_ANGLE)
            last = bisect.bisect_right(self._sorted, middle + _SAME_ANGLE)
            found += self._order[first:last]
        return found
