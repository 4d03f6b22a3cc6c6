"""Measured sinograms from the user's own files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.folder import is_source, read_stack, read_values
from gnclightning.data.formats.stored import StoredImage
from gnclightning.data.images import check_finite, check_names, rejecting, remaining
from gnclightning.data.scan_geometry import NAMES, ScanGeometry, parse_geometry
from gnclightning.data.transmission import Transmission, transmission
from gnclightning.errors import UserError


@dataclass(frozen=True, eq=False)
class SinogramSet:
    """Sinograms with their names, and what is known beside them.

    Attributes:
        sinograms: (N, 1, angles, detectors), float32.
        names: one per sinogram, unique.
        seeds: one integer per sinogram for its random start: its place in its source, whatever
            others there are left out.
        truth: the images that they are of, (N, 1, H, W), float32, if these are known.
        counts: how much came through, like `sinograms`, in any unit; see `Transmission`.
        geometry: what the files say of it.
        dead: pixels of each that were filled in.
        clipped: pixels of each that were raised to the least transmission.
        unit: line integrals, without dimension, are `sinograms` times this.

    Raises:
        UserError: a sinogram is not finite, or constant; the truth is not finite; or two share a
            name.
    """

    sinograms: Tensor
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    truth: Tensor | None = None
    counts: Tensor | None = None
    geometry: ScanGeometry = field(default_factory=ScanGeometry)
    dead: tuple[int, ...] = ()
    clipped: tuple[int, ...] = ()
    unit: float = 1.0

    def __post_init__(self):
        assert self.sinograms.ndim == 4
        assert len(self.sinograms) == len(self.names) == len(self.seeds) > 0
        check_names(self.names)
        for number, name in enumerate(self.names):
            _check(name, self.sinograms[number], _part(self.truth, number))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def magnitudes(self) -> Tensor:
        """Mean absolute value of each sinogram, (N,) float64."""
        return self.sinograms.double().abs().mean((1, 2, 3))

    @property
    def detectors(self) -> int:
        """Detector bins."""
        return self.sinograms.shape[-1]

    @property
    def transmitted(self) -> Tensor:
        """`counts`; of line integrals y that were read, exp(-y)."""
        return torch.exp(-self.unit * self.sinograms) if self.counts is None else self.counts

    def divided_by(self, value: float, white: float = 1.0) -> "SinogramSet":
        """In other units, of images whose value `white` becomes 1."""
        return replace(
            self,
            sinograms=self.sinograms / value,
            truth=None if self.truth is None else self.truth / white,
            unit=self.unit * value,
        )

    def without(self, rejected: Mapping[str, str]) -> "SinogramSet":
        """Those that are not rejected; raises `UserError` if all are, see `remaining`."""
        kept = remaining(self.names, rejected)
        return replace(
            self,
            sinograms=self.sinograms[kept],
            names=tuple(self.names[k] for k in kept),
            seeds=tuple(self.seeds[k] for k in kept),
            truth=_part(self.truth, kept),
            counts=_part(self.counts, kept),
            dead=tuple(self.dead[k] for k in kept) if self.dead else (),
            clipped=tuple(self.clipped[k] for k in kept) if self.clipped else (),
        )

    def check_shape(self, angles: int, detectors: int | None) -> None:
        """Raise `UserError` unless there are so many angles and, if it is known, detector bins."""
        found = (self.sinograms.shape[-2], self.sinograms.shape[-1])
        if found == (angles, detectors or found[1]):
            return
        remedy = "give geometry.angles or geometry.degrees, geometry.detector_count and "
        remedy += "geometry.detector_spacing as they were measured"
        if found == (detectors or found[0], angles):
            remedy = "swap the axes, angles come first"
        bins = "any number of" if detectors is None else detectors
        raise UserError(
            f"sinogram {self.names[0]}: expected {angles} angles x {bins} detector bins, as "
            f"the geometry has, got {found[0]} x {found[1]}: {remedy}"
        )

    def check_images(self, shape: tuple[int, int]) -> None:
        """Raise `UserError` if the files speak of images of another shape than the prior's."""
        found = {"image_shape": self.geometry.image_shape}
        if self.truth is not None:
            found["the ground truth"] = (self.truth.shape[-2], self.truth.shape[-1])
        for what, size in found.items():
            if size not in (None, shape):
                raise UserError(
                    f"expected images of {shape[0]}x{shape[1]} pixels, as the prior has, got "
                    f"{size[0]}x{size[1]} from {what} beside the sinograms: name weights for this "
                    "size with prior.path, or give data.attributes=false and resample the truth"
                )


