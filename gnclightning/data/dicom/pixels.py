"""Reading one slice's pixels in Hounsfield units."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from gnclightning.data.dicom.records import Reason, RejectedError, Slice, unreadable

AIR = -1000.0
"""HU of what padding stands for."""
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
EXTRA = "pip install 'gnclightning[dicom]'"
"""What installs the decoders that pydicom itself lacks."""


def read_hounsfield(root: Path, slice_: Slice) -> NDArray[np.float64]:
    """Read the pixels of a slice.

    Args:
        root: folder of the tree.
        slice_: its header.

    Returns:
        RescaleSlope * stored value + RescaleIntercept, (H, W), in HU (DICOM PS3.3, C.11.1.1.2);
        padding is air.

    Raises:
        RejectedError: the file cannot be read or decoded, or its pixels all have one value, those
            of padding left out.
    """
    stored = _decode(root / slice_.file)
    if stored.shape != (slice_.size, slice_.size):
        raise RejectedError(Reason.UNDECODABLE, f"pixels of shape {stored.shape}")
    padding = _is_padding(stored, slice_.padding)
    image = stored[~padding]
    if not image.size:
        raise RejectedError(Reason.CONSTANT, "all stored values are padding")
    if image.min() == image.max():
        others = " but padding" if padding.any() else ""
        raise RejectedError(Reason.CONSTANT, f"all stored values{others} are {image.min()}")
    hounsfield = slice_.slope * stored.astype(np.float64) + slice_.intercept
    hounsfield[padding] = AIR
    return hounsfield


def _is_padding(stored: NDArray[np.integer], ends: tuple[int, ...]) -> NDArray[np.bool_]:
    if not ends:
        return np.zeros(stored.shape, np.bool_)
    # Some files say 63536 of signed values and mean -2000, which has the same bits.
    first, last = sorted(np.array(ends, np.int64).astype(stored.dtype))
    return (first <= stored) & (stored <= last)


def decodable() -> list[str]:
    """UIDs of the transfer syntaxes that can be decoded with what is installed."""
    return sorted(syntax for syntax in AllTransferSyntaxes if _is_decodable(syntax))


def _is_decodable(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _decode(path: Path) -> NDArray[np.integer]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's remarks on odd but readable files
            dataset = pydicom.dcmread(path)
            _check_readable(dataset)
            return dataset.pixel_array
    except RejectedError:
        raise
    except (OSError, MemoryError) as error:
        raise unreadable(error) from error
    except Exception as error:  # pydicom and its decoders raise nearly anything on damaged files
        raise RejectedError(Reason.UNDECODABLE, f"{type(error).__name__}: {error}") from error


def _check_readable(dataset: FileDataset) -> None:
    """Refuse files that end within their pixels, and those for which no decoder is there."""
    if "PixelData" not in dataset:
        # The header was followed by it, so pydicom has dropped what it found incomplete.
        raise RejectedError(Reason.TRUNCATED, "the file ends within its pixels")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_compressed or syntax.is_deflated:
        return
    if not _is_decodable(syntax):
        known = syntax in (*_JPEG_2000, *_JPEG_LS)
        remedy = EXTRA if known else "convert it to an uncompressed transfer syntax"
        raise RejectedError(Reason.NO_DECODER, f"{syntax.name}: {remedy}")
