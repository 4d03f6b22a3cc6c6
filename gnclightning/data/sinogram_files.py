"""Measured sinograms from the user's own files, and what lies beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.folder import is_source, read_stack, read_values
from gnclightning.data.formats.stored import StoredImage
from gnclightning.data.images import check_names, rejecting, remaining
from gnclightning.data.scan_geometry import NAMES, ScanGeometry, parse_geometry
from gnclightning.data.sinograms import SinogramSet, check_sinogram, part_of
from gnclightning.data.transmission import Transmission, transmission
from gnclightning.errors import UserError


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
                check_sinogram(name, y[number], part_of(images, number))
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
        part_of(images, kept),
        torch.stack([part.counts for part in chosen]) if chosen else None,
        geometry,
        tuple(part.dead for part in chosen),
        tuple(part.clipped for part in chosen),
    )


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
