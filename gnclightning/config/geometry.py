"""Settings of the geometry of projections."""

from dataclasses import dataclass, field, replace
from typing import Literal

from gnclightning.config.sections import FieldError, Section, bounded, within
from gnclightning.errors import UserError

_ANGLES = 60
_DEGREES = ">= -3600, <= 3600"
MOST_RAYS = 100_000
"""Of angles, and of detector bins: far beyond any scanner, but a sinogram still fits memory."""


@dataclass(kw_only=True)
class GeometryConfig(Section):
    """Where projections run; with data.name=sinogram, what files say stands in for null."""

    beam: Literal["parallel", "fan"] | None = None
    """Parallel rays, or rays from a point to a flat detector; null: parallel."""
    source_distance: float | None = bounded(None, "> 0")
    """fan: from the source to the centre of rotation, in geometry.unit (required)."""
    detector_distance: float | None = bounded(None, ">= 0")
    """fan: from the centre of rotation to the detector, in geometry.unit; null: 0, as if all were
    scaled to a detector through the centre."""
    angles: int | None = bounded(None, f">= 1, <= {MOST_RAYS}")
    """Projection angles, at the midpoints of equal parts of half a turn, in a fan evenly spaced
    over a whole turn, or as geometry.arc says; null: 60."""
    arc: list[float] | None = field(default=None, metadata=within(_DEGREES))
    """[START,STOP] in degrees: geometry.angles angles, START the first, evenly spaced, STOP the one
    after the last."""
    degrees: list[float] | None = field(default=None, metadata=within(_DEGREES))
    """The projection angles themselves, [FIRST,...], in place of geometry.angles; 0 projects along
    columns, and they turn counterclockwise."""
    detector_count: int | None = bounded(None, f">= 1, <= {MOST_RAYS}")
    """Detector bins; null: as many as cover the diagonal of the image."""
    detector_spacing: float | None = bounded(None, "> 0")
    """Width of a detector bin, in geometry.unit; null: the bins cover the diagonal."""
    detector_offset: float | None = None
    """Where the centre of rotation is seen: distance from the middle of the detector, in
    geometry.unit, positive towards the last bin; null: 0."""
    find_offset: bool = False
    """Whether to estimate detector_offset from the sinograms, whatever files say; needs
    data.name=sinogram."""
    pixel_size: float | None = bounded(None, "> 0")
    """Width of a pixel, in geometry.unit; null: 1."""
    unit: str | None = None
    """Name of the length unit, such as mm; null: pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degrees is not None and not 1 <= len(self.degrees) <= MOST_RAYS:
            message = f"expected 1 to {MOST_RAYS} angles, got {len(self.degrees)}"
            raise FieldError(self, "degrees", message)
        if self.degrees is not None and self.angles not in (None, len(self.degrees)):
            message = f"expected {len(self.degrees)}, as many as geometry.degrees, or nothing"
            raise FieldError(self, "angles", f"{message}, got {self.angles}")
        if self.arc is not None and (len(self.arc) != 2 or self.arc[0] == self.arc[1]):
            raise FieldError(self, "arc", f"expected two ends, [START,STOP], got {self.arc}")
        if self.arc is not None and self.degrees is not None:
            raise FieldError(self, "arc", "expected no geometry.degrees beside it, got both")
        if self.find_offset and self.detector_offset is not None:
            raise FieldError(
                self, "find_offset", "expected no geometry.detector_offset beside it, got both"
            )

    @property
    def lengths(self) -> tuple[float, str]:
        """Size of a pixel, and the name of the length unit."""
        return self.pixel_size or 1.0, self.unit or "pixel"

    @property
    def given_degrees(self) -> list[float] | None:
        """The angles that the settings ask for, in degrees; None if they ask for none."""
        if self.degrees is not None:
            return self.degrees
        if self.angles is None and self.arc is None:
            return None
        count = self.angles or _ANGLES
        whole, half = (0.0, 360.0), (90 / count, 180 + 90 / count)
        start, stop = self.arc or (whole if self.beam == "fan" else half)
        return [start + (stop - start) * n / count for n in range(count)]

    def filled(self) -> "GeometryConfig":
        """The settings with their defaults in place of null, save the detector's.

        Raises:
            UserError: a fan without source, a source without fan, or a fan whose centre of rotation
                is to be found.
        """
        fan = self.beam == "fan"
        if fan and self.source_distance is None:
            raise UserError(
                "expected geometry.source_distance, from the source to the centre of rotation, "
                "with geometry.beam=fan, got none: give geometry.source_distance=VALUE"
            )
        if not fan and (self.source_distance, self.detector_distance) != (None, None):
            raise UserError(
                "geometry.source_distance and geometry.detector_distance are settings of "
                "geometry.beam=fan, got parallel beams: choose that, or leave them out"
            )
        if fan and self.find_offset:
            raise UserError(
                "geometry.find_offset=true is for parallel beams, got geometry.beam=fan: give "
                "geometry.detector_offset=VALUE"
            )
        angles = _ANGLES if self.degrees is None else len(self.degrees)
        size, unit = self.lengths
        return replace(
            self,
            beam="fan" if fan else "parallel",
            detector_distance=(self.detector_distance or 0.0) if fan else None,
            angles=angles if self.angles is None else self.angles,
            detector_offset=self.detector_offset or (None if self.find_offset else 0.0),
            pixel_size=size,
            unit=unit,
        )
