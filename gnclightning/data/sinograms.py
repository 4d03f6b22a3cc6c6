"""Measured sinograms from the user's own files."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.folder import is_source, read_stack, read_values
from gnclightning.data.formats.stored import StoredImage
from gnclightning.data.images import check_finite
from gnclightning.data.scan_geometry import NAMES, ScanGeometry, parse_geometry
from gnclightning.data.transmission import transmission
from gnclightning.errors import UserError


@dataclass(frozen=True, eq=False)
class SinogramSet:
    """Sinograms with their names, and what is known beside them.

    Attributes:
        sinograms: (N, 1, angles, detectors), float32.
        names: one per sinogram.
        truth: the images that they are of, (N, 1, H, W), float32, if these are known.
        counts: how much came through, like `sinograms`, in any unit; see `Transmission`.
        geometry: what the files say of it.
        dead: pixels that were filled in.
        clipped: pixels that were raised to the least transmission.
        unit: line integrals, without dimension, are `sinograms` times this.

    Raises:
        UserError: a sinogram is not finite, or constant; the truth is not finite.
    """

    sinograms: Tensor
    names: tuple[str, ...]
    truth: Tensor | None = None
    counts: Tensor | None = None
    geometry: ScanGeometry = field(default_factory=ScanGeometry)
    dead: int = 0
    clipped: int = 0
    unit: float = 1.0

    def __post_init__(self):
        assert self.sinograms.ndim == 4
        assert len(self.sinograms) == len(self.names) > 0
        for name, sinogram in zip(self.names, self.sinograms, strict=True):
            check_finite(f"sinogram {name}", sinogram)
            low, high = (value.item() for value in sinogram.aminmax())
            if low == high:
                raise UserError(
                    f"sinogram {name}: expected line integrals of an image, got the constant "
                    f"{low:g}: leave this sinogram out"
                )
        if self.truth is not None:
            for name, image in zip(self.names, self.truth, strict=True):
                check_finite(f"ground truth of {name}", image)

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

    Raises:
        UserError: see `read_images`, `SinogramSet`, `transmission` and `parse_geometry`.
    """
    stored, names = read_stack(path, count, key, _as_stored, "sinograms")
    geometry = _geometry(path, key) if attributes else ScanGeometry()
    images = None
    if truth is not None:
        images = _beside("data.truth", truth, path, stored, whole=count is None)
    if flat is None:
        return SinogramSet(stored, names, images, geometry=geometry)
    made = transmission(
        stored,
        _field("data.flat", flat, path, stored, whole=count is None),
        _field("data.dark", dark or "0", path, stored, whole=count is None),
        least_transmission,
    )
    return SinogramSet(
        made.line_integrals, names, images, made.counts, geometry, made.dead, made.clipped
    )


def _geometry(path: str | Path, key: str | None) -> ScanGeometry:
    """What the files say, which must be the same in all."""
    values = read_values(path, key, NAMES, "sinograms")
    stated = [(file, parse_geometry(file, found)) for file, found in values]
    first_file, first = stated[0]
    for file, other in stated[1:]:
        first.check_same(first_file, other, file)
    return first


def _field(setting: str, text: str, path: str | Path, stored: Tensor, whole: bool) -> Tensor:
    """A flat or dark field (N or 1, 1, frames, detectors); (1, 1, 1, 1) of a number."""
    try:
        return torch.full((1, 1, 1, 1), float(text))
    except ValueError:
        pass
    found = _beside(setting, text, path, stored, whole, one_for_all=True)
    if found.shape[-1] != stored.shape[-1]:
        raise UserError(
            f"{setting}={text}: expected frames of {stored.shape[-1]} detector bins, as the "
            f"sinograms have, got shape {tuple(found.shape[2:])}: take that of the same detector"
        )
    return found


def _beside(
    setting: str,
    text: str,
    path: str | Path,
    stored: Tensor,
    whole: bool,
    one_for_all: bool = False,
) -> Tensor:
    """Arrays (N, 1, ...), one for each sinogram, or (1, 1, ...) of `one_for_all`.

    Args:
        setting: that names them, for messages.
        text: a file or folder, or the name of an array in the files at `path`.
        path: of the sinograms.
        stored: the sinograms (N, 1, angles, detectors).
        whole: whether these are all at `path`; otherwise there may be more arrays, the first count.
        one_for_all: whether one array for all sinograms will do.
    """
    try:
        place, key = (text, None) if is_source(text) else (path, text)
        found, _ = read_stack(place, None, key, _as_stored, "arrays")
    except UserError as error:
        raise UserError(f"{setting}={text}: {error}") from error
    count = len(stored)
    if one_for_all and len(found) == 1:
        return found
    if len(found) < count or (whole and len(found) > count):
        raise UserError(
            f"{setting}={text}: expected {count} arrays, one for each sinogram, got {len(found)}: "
            "give as many"
        )
    return found[:count]


def _as_stored(name: str, stored: StoredImage) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.pixels.astype(np.float32)
