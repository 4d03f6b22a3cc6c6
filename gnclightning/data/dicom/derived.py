"""Reconstructions as DICOM series: derived CT images that refer to those they came from."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor, log10
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Slice

QUANTUM = 0.1
"""HU per stored unit, unless the values span too much for 16 bits."""
_LARGEST = 2**16 - 1
_LONGEST = 64
"""Characters of a SeriesDescription."""
_SERIES_OFFSET = 1000

_OF_THE_SOURCE_S_PIXELS = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"),
    *("SmallestPixelValueInSeries", "LargestPixelValueInSeries", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "VOILUTSequence", "IconImageSequence", "ReferencedImageSequence"),
    *("ConvolutionKernel", "ReconstructionAlgorithm", "PixelAspectRatio"),
    *("MACParametersSequence", "DigitalSignaturesSequence", "NumberOfFrames"),
)
_OVERLAYS_AND_CURVES = (0x6000, 0x5000)


@dataclass(frozen=True)
class Origin:
    """What a derived series says of itself.

    Attributes:
        series: its SeriesDescription, in ASCII; what the source's says follows.
        derivation: how its images came about, in ASCII, at most 1024 characters.
        version: of this package.
    """

    series: str
    derivation: str
    version: str


def write_derived_series(
    folder: Path,
    root: Path,
    sources: Sequence[Slice],
    images: NDArray[np.float32],
    process: Preprocessing,
    origin: Origin,
) -> list[Path]:
    """Write images as derived CT images, those of each source series in a folder of their own.

    Identifiers follow from the source and the values, so that equal images have equal ones.
    Images with values that are not finite are left out.

    Args:
        folder: existing, for the folders `series_1`, `series_2`, ...
        root: folder of the source files.
        sources: the slices that the images are reconstructions of.
        images: (N, size, size), in the units of `process`.
        process: what made images of the slices; inverted to give HU.
        origin: what the series say of themselves.

    Returns:
        The files.

    Raises:
        OSError: a source file cannot be read any more, or a new one not written.
    """
    written: list[Path] = []
    for number, series in enumerate(dict.fromkeys(s.series for s in sources), start=1):
        mine = [n for n, s in enumerate(sources) if s.series == series]
        finite = [n for n in mine if np.isfinite(images[n]).all()]
        if not finite:
            continue
        hounsfield = process.to_hounsfield(images[finite])
        target = folder / f"series_{number}"
        target.mkdir()
        chosen = [sources[n] for n in finite]
        written += _write_series(target, root, chosen, hounsfield, origin)
    return written


def _write_series(
    folder: Path,
    root: Path,
    sources: Sequence[Slice],
    hounsfield: NDArray[np.float64],
    origin: Origin,
) -> list[Path]:
    slope, intercept = _scale(float(hounsfield.min()), float(hounsfield.max()))
    stored = ((hounsfield - intercept) / slope).round().astype("<u2")
    names = [sources[0].series, origin.series, origin.derivation, stored.tobytes()]
    series = _uid(*names)
    paths: list[Path] = []
    for number, (source, pixels) in enumerate(zip(sources, stored, strict=True), start=1):
        dataset = _read(root / source.file)
        _describe(dataset, source, origin)
        _place(dataset, source.size, pixels.shape[0])
        _fill(dataset, pixels, slope, intercept)
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = _uid(series, source.instance)
        paths.append(folder / f"{number:04d}.dcm")
        _save(dataset, paths[-1], origin.version)
    return paths


def _scale(low: float, high: float) -> tuple[float, float]:
    """RescaleSlope and RescaleIntercept, short decimals, of 16 bits that hold these HU."""
    slope = QUANTUM
    if (high - low) / slope > _LARGEST - 2:
        exact = (high - low) / (_LARGEST - 2)
        digit = 10.0 ** (floor(log10(exact)) - 1)
        slope = float(f"{(floor(exact / digit) + 1) * digit:.10g}")
    return slope, float(f"{floor(low / slope) * slope:.10g}")


def _read(path: Path) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd but readable files
        return pydicom.dcmread(path, stop_before_pixels=True)


def _describe(dataset: FileDataset, source: Slice, origin: Origin) -> None:
    """Say that the image is derived, and from which one."""
    dataset.remove_private_tags()
    for name in _OF_THE_SOURCE_S_PIXELS:
        if name in dataset:
            delattr(dataset, name)
    for tag in [t for t in dataset.keys() if t.group & 0xFF00 in _OVERLAYS_AND_CURVES]:  # noqa: SIM118
        del dataset[tag]
    reference = Dataset()
    reference.ReferencedSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    reference.ReferencedSOPInstanceUID = source.instance
    dataset.SourceImageSequence = [reference]
    kind = list(dataset.get("ImageType", []))[2:] or ["AXIAL"]
    dataset.ImageType = ["DERIVED", "SECONDARY", *kind]
    dataset.DerivationDescription = origin.derivation
    described = f"{origin.series}, {source.description}" if source.description else origin.series
    dataset.SeriesDescription = described[:_LONGEST]
    dataset.SeriesNumber = int(dataset.get("SeriesNumber") or 0) + _SERIES_OFFSET
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    if "StudyInstanceUID" not in dataset:
        dataset.StudyInstanceUID = _uid("study", source.patient)
    now = datetime.now()
    dataset.ContentDate, dataset.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")


def _place(dataset: FileDataset, before: int, after: int) -> None:
    """Pixels of another size in the same square: its edges stay, the first centre moves."""
    old = [float(value) for value in dataset.PixelSpacing]
    new = [value * before / after for value in old]
    dataset.PixelSpacing = [_decimal(value) for value in new]
    if not (dataset.get("ImagePositionPatient") and dataset.get("ImageOrientationPatient")):
        return
    axes = np.array(dataset.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    # The first axis is that of growing columns, which the second spacing separates.
    shift = (np.array(new) - old)[::-1] / 2
    corner = np.array(dataset.ImagePositionPatient, dtype=np.float64) + shift @ axes
    dataset.ImagePositionPatient = [_decimal(value) for value in corner]


def _fill(dataset: FileDataset, pixels: NDArray[np.uint16], slope: float, intercept: float) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(slope), _decimal(intercept)
    dataset.RescaleType = "HU"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()


def _save(dataset: FileDataset, path: Path, version: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationVersionName = f"GNC{version}"[:16]
    # A data set of its own: that of the source would keep the source's encoding.
    made = FileDataset(path, dict(dataset), preamble=b"\0" * 128, file_meta=meta)
    pydicom.dcmwrite(path, made, enforce_file_format=True)


def _decimal(value: float) -> str:
    """A number within the 16 characters of a decimal string."""
    return format_number_as_ds(float(value))


def _uid(*names: str | bytes) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() if isinstance(name, str) else name)
        digest.update(b"\0")
    return generate_uid(entropy_srcs=[digest.hexdigest()])
