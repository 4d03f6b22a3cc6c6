"""Where rays run in two dimensions: what all beams share, and parallel ones.

The image is centred at the origin; row 0 is at the top, x points right and y points up. At
angle theta the detector runs along e = (cos theta, sin theta) and beams along n = (-sin theta,
cos theta).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators import checked

ALL = slice(None)


@dataclass(frozen=True)
class PlanarGeometry(ABC):
    """Where the pixels, the angles and the detector bins are; what both kinds of beam share.

    Args:
        image_shape: rows and columns of the image.
        angles: in radians, any values in any order; only their order in the sinogram matters.
        detector_count: number of detector bins.
        detector_spacing: distance between the centres of two bins, in `unit`.
        pixel_size: edge of a square pixel, in `unit`.
        unit: name of the length unit of `pixel_size`, `detector_spacing` and `detector_offset`.
        detector_offset: where the centre of rotation, the middle of the image, is seen: distance
            from the middle of the detector, in `unit`, positive towards the last bin.

    Raises:
        UserError: if a value has the wrong type, is not positive, or is not finite.
    """

    image_shape: tuple[int, int]
    angles: tuple[float, ...]
    detector_count: int
    detector_spacing: float
    pixel_size: float = 1.0
    unit: str = "pixel"
    detector_offset: float = 0.0

    _LENGTHS: ClassVar[tuple[str, ...]] = ("detector_spacing", "detector_offset")

    def __post_init__(self) -> None:
        """Validate, and turn lists and arrays (as read from files) into tuples of numbers."""
        shape = tuple(checked.count("each entry of image_shape", size) for size in self.image_shape)
        if len(shape) != 2:
            raise UserError(f"image_shape: expected (rows, columns), got {shape}")
        angles = tuple(float(angle) for angle in self.angles)
        if not angles or not all(math.isfinite(angle) for angle in angles):
            raise UserError(
                f"angles: expected at least one finite value in radians, got {angles[:5]}"
            )
        if not isinstance(self.unit, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"unit: expected the name of a length, got {self.unit!r}")
        self._store(
            image_shape=shape,
            angles=angles,
            detector_count=checked.count("detector_count", self.detector_count),
            detector_spacing=checked.length("detector_spacing", self.detector_spacing),
            pixel_size=checked.length("pixel_size", self.pixel_size),
            unit=str(self.unit),
            detector_offset=checked.number("detector_offset", self.detector_offset),
        )

    def _store(self, **values: Any) -> None:
        """Put checked values in place of those given."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The geometry that `to_dict` described; arrays in place of lists are welcome."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise UserError(
                f"geometry: expected the entries {sorted(names)}, got {sorted(values)}: "
                "store what ParallelBeam2D.to_dict gives"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, fit for JSON and for attributes in files."""
        lists = {"image_shape": list(self.image_shape), "angles": list(self.angles)}
        return asdict(self) | lists

    def in_pixels(self) -> Self:
        """The same geometry with the pixel as its unit of length; sinograms shrink likewise."""
        lengths = {name: getattr(self, name) / self.pixel_size for name in self._LENGTHS}
        return replace(self, **lengths, pixel_size=1.0, unit="pixel")

    @property
    def range_shape(self) -> tuple[int, int]:
        """Shape of a sinogram, (angles, detectors)."""
        return len(self.angles), self.detector_count

    @property
    def detector_positions(self) -> Tensor:
        """Centres s of the detector bins in `unit`, (detectors,), float64."""
        return _centred(self.detector_count) * self.detector_spacing - self.detector_offset

    @property
    def pixel_positions(self) -> tuple[Tensor, Tensor]:
        """Centres x of the columns and y of the rows in `unit`, float64; y falls with the row."""
        rows, columns = self.image_shape
        return _centred(columns) * self.pixel_size, -_centred(rows) * self.pixel_size

    @property
    def directions(self) -> tuple[Tensor, Tensor]:
        """cos(theta) and sin(theta) of all angles, each (angles,), float64."""
        cosines, sines = ([f(angle) for angle in self.angles] for f in (math.cos, math.sin))
        return torch.tensor(cosines, dtype=torch.float64), torch.tensor(sines, dtype=torch.float64)

    def _across(self, rows: slice, angles: slice, device: torch.device | None) -> Tensor:
        """Pixel centres along e, from the centre of rotation, (rows, columns, angles), float64."""
        x, y = (position.to(device) for position in self.pixel_positions)
        cosines, sines = (direction[angles].to(device) for direction in self.directions)
        return x[:, None] * cosines + y[rows, None, None] * sines

    def _bins(self, positions: Tensor) -> Tensor:
        """Positions along the detector, from where the centre is seen, as bin indices."""
        middle = (self.detector_count - 1) / 2 + self.detector_offset / self.detector_spacing
        return positions / self.detector_spacing + middle

    @property
    def coverage(self) -> float:
        """Part of the circle inscribed in the image that the detector sees at every angle.

        The circle's radius, measured from the centre of rotation to the nearer end of the detector;
        1 if it lies on the detector, 0 if that ends at the centre or does not even reach it.
        """
        radius = min(self.image_shape) * self.pixel_size / 2
        return min(max(self._seen_radius / radius, 0.0), 1.0)

    @property
    def _half_detector(self) -> float:
        """From where the centre of rotation is seen to the nearer end of the detector."""
        return self.detector_count * self.detector_spacing / 2 - abs(self.detector_offset)

    @property
    @abstractmethod
    def covering_width(self) -> float:
        """Width, in `unit`, of a detector around the centre that sees the whole image."""

    @property
    @abstractmethod
    def bin_measures(self) -> Tensor:
        """What each bin stands for in an integral over s, (detectors,), in `unit`, float64.

        A projection times these adds up to the integral of the image if the beams are parallel; in
        a fan the mean over a whole turn does.
        """

    @property
    @abstractmethod
    def _seen_radius(self) -> float:
        """Of the largest circle about the centre of rotation that the detector sees."""

    @abstractmethod
    def detector_bins(
        self, rows: slice = ALL, angles: slice = ALL, device: torch.device | None = None
    ) -> Tensor:
        """Where pixel centres are seen on the detector, as fractional bin indices.

        Args:
            rows: image rows wanted.
            angles: indices of the angles wanted.
            device: where to compute.

        Returns:
            (rows, columns, angles), float64; 0 and `detector_count` - 1 are the outermost bins.
        """


@dataclass(frozen=True)
class ParallelBeam2D(PlanarGeometry):
    """Parallel beams: the ray at angle theta and s is the line s = x cos(theta) + y sin(theta)."""

    @classmethod
    def for_image(
        cls,
        size_or_shape: int | tuple[int, int],
        angle_count: int,
        pixel_size: float = 1.0,
        unit: str = "pixel",
    ) -> Self:
        """Evenly spaced angles over half a turn, and a detector that covers the image's diagonal.

        The angles are the midpoints (i + 1/2) pi / n. The detector has an odd number of bins, no
        wider than a pixel, that exactly span the diagonal: 183 of 0.98918 pixels for 128 x 128,
        365 of 0.99189 for 256 x 256 (Section 4.2 of arXiv 2404.18699).

        Args:
            size_or_shape: edge of a square image, or (rows, columns).
            angle_count: number of angles n.
            pixel_size: edge of a pixel, in `unit`.
            unit: name of the length unit.
        """
        rows, columns = rows_and_columns(size_or_shape)
        angle_count = checked.count("angle_count", angle_count)
        diagonal = math.hypot(rows, columns)
        detector_count = 2 * math.ceil(diagonal / 2) + 1
        return cls(
            image_shape=(rows, columns),
            angles=tuple((i + 0.5) * math.pi / angle_count for i in range(angle_count)),
            detector_count=detector_count,
            detector_spacing=diagonal * pixel_size / detector_count,
            pixel_size=pixel_size,
            unit=unit,
        )

    @property
    def covering_width(self) -> float:
        """See `PlanarGeometry`."""
        return math.hypot(*self.image_shape) * self.pixel_size

    @property
    def bin_measures(self) -> Tensor:
        """See `PlanarGeometry`."""
        return torch.full((self.detector_count,), self.detector_spacing, dtype=torch.float64)

    @property
    def _seen_radius(self) -> float:
        return self._half_detector

    def detector_bins(
        self, rows: slice = ALL, angles: slice = ALL, device: torch.device | None = None
    ) -> Tensor:
        """See `PlanarGeometry`."""
        return self._bins(self._across(rows, angles, device))


def rows_and_columns(size_or_shape: int | tuple[int, int]) -> tuple[int, int]:
    """The shape of an image that may be given by its edge, if it is square."""
    square = isinstance(size_or_shape, int)
    return (size_or_shape, size_or_shape) if square else size_or_shape


def _centred(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64) - (count - 1) / 2
