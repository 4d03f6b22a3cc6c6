"""Reading one file's header, without its pixels: a CT slice, or the reason why it is none."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from gnclightning.data.dicom.records import Reason, RejectedError, Rejection, Slice, unreadable

_REQUIRED = ("PatientID", "SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns")
_NUMBERS = ("PixelSpacing", "RescaleSlope", "RescaleIntercept")

_ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

_PROJECTION_GROUP = 0x7031
"""Private group of DICOM-CT-PD, in which the LDCT collection stores its sinograms."""

_EQUAL = 1e-3
"""Relative difference below which a pixel's height and width are the same."""

_EXCESS = 2
"""So many times the bytes that a header promises are no padding: it is wrong about them."""

_GREATEST = 2**32
"""No stored value is greater: pixels have 32 bits at most."""

_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED_LENGTH = 0xFFFFFFFF


def read_header(root: Path, file: str) -> Slice | Rejection:
    """Read the header of one file.

    Args:
        root: folder of the tree.
        file: path relative to `root`.

    Returns:
        The slice, or why the file is none. Whatever is wrong with a file, nothing is raised.
    """
    dataset = None
    try:
        dataset, pixels, present = _read(root / file)
        _check_kind(dataset)
        _check_pixels(dataset, pixels, present)
        return _slice(file, dataset)
    except RejectedError as error:
        patient, series = (
            "" if dataset is None else _text(dataset, name)
            for name in ("PatientID", "SeriesInstanceUID")
        )
        return Rejection(file, error.reason, error.detail, patient, series)


def _read(path: Path) -> tuple[FileDataset, bytes, int]:
    """The header, the first 12 bytes of what follows (the pixels' tag and length), its length."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of it becomes a rejection
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            present = os.fstat(file.fileno()).st_size - file.tell()
            return dataset, file.read(12), present
    except InvalidDicomError as error:
        raise RejectedError(Reason.NOT_DICOM, "no DICOM header") from error
    except (OSError, MemoryError) as error:
        raise unreadable(error) from error
    except Exception as error:  # pydicom raises nearly anything on damaged files
        raise RejectedError(Reason.UNDECODABLE, f"{type(error).__name__}: {error}") from error


def _check_kind(dataset: FileDataset) -> None:
    modality = _required_text(dataset, "Modality")
    if modality != "CT":
        raise RejectedError(Reason.NOT_CT, f"Modality {modality}")
    if any(str(part).strip().upper() == "LOCALIZER" for part in _values(dataset, "ImageType")):
        raise RejectedError(Reason.LOCALISER)
    tags = dataset.keys()  # the elements themselves would be converted
    if any(tag.group == _PROJECTION_GROUP for tag in tags):
        raise RejectedError(Reason.PROJECTIONS, "DICOM-CT-PD holds sinograms, not images")
    samples = _text(dataset, "SamplesPerPixel") or "1"
    photometric = _required_text(dataset, "PhotometricInterpretation")
    if samples != "1" or not photometric.startswith("MONOCHROME"):
        raise RejectedError(Reason.COLOUR, f"{photometric}, {samples} values per pixel")
    frames = _text(dataset, "NumberOfFrames") or "1"
    if frames != "1":
        raise RejectedError(Reason.MULTI_FRAME, f"{frames} frames; export them one file each")
    # Screen captures and the like call themselves CT too. Stripped files do not say what they are.
    kind = UID(_text(dataset, "SOPClassUID") or CTImageStorage)
    if kind in _ENHANCED:
        raise RejectedError(Reason.MULTI_FRAME, f"{kind.name}; export frames one file each")
    if kind != CTImageStorage:
        raise RejectedError(Reason.NOT_CT, f"SOPClassUID {kind.name}")
    unit = _text(dataset, "RescaleType") or "HU"
    if unit.upper() != "HU":
        raise RejectedError(Reason.NOT_HOUNSFIELD, f"RescaleType {unit}")


def _check_pixels(dataset: FileDataset, pixels: bytes, present: int) -> None:
    """Whether the pixels follow the header, as long as it promises."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise RejectedError(Reason.MISSING_TAG, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        return  # compressed as a whole: decoding will tell
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    if tuple(int.from_bytes(pixels[i : i + 2], order) for i in (0, 2)) != _PIXEL_DATA:
        raise RejectedError(Reason.MISSING_TAG, "PixelData")
    length = int.from_bytes(pixels[4:8] if implicit else pixels[8:12], order)
    if length == _UNDEFINED_LENGTH:
        return  # compressed: decoding will tell
    rows, columns = _count(dataset, "Rows"), _count(dataset, "Columns")
    expected = rows * columns * _count(dataset, "BitsAllocated") // 8
    given = max(0, min(length, present - (8 if implicit else 12)))
    if given < expected:
        raise RejectedError(Reason.TRUNCATED, f"{given} of {expected} bytes")
    if given >= _EXCESS * expected:
        raise RejectedError(
            Reason.BAD_TAG,
            f"{given} bytes of PixelData, Rows, Columns and BitsAllocated make {expected}",
        )


