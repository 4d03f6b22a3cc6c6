"""What worker processes do with one slice."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.pixels import read_hounsfield
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Reason, RejectedError, Rejection, Slice

_STRUCTURE = 1e-3
"""Range of an image below which there is nothing to be seen, as dequantisation alone makes it."""


def convert(root: Path, process: Preprocessing, slice_: Slice) -> NDArray[np.float32] | Rejection:
    """Read and preprocess a slice: an image (size, size) in [0, 1], or why there is none."""
    try:
        hounsfield = read_hounsfield(root, slice_)
    except RejectedError as error:
        return slice_.reject(error.reason, error.detail)
    image = process.apply(hounsfield, slice_.instance)
    if image.max() - image.min() < _STRUCTURE:
        low, high = hounsfield.min(), hounsfield.max()
        return slice_.reject(
            Reason.CONSTANT, f"{low:g} to {high:g} HU all become {image.min():.3g}"
        )
    return image
