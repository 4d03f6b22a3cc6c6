"""Synthetic CT series, as scanners write them: real tags, small images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE = 16
SPACING = 0.75
SLOPE, INTERCEPT = 2.0, -1000.0


def uid(*names: object) -> str:
    """The same UID for the same names."""
    return generate_uid(entropy_srcs=[str(name) for name in names])


def stored_pixels(patient: str, number: int, size: int = SIZE) -> NDArray[np.int16]:
    """Pixels of a slice that no other slice has: (size, size), 0 to 2000, 600 at [0, 0]."""
    rng = np.random.default_rng([number, *patient.encode()])
    pixels = rng.integers(0, 2000, (size, size), dtype=np.int16)
    pixels[0, 0] = 600
    return pixels


def ct_dataset(
    patient: str = "C001", number: int = 0, series: str = "Full Dose Images", size: int = SIZE
) -> FileDataset:
    """An axial CT slice, `number` times 2 mm above the origin."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(patient, series, number)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = uid(patient)
    dataset.SeriesInstanceUID = uid(patient, series)
    dataset.SeriesDescription = series
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID = patient
    dataset.InstanceNumber = number + 1
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-6, -6, 2 * number]
    dataset.SliceLocation = 2 * number
    dataset.SliceThickness = 1.5
    dataset.PixelSpacing = [SPACING, SPACING]
    dataset.RescaleSlope = SLOPE
    dataset.RescaleIntercept = INTERCEPT
    dataset.RescaleType = "HU"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.Rows = dataset.Columns = size
    dataset.PixelData = stored_pixels(patient, number, size).tobytes()
    return dataset


def write(dataset: FileDataset, path: Path) -> Path:
    """Write a data set, whatever is missing from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset)
    return path


def write_series(
    root: Path,
    patient: str = "C001",
    count: int = 3,
    series: str = "Full Dose Images",
    change: Callable[[FileDataset], None] = lambda dataset: None,
) -> list[Path]:
    """A series as TCIA's downloads lay it out; file names say nothing of the position."""
    folder = root / patient / "01-01-2018-study" / f"1.000000-{series}-57239"
    paths = []
    for number in range(count):
        dataset = ct_dataset(patient, number, series)
        change(dataset)
        name = f"1-{(7 * number + 3) % 101:03d}.dcm"
        paths.append(write(dataset, folder / name))
    return paths