def _slice(file: str, dataset: FileDataset) -> Slice:
    patient, series, instance = (_required_text(dataset, name) for name in _REQUIRED[:3])
    rows, columns = (_count(dataset, name) for name in _REQUIRED[3:])
    if rows != columns:
        raise RejectedError(Reason.NOT_SQUARE, f"{rows} x {columns} pixels")
    spacing, slope, intercept = (_numbers(dataset, name) for name in _NUMBERS)
    if len(spacing) != 2 or min(spacing) <= 0:
        raise RejectedError(Reason.BAD_TAG, f"PixelSpacing {spacing}")
    if abs(spacing[0] / spacing[1] - 1) > _EQUAL:
        raise RejectedError(Reason.ODD_GEOMETRY, f"pixels of {spacing[0]:g} x {spacing[1]:g} mm")
    if slope[0] <= 0:
        raise RejectedError(Reason.BAD_TAG, f"RescaleSlope {slope[0]:g}")
    orientation, position = _place(dataset)
    return Slice(
        file=file,
        patient=patient,
        series=series,
        instance=instance,
        description=_text(dataset, "SeriesDescription"),
        image_type=_text(dataset, "ImageType"),
        size=rows,
        pixel_size=spacing[0],
        thickness=_optional_number(dataset, "SliceThickness"),
        orientation=orientation,
        position=position,
        location=_optional_number(dataset, "SliceLocation"),
        slope=slope[0],
        intercept=intercept[0],
        padding=_padding(dataset),
    )


def _place(dataset: FileDataset) -> tuple[tuple[float, ...], float | None]:
    """Orientation, and position along the slice normal in mm (DICOM PS3.3, C.7.6.2.1.1)."""
    if not (
        _values(dataset, "ImageOrientationPatient") and _values(dataset, "ImagePositionPatient")
    ):
        if _optional_number(dataset, "SliceLocation") is None:
            raise RejectedError(Reason.MISSING_TAG, "ImagePositionPatient, SliceLocation")
        return (), None
    axes = _numbers(dataset, "ImageOrientationPatient")
    corner = _numbers(dataset, "ImagePositionPatient")
    if len(axes) != 6 or len(corner) != 3:
        raise RejectedError(Reason.BAD_TAG, "ImageOrientationPatient or ImagePositionPatient")
    normal = np.cross(axes[:3], axes[3:])
    if abs(float(np.linalg.norm(normal)) - 1) > 0.01:
        raise RejectedError(Reason.BAD_TAG, f"ImageOrientationPatient {axes}: not orthonormal")
    # Adding 0 turns -0 into 0, so that equal orientations compare equal.
    return tuple(round(a, 3) + 0.0 for a in axes), float(np.dot(corner, normal))


def _padding(dataset: FileDataset) -> tuple[int, ...]:
    """The ends of the range of padding (DICOM PS3.3, C.7.5.1.1.2)."""
    value = _optional_number(dataset, "PixelPaddingValue")
    if value is None:
        return ()
    limit = _optional_number(dataset, "PixelPaddingRangeLimit")
    ends = (value, value if limit is None else limit)
    if any(abs(end) > _GREATEST or end % 1 for end in ends):
        raise RejectedError(Reason.BAD_TAG, f"padding from {ends[0]:g} to {ends[1]:g}")
    return int(ends[0]), int(ends[1])


def _values(dataset: FileDataset, name: str) -> Sequence[object]:
    """The values of an element; empty where it is absent or empty."""
    try:
        value = dataset.get(name)
    except Exception as error:  # pydicom converts on access, and raises nearly anything
        raise RejectedError(Reason.BAD_TAG, f"{name}: {error}") from error
    if value is None or value == "":
        return ()
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return list(value) if several else [value]


def _text(dataset: FileDataset, name: str) -> str:
    """An element as text, "" where it is absent or broken."""
    try:
        return "\\".join(str(value) for value in _values(dataset, name)).strip()
    except RejectedError:
        return ""


def _required_text(dataset: FileDataset, name: str) -> str:
    text = _text(dataset, name)
    if not text:
        raise RejectedError(Reason.MISSING_TAG, name)
    return text


def _numbers(dataset: FileDataset, name: str) -> list[float]:
    values = _values(dataset, name)
    if not values:
        raise RejectedError(Reason.MISSING_TAG, name)
    try:
        numbers = [float(str(value)) for value in values]
    except ValueError as error:
        raise RejectedError(Reason.BAD_TAG, f"{name}: {error}") from error
    if not np.isfinite(numbers).all():
        raise RejectedError(Reason.BAD_TAG, f"{name} {numbers}")
    return numbers


def _optional_number(dataset: FileDataset, name: str) -> float | None:
    return _numbers(dataset, name)[0] if _values(dataset, name) else None


def _count(dataset: FileDataset, name: str) -> int:
    number = _numbers(dataset, name)[0]
    if number < 1:
        raise RejectedError(Reason.BAD_TAG, f"{name} {number:g}")
    return int(number)
