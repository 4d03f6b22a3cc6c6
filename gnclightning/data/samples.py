"""Images to try things on that need no download."""

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from gnclightning.data.ellipses import phantoms
from gnclightning.data.images import ImageSet
from gnclightning.errors import UserError

AIR = -1000.0
"""Hounsfield units of air."""

CT_SLICE_SEED = 2**31
"""The CT slice's noise and start: the same with any number of phantoms, and none of theirs."""

_CT_SLICE_FROM = 9


def above_air(file: str) -> NDArray[np.float64]:
    """Hounsfield units above air, (H, W), of a CT slice that the pydicom package carries.

    Stored values become Hounsfield units through the file's slope and intercept, are clipped
    below at air, and shifted so that air is 0.

    Args:
        file: its name among pydicom's test files.

    Raises:
        UserError: pydicom is installed without it.
    """
    path = get_testdata_file(file, read=False, download=False)
    if not isinstance(path, str):
        raise UserError(f"expected {file} in the pydicom package, got none: reinstall pydicom")
    slice_ = pydicom.dcmread(path)
    hounsfield = slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
    return hounsfield.clip(AIR) - AIR


def ct_slice() -> ImageSet:
    """The 128x128 CT slice `CT_small.dcm` that the pydicom package carries, in [0, 1].

    It is `above_air`, divided by its maximum of 2167 HU. The pixel size is 0.661468 mm.

    Raises:
        UserError: pydicom is installed without its file.
    """
    values = above_air("CT_small.dcm")
    image = torch.from_numpy((values / values.max()).astype(np.float32))
    return ImageSet(image[None, None], ("CT_small",), (CT_SLICE_SEED,))


def demo_images(count: int = 9, seed: int = 0) -> ImageSet:
    """The images of the demonstration, 128x128.

    They are the first phantoms of the test split, never seen in training; from nine images on,
    the last one is the CT slice. A phantom's seed is its index.

    Args:
        count: number of images, at least 1.
        seed: of the phantoms, see `ellipses.phantom`.

    Raises:
        UserError: `count` or `seed` is outside of its range.
    """
    if count < 1:
        raise UserError(f"expected a count of at least 1 image, got {count}")
    slices = [ct_slice()] if count >= _CT_SLICE_FROM else []
    indices = range(count - len(slices))
    names = tuple(f"ellipses[{index}]" for index in indices)
    images = torch.from_numpy(phantoms(indices, seed, "test"))
    sets = [ImageSet(images, names, tuple(indices)), *slices]
    return ImageSet(
        torch.cat([s.images for s in sets]),
        tuple(name for s in sets for name in s.names),
        tuple(number for s in sets for number in s.seeds),
    )