def read_sinograms(
    path: str | Path,
    count: int | None = None,
    key: str | None = None,
    *,
    flat: str | None = None,
    dark: str | None = None,
    least_transmission: float = 1e-4,
    truth: str | None = None,
    attributes: bool = True,
    rejected: dict[str, str] | None = None,
) -> SinogramSet:
    """Read sinograms (angles, detectors), or stacks of them, from a file or a folder of files.

    The formats, their order and the names are those of `read_images`; values are taken as they are,
    unless there is a flat field.

    Args:
        path: file or folder.
        count: how many to take, from the first on; None: all.
        key: name of the array in each file; None: the only one of two or three dimensions.
        flat: what the detector counts without object: a number; a file or folder; or the name of
            an array in the files at `path`. (frames, detectors), one for all sinograms or one for
            each, averaged over the frames. With it, -log makes line integrals of what is stored.
        dark: what it counts without beam, likewise; None: nothing.
        least_transmission: see `transmission`.
        truth: the images (H, W), a file or name as for `flat`, one for each sinogram.
        attributes: whether to read what the files say of the geometry.
        rejected: takes the names of files that cannot be read, and of sinograms that cannot be used
            or whose flat field, dark field or truth cannot, with the reason; they are left out, and
            the seeds of the others stay. None: they are an error.

    Raises:
        UserError: see `read_images`, `SinogramSet`, `transmission` and `parse_geometry`.
    """
    bad: dict[str, str] = {}
    stored, names = read_stack(path, count, key, _as_stored, "sinograms", bad)
    check_names(names)
    scan = _Scan(path, stored, names, count is None, bad)
    geometry = _geometry(path, key, bad) if attributes else ScanGeometry()
    images = None if truth is None else scan.beside("data.truth", truth)
    made: dict[int, Transmission] = {}
    if flat is not None:
        fields = scan.field("data.flat", flat), scan.field("data.dark", dark or "0")
        made = scan.transmissions(*fields, least_transmission)
    y = stored if flat is None else {number: part.line_integrals for number, part in made.items()}
    for number, name in enumerate(names):
        if name not in bad:
            with rejecting(name, bad):
                _check(name, y[number], _part(images, number))
    if bad and rejected is None:
        raise UserError(next(iter(bad.values())))
    if rejected is not None:
        rejected |= bad
    kept = remaining(names, bad)
    chosen = [made[k] for k in kept] if made else []
    return SinogramSet(
        torch.stack([y[k] for k in kept]),
        tuple(names[k] for k in kept),
        tuple(kept),
        _part(images, kept),
        torch.stack([part.counts for part in chosen]) if chosen else None,
        geometry,
        tuple(part.dead for part in chosen),
        tuple(part.clipped for part in chosen),
    )


def _check(name: str, sinogram: Tensor, truth: Tensor | None) -> None:
    check_finite(f"sinogram {name}", sinogram)
    low, high = (value.item() for value in sinogram.aminmax())
    if low == high:
        raise UserError(
            f"sinogram {name}: expected line integrals of an image, got the constant {low:g}: "
            "leave this sinogram out"
        )
    if truth is not None:
        check_finite(f"ground truth of {name}", truth)


def _part(values: Tensor | None, index: int | Sequence[int]) -> Tensor | None:
    return None if values is None else values[index]


def _geometry(path: str | Path, key: str | None, bad: Mapping[str, str]) -> ScanGeometry:
    """What the files say, which must be the same in all that can be read."""
    values = read_values(path, key, NAMES, "sinograms", bad)
    stated = [(file, parse_geometry(file, found)) for file, found in values]
    first_file, first = stated[0]
    for file, other in stated[1:]:
        first.check_same(first_file, other, file)
    return first


@dataclass(frozen=True)
class _Scan:
    """What was stored at a path, for what belongs to it.

    Attributes:
        path: of the sinograms.
        stored: the sinograms (N, 1, angles, detectors).
        names: one per sinogram.
        whole: whether these are all at `path`; otherwise there may be more arrays, the first count.
        bad: names of sinograms that cannot be used, with the reason; others are added.
    """

    path: str | Path
    stored: Tensor
    names: tuple[str, ...]
    whole: bool
    bad: dict[str, str]

    def field(self, setting: str, text: str) -> Tensor:
        """A flat or dark field (N or 1, 1, frames, detectors); (1, 1, 1, 1) of a number."""
        try:
            return torch.full((1, 1, 1, 1), float(text))
        except ValueError:
            pass
        found = self.beside(setting, text, one_for_all=True)
        bins = self.stored.shape[-1]
        if found.shape[-1] != bins:
            raise UserError(
                f"{setting}={text}: expected frames of {bins} detector bins, as the sinograms "
                f"have, got shape {tuple(found.shape[2:])}: take that of the same detector"
            )
        return found

    def beside(self, setting: str, text: str, one_for_all: bool = False) -> Tensor:
        """Arrays (N, 1, ...), one for each sinogram, or (1, 1, ...) of `one_for_all`.

        Args:
            setting: that names them, for messages.
            text: a file or folder, or the name of an array in the files at `path`.
            one_for_all: whether one array for all sinograms will do.
        """
        unreadable: dict[str, str] = {}
        try:
            place, key = (text, None) if is_source(text) else (self.path, text)
            found, names = read_stack(place, None, key, _as_stored, "arrays", unreadable)
        except UserError as error:
            raise UserError(f"{setting}={text}: {error}") from error
        count = len(self.stored)
        if one_for_all and len(found) == 1:
            return found
        if len(found) < count or (self.whole and len(found) > count):
            raise UserError(
                f"{setting}={text}: expected {count} arrays, one for each sinogram, got "
                f"{len(found)}: give as many"
            )
        for name, theirs in zip(self.names, names[:count], strict=True):
            if theirs in unreadable:
                self.bad.setdefault(name, f"{setting}={text}: {unreadable[theirs]}")
        return found[:count]

    def transmissions(self, flat: Tensor, dark: Tensor, least: float) -> dict[int, Transmission]:
        """Line integrals of the sinograms that can be used, by their numbers."""
        flats, darks = (field.expand(len(self.names), -1, -1, -1) for field in (flat, dark))
        made: dict[int, Transmission] = {}
        for number, name in enumerate(self.names):
            if name not in self.bad:
                with rejecting(name, self.bad):
                    made[number] = self._transmission(number, flats[number], darks[number], least)
        return made

    def _transmission(self, number: int, flat: Tensor, dark: Tensor, least: float) -> Transmission:
        try:
            return transmission(self.stored[number], flat, dark, least)
        except UserError as error:
            raise UserError(f"sinogram {self.names[number]}: {error}") from error


def _as_stored(name: str, stored: StoredImage) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.pixels.astype(np.float32)
