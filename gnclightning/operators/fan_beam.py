"""Fan-beam geometry with a flat detector, and the geometry that a description speaks of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators import checked
from gnclightning.operators.geometry import ALL, ParallelBeam2D, PlanarGeometry, rows_and_columns


@dataclass(frozen=True)
class FanBeam2D(PlanarGeometry):
    """Rays from a point to a flat detector; both turn about the middle of the image.

    At angle theta the source is at -`source_distance` n and the detector at `detector_distance` n;
    with a source far away the rays are those of `ParallelBeam2D`.

    Args:
        source_distance: from the source to the centre of rotation, in `unit`; beyond the image.
        detector_distance: from there to the detector, in `unit`; 0: a detector scaled to the
            centre of rotation.
    """

    source_distance: float = field(kw_only=True)
    detector_distance: float = field(kw_only=True)

    _LENGTHS: ClassVar[tuple[str, ...]] = (
        *PlanarGeometry._LENGTHS,
        "source_distance",
        "detector_distance",
    )

    def __post_init__(self) -> None:
        """Validate."""
        super().__post_init__()
        source = _outside("source_distance", self.source_distance, self._radius, self.unit)
        detector = checked.number("detector_distance", self.detector_distance)
        if detector < 0:
            raise UserError(f"detector_distance: expected at least 0, got {detector:g}")
        self._store(source_distance=source, detector_distance=detector)

    @classmethod
    def for_image(
        cls,
        size_or_shape: int | tuple[int, int],
        angle_count: int,
        pixel_size: float = 1.0,
        unit: str = "pixel",
        *,
        source_distance: float,
        detector_distance: float,
    ) -> Self:
        """Evenly spaced angles over a whole turn, and a detector that sees the whole image.

        At the centre of rotation its bins, an odd number, are no wider than a pixel.

        Args:
            size_or_shape: edge of a square image, or (rows, columns).
            angle_count: number of angles n; they are 2 pi i / n.
            pixel_size: edge of a pixel, in `unit`.
            unit: name of the length unit.
            source_distance: see the class.
            detector_distance: see the class.
        """
        shape = rows_and_columns(size_or_shape)
        angle_count = checked.count("angle_count", angle_count)
        radius = math.hypot(*shape) * pixel_size / 2
        source = _outside("source_distance", source_distance, radius, unit)
        half = _half_fan(source, radius)
        detector_count = 2 * math.ceil(half / pixel_size) + 1
        magnification = (source + detector_distance) / source
        return cls(
            image_shape=shape,
            angles=tuple(2 * math.pi * i / angle_count for i in range(angle_count)),
            detector_count=detector_count,
            detector_spacing=2 * half * magnification / detector_count,
            pixel_size=pixel_size,
            unit=unit,
            source_distance=source_distance,
            detector_distance=detector_distance,
        )

    @property
    def covering_width(self) -> float:
        """See `PlanarGeometry`."""
        half = _half_fan(self.source_distance, self._radius)
        return 2 * half * self.length / self.source_distance

    @property
    def bin_measures(self) -> Tensor:
        """See `PlanarGeometry`; the Jacobian of parallel coordinates (s, theta) in those of a fan.

        A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging, 1988, Section
        3.4.2.
        """
        slant = self.length / torch.hypot(
            self.detector_positions, torch.tensor(self.length, dtype=torch.float64)
        )
        return slant**3 * (self.detector_spacing * self.source_distance / self.length)

    @property
    def _radius(self) -> float:
        """Of the circle around the image."""
        return math.hypot(*self.image_shape) * self.pixel_size / 2

    @property
    def length(self) -> float:
        """From the source to the detector, in `unit`."""
        return self.source_distance + self.detector_distance

    @property
    def _seen_radius(self) -> float:
        half = self._half_detector
        return self.source_distance * half / math.hypot(half, self.length)

    @property
    def fan_angle(self) -> float:
        """Twice the widest angle to the middle ray, in radians, of rays that meet the image."""
        edge = self.detector_count * self.detector_spacing / 2 + abs(self.detector_offset)
        seen = math.asin(self._radius / self.source_distance)
        return 2 * min(seen, math.atan(edge / self.length))

    def depths(
        self, rows: slice = ALL, angles: slice = ALL, device: torch.device | None = None
    ) -> Tensor:
        """Distance of pixel centres from the source along n, (rows, columns, angles), float64."""
        x, y = (position.to(device) for position in self.pixel_positions)
        cosines, sines = (direction[angles].to(device) for direction in self.directions)
        return self.source_distance + y[rows, None, None] * cosines - x[:, None] * sines

    def detector_bins(
        self, rows: slice = ALL, angles: slice = ALL, device: torch.device | None = None
    ) -> Tensor:
        """See `PlanarGeometry`."""
        s = self._across(rows, angles, device)
        return self._bins(s * self.length / self.depths(rows, angles, device))


def geometry_from_dict(values: Mapping[str, Any]) -> PlanarGeometry:
    """The geometry that `to_dict` of either beam described; a fan beam has a source distance."""
    beam = FanBeam2D if "source_distance" in values else ParallelBeam2D
    return beam.from_dict(values)


def _outside(name: str, value: Any, radius: float, unit: str) -> float:
    distance = checked.length(name, value)
    if distance <= radius:
        raise UserError(
            f"{name}: expected more than {radius:g} {unit}, half the image's diagonal, got "
            f"{distance:g}: the source must not be within the image"
        )
    return distance


def _half_fan(source: float, radius: float) -> float:
    """Half the width, at the centre of rotation, of the fan that touches the image's circle."""
    return source * radius / math.sqrt(source**2 - radius**2)
