"""Measured sinograms from the user's own files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.folder import read_stack
from gnclightning.data.formats.stored import StoredImage
from gnclightning.data.images import check_finite
from gnclightning.errors import UserError


@dataclass(frozen=True, eq=False)
class SinogramSet:
    """Sinograms with their names.

    Attributes:
        sinograms: (N, 1, angles, detectors), float32.
        names: one per sinogram.

    Raises:
        UserError: a sinogram is not finite, or constant.
    """

    sinograms: Tensor
    names: tuple[str, ...]

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

    def divided_by(self, value: float) -> "SinogramSet":
        """In other units."""
        return replace(self, sinograms=self.sinograms / value)

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


def read_sinograms(
    path: str | Path, count: int | None = None, key: str | None = None
) -> SinogramSet:
    """Read sinograms (angles, detectors), or stacks of them, from a file or a folder of files.

    The formats, their order and the names are those of `read_images`; values are taken as they are.

    Raises:
        UserError: see `read_images` and `SinogramSet`.
    """
    return SinogramSet(*read_stack(path, count, key, _as_stored, "sinograms"))


def _as_stored(name: str, stored: StoredImage) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.pixels.astype(np.float32)
