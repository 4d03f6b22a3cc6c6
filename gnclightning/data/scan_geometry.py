"""The geometry that files of sinograms state, in attributes (HDF5) or entries (.npz)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gnclightning.errors import UserError

_ANGLES = ("angles", "angle_start", "angle_stop", "angle_count")
_LENGTHS = (
    "detector_spacing",
    "detector_offset",
    "pixel_size",
    "source_distance",
    "detector_distance",
)
_UNITS = {
    "degree": 1.0,
    "degrees": 1.0,
    "deg": 1.0,
    "radian": 180 / math.pi,
    "radians": 180 / math.pi,
    "rad": 180 / math.pi,
}
_PREFIX = "geometry_"
_LISTED = 4
"""Numbers of a list that a message shows."""
_PLAIN = (*_ANGLES, "angle_unit", "detector_count", *_LENGTHS, "image_shape", "length_unit")
NAMES = tuple(name for plain in _PLAIN for name in (plain, f"{_PREFIX}{plain}"))
"""Of all values that are looked for; the prefixed ones are those of run folders."""


@dataclass(frozen=True)
class ScanGeometry:
    """What a file says of how its sinograms were measured; None where it says nothing.

    Attributes:
        degrees: projection angles.
        detector_count: bins.
        detector_spacing: distance of their centres.
        detector_offset: see `ParallelBeam2D`.
        pixel_size: edge of a pixel of the image.
        image_shape: rows and columns of the image.
        unit: name of the unit of all lengths.
        source_distance: of a fan beam, see `FanBeam2D`.
        detector_distance: likewise.
    """

    degrees: tuple[float, ...] | None = None
    detector_count: int | None = None
    detector_spacing: float | None = None
    detector_offset: float | None = None
    pixel_size: float | None = None
    image_shape: tuple[int, int] | None = None
    unit: str | None = None
    source_distance: float | None = None
    detector_distance: float | None = None

    @property
    def beam(self) -> Literal["fan"] | None:
        """`fan` if there is a source; files say nothing of parallel beams."""
        return None if self.source_distance is None else "fan"

    def check_same(self, file: Path, other: "ScanGeometry", other_file: Path) -> None:
        """Raise `UserError` if two files of one run state different geometries."""
        for f in fields(self):
            ours, theirs = getattr(self, f.name), getattr(other, f.name)
            if ours != theirs:
                raise UserError(
                    f"expected one geometry in all files, got {f.name} {shown(ours)} in {file} and "
                    f"{shown(theirs)} in {other_file}: reconstruct them in separate runs"
                )


def shown(value: object) -> str:
    """A value for a message; long lists by their ends."""
    if value is None:
        return "nothing"
    if isinstance(value, tuple | list):
        numbers = [f"{number:.6g}" for number in value]
        if len(numbers) <= _LISTED:
            return f"[{', '.join(numbers)}]"
        return f"[{', '.join(numbers[: _LISTED - 1])}, ..., {numbers[-1]}] ({len(numbers)} of them)"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def parse_geometry(file: Path, values: Mapping[str, Any]) -> ScanGeometry:
    """Make sense of what `read_values` of a format found.

    Args:
        file: where they come from, for messages.
        values: by name, of `NAMES`.

    Raises:
        UserError: a value is of the wrong kind, lacks its unit, or angles are stated twice.
    """
    found = _Values(file, {name.removeprefix(_PREFIX): value for name, value in values.items()})
    shape = found.numbers("image_shape")
    if shape is not None and len(shape) not in (1, 2):
        raise found.wrong("image_shape", "rows and columns")
    unit = found.text("length_unit")
    lengths = {name: found.number(name) for name in _LENGTHS}
    stated = [name for name, value in lengths.items() if value is not None]
    if stated and unit is None:
        raise UserError(
            f"expected length_unit, such as mm, beside {stated[0]} in {file}, got none: write it"
        )
    return ScanGeometry(
        degrees=_degrees(found),
        detector_count=found.count("detector_count"),
        image_shape=None if shape is None else (int(shape[0]), int(shape[-1])),
        unit=unit,
        **lengths,
    )


def _degrees(found: "_Values") -> tuple[float, ...] | None:
    """The angles in degrees: one by one, or evenly spaced from start on, stop left out."""
    angles = found.numbers("angles")
    start, stop = found.number("angle_start"), found.number("angle_stop")
    count = found.count("angle_count")
    if angles is not None and count is not None and count != len(angles):
        raise found.wrong("angle_count", f"{len(angles)}, as many as angles")
    if angles is None and start is stop is count is None:
        return None
    if angles is None:
        if start is None or stop is None or count is None:
            raise UserError(
                f"expected angles, or angle_start, angle_stop and angle_count, in {found.file}, "
                "got only some of the three: write the others"
            )
        angles = [start + (stop - start) * n / count for n in range(count)]
    unit = found.text("angle_unit")
    if unit is None or unit.lower() not in _UNITS:
        raise UserError(
            f"expected angle_unit degree or radian beside the angles in {found.file}, got "
            f"{shown(unit)}: write it"
        )
    return tuple(angle * _UNITS[unit.lower()] for angle in angles)


@dataclass(frozen=True)
class _Values:
    """Values by name, checked for their kind when they are asked for."""

    file: Path
    values: Mapping[str, Any]

    def numbers(self, name: str) -> list[float] | None:
        if name not in self.values:
            return None
        array = np.atleast_1d(np.asarray(self.values[name]))
        if array.dtype.kind not in "iuf" or array.ndim > 1 or not array.size:
            raise self.wrong(name, "numbers")
        if not np.isfinite(array).all():
            raise self.wrong(name, "finite numbers")
        return [float(number) for number in array]

    def number(self, name: str) -> float | None:
        found = self.numbers(name)
        if found is not None and len(found) != 1:
            raise self.wrong(name, "one number")
        return None if found is None else found[0]

    def count(self, name: str) -> int | None:
        found = self.number(name)
        if found is not None and (found != int(found) or found < 1):
            raise self.wrong(name, "an integer of at least 1")
        return None if found is None else int(found)

    def text(self, name: str) -> str | None:
        if name not in self.values:
            return None
        value = np.asarray(self.values[name])
        if value.size != 1 or value.dtype.kind not in "SUO":
            raise self.wrong(name, "text")
        item = value.reshape(-1)[0]
        return item.decode(errors="replace") if isinstance(item, bytes) else str(item)

    def wrong(self, name: str, expected: str) -> UserError:
        found = " ".join(str(self.values[name]).split())
        return UserError(f"{name} in {self.file}: expected {expected}, got {found}: mend it")
