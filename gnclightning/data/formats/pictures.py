"""Greyscale PNG and TIFF files, read by Pillow."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from gnclightning.data.formats.stored import StoredImage, reading
from gnclightning.errors import UserError

_PNG_MODES = ("L", "I;16")
_TIFF_MODES = ("L", "I;16", "I;16B", "I", "F")
"""Pillow's modes of greyscale images: 8 and 16 bit, then 32 bit integer and floating point."""

_WHITE_IS_ZERO = 0
_MISREAD = {("L", 2): np.int8, ("I", 1): np.uint32}
"""The right type for a mode and a SampleFormat whose sign Pillow ignores."""


def read_png(file: Path) -> Iterator[StoredImage]:
    """The image, of 8 or 16 bits.

    Raises:
        UserError: the file is damaged, or not greyscale.
    """
    with reading(file, "a readable PNG"), Image.open(file, formats=["PNG"]) as image:
        if image.mode not in _PNG_MODES:
            raise _not_greyscale(file, "an 8 or 16 bit greyscale PNG", image.mode)
        pixels = np.asarray(image)
    yield StoredImage(pixels, white=_white(pixels))


def read_tiff(file: Path) -> Iterator[StoredImage]:
    """The pages, integers of 8, 16 or 32 bits or floating-point numbers, each when it is due.

    Raises:
        UserError: the file is damaged, or not greyscale.
    """
    with reading(file, "a readable TIFF"), _open_tiff(file) as image:
        pages = image.n_frames
        for number in range(pages):
            pixels = _read_page(file, image, number)
            yield StoredImage(pixels, None if pages == 1 else number, _white(pixels))


def _open_tiff(file: Path) -> TiffImageFile:
    with warnings.catch_warnings(action="ignore"):  # of odd tags in readable files
        image = Image.open(file, formats=["TIFF"])
    assert isinstance(image, TiffImageFile)
    return image


def _read_page(file: Path, image: TiffImageFile, number: int) -> NDArray[Any]:
    with warnings.catch_warnings(action="ignore"):
        image.seek(number)
        mode, tags = image.mode, image.tag_v2
        if mode not in _TIFF_MODES:
            raise _not_greyscale(file, "a greyscale TIFF of 8, 16 or 32 bits", mode)
        if tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            raise UserError(
                f"expected a TIFF whose 0 is black at {file}, got one whose 0 is white "
                "(WhiteIsZero): invert its values and save it as BlackIsZero"
            )
        pixels = np.asarray(image)
    (sample_format,) = tags.get(SAMPLEFORMAT, (1,))
    return pixels.view(_MISREAD.get((mode, sample_format), pixels.dtype))


def _white(pixels: NDArray[Any]) -> int | None:
    """255 or 65535 for 8 and 16 bit greyscale; other numbers have no white of their own."""
    small = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2
    return int(np.iinfo(pixels.dtype).max) if small else None


def _not_greyscale(file: Path, expected: str, mode: str) -> UserError:
    return UserError(
        f"expected {expected} at {file}, got Pillow's mode {mode}: convert it, e.g. with PIL's "
        "image.convert('L')"
    )
