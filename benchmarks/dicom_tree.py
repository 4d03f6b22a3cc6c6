"""A small tree of CT series in DICOM files, laid out as TCIA's LDCT-and-Projection-data collection.

    python benchmarks/dicom_tree.py data/small-ldct
    gnc-data inspect data/small-ldct

The three real CT slices that the pydicom package carries, two of them in JPEG 2000, and made-up
heads (N...) and chests (C...), uncompressed and in RLE, JPEG-LS and JPEG 2000 in turn. What a
reader should leave out lies among them: a low-dose series, a localiser, an MR image, a text.
Needs pip install 'gnclightning[dicom]'.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
HEADS, CHESTS = ("N003", "N005", "N012", "N017", "N021"), ("C002", "C012", "C027", "C030")
SIZE, SLICES, WIDTH, GAP = 256, 24, 300.0, 3.0
"""Pixels, slices per patient, width of an image in mm, distance of slices in mm."""
FULL, LOW = 12.0, 40.0
"""Noise of full and of low dose, HU."""
REAL = {
    "693_J2KI.dcm": "Full Dose Images",
    "J2K_pixelrep_mismatch.dcm": "Full Dose Images",
    "CT_small.dcm": "Full Dose Images",
    "MR_small.dcm": "MR",
    "dicomdirtests/98892001/CT2N/6293": "Scout",
}


@dataclass(frozen=True)
class Canvas:
    """A slice in the making, in HU, on [-1, 1]^2 with y down.

    Attributes:
        values: (SIZE, SIZE).
        shift: mean displacement of this patient.
        angle: by which this patient is turned, radians.
    """

    values: NDArray[np.float64]
    shift: NDArray[np.float64]
    angle: float

    def paint(
        self, hounsfield: float, x: float, y: float, a: float, b: float, turn: float = 0.0
    ) -> None:
        """Fill an ellipse; its edge is as wide as a pixel."""
        axis = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
        u, v = axis[None] - self.shift[0], axis[:, None] - self.shift[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u, v = cos * u + sin * v - x, cos * v - sin * u - y
        cos, sin = np.cos(turn), np.sin(turn)
        radius = np.hypot((cos * u + sin * v) / a, (cos * v - sin * u) / b)
        inside = np.clip((1 - radius) * min(a, b) * SIZE / 2 + 0.5, 0, 1)
        self.values[:] += inside * (hounsfield - self.values)


def head(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Slices of a head: skin, skull, brain, ventricles, sinuses, and what is odd about this one."""
    wide, long, bone = rng.uniform((0.48, 0.62, 0.04), (0.58, 0.74, 0.09))
    spots = rng.uniform((-0.3, -0.4, 0.02, 0.02, 20), (0.3, 0.4, 0.1, 0.1, 70), (6, 5))
    canvases = empty(rng)
    for z, canvas in zip(np.linspace(-1, 1, SLICES), canvases, strict=True):
        scale = np.sqrt(1 - 0.6 * z**2)
        a, b = wide * scale, long * scale
        canvas.paint(30, 0, 0, a + 0.05, b + 0.05)
        canvas.paint(-90, 0, 0, a + 0.03, b + 0.03)
        canvas.paint(rng.uniform(900, 1300), 0, 0, a, b)
        canvas.paint(35, 0, 0.02, a - bone, b - 1.3 * bone)
        canvas.paint(8, -0.09, -0.05, 0.04, 0.2 * scale, 0.2)
        canvas.paint(8, 0.09, -0.05, 0.04, 0.2 * scale, -0.2)
        for x, y, u, v, value in spots:
            canvas.paint(value, x * scale, y * scale, u * scale, v * scale, x)
        if z < -0.2:
            for side in (-1, 1):
                canvas.paint(700, side * 0.5 * a, 0.25 * b, 0.22 * a, 0.12 * b, 0.6 * side)
                canvas.paint(-950, side * 0.62 * a, 0.3 * b, 0.1 * a, 0.06 * b, 0.6 * side)
            canvas.paint(-1000, 0, -0.75 * b, 0.2 * a, 0.12 * b)
    return [canvas.values for canvas in canvases]


def chest(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Slices of a chest: fat, muscle, lungs with vessels, heart, aorta, spine and ribs."""
    wide, deep, fat = rng.uniform((0.78, 0.52, 0.03), (0.92, 0.64, 0.1))
    vessels = rng.uniform((-0.35, -0.3, 0.01), (0.35, 0.3, 0.035), (24, 3))
    canvases = empty(rng)
    for z, canvas in zip(np.linspace(-1, 1, SLICES), canvases, strict=True):
        canvas.paint(-100, 0, 0, wide, deep)
        canvas.paint(50, 0, 0, wide - fat, deep - fat)
        lung = 0.35 * np.sqrt(1 - 0.7 * z**2)
        for side in (-1, 1):
            canvas.paint(-860, side * 0.42, -0.02, lung, 1.2 * lung)
            for x, y, radius in vessels:
                canvas.paint(40, side * 0.42 + x * lung / 0.4, y * lung / 0.3, radius, radius)
        canvas.paint(45, 0.08 + 0.05 * z, -0.12, 0.24 + 0.08 * z, 0.2, 0.4)
        canvas.paint(160, 0.12, 0.2, 0.07, 0.07)
        canvas.paint(rng.uniform(350, 500), 0, 0.32, 0.12, 0.1)
        canvas.paint(30, 0, 0.43, 0.05, 0.04)
        for angle in np.linspace(0.3, np.pi - 0.3, 6) + 0.2 * z:
            for side in (-1, 1):
                x, y = side * (wide - 0.13) * np.sin(angle), (deep - 0.1) * np.cos(angle)
                canvas.paint(600, x, y, 0.07, 0.02, side * angle)
    return [canvas.values for canvas in canvases]


def empty(rng: np.random.Generator) -> list[Canvas]:
    """Air for each slice of a patient, who lies a little askew."""
    shift, angle = rng.uniform(-0.05, 0.05, 2), rng.uniform(-0.2, 0.2)
    return [Canvas(np.full((SIZE, SIZE), -1000.0), shift, angle) for _ in range(SLICES)]


def stored(
    image: NDArray[np.float64], noise: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """HU + 1024 with noise that is smooth over two pixels, as reconstruction kernels make it."""
    grain = rng.normal(0, 2 * noise, image.shape)
    grain = (
        grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1) + np.roll(grain, (1, 1), (0, 1))
    ) / 4
    return np.rint(image + grain + 1024).clip(0, 4095).astype(np.uint16)


def write_series(
    root: Path, patient: str, name: str, images: list[NDArray[np.uint16]], syntax: UID
) -> None:
    """Write a series as the collection's downloads lay it out; file names are out of order."""
    folder = root / patient / "08-30-2018-NA" / f"1.000000-{name}-57239"
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        data = ct_dataset(patient, name, number)
        data.PixelData = image.tobytes()
        if syntax != ExplicitVRLittleEndian:
            data.compress(syntax, generate_instance_uid=False)
        data.save_as(folder / f"1-{(7 * number + 3) % 101:03d}.dcm", enforce_file_format=True)


def ct_dataset(patient: str, series: str, number: int) -> FileDataset:
    """An axial slice without its pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = generate_uid(entropy_srcs=[patient, series, str(number)])
    data.StudyInstanceUID = generate_uid(entropy_srcs=[patient])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[patient, series])
    data.PatientID, data.SeriesDescription, data.Modality = patient, series, "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = number + 1
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [-WIDTH / 2, -WIDTH / 2, GAP * number]
    data.SliceThickness = GAP
    data.PixelSpacing = [WIDTH / SIZE, WIDTH / SIZE]
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows = data.Columns = SIZE
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    return data


def copy_real(root: Path) -> None:
    """Copy pydicom's files, as they are, below folders named by their patients."""
    for name, series in REAL.items():
        source = get_testdata_file(name, read=False, download=False)
        assert isinstance(source, str), f"pydicom is installed without {name}"
        patient = str(pydicom.dcmread(source, stop_before_pixels=True).PatientID)
        folder = root / patient / "01-01-2018-NA" / f"1.000000-{series}-1"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / f"{Path(name).stem}.dcm")


def make_tree(root: Path) -> None:
    """Make the tree; `root` must not exist, or be empty."""
    copy_real(root)
    for number, patient in enumerate((*HEADS, *CHESTS)):
        rng = np.random.default_rng(number)
        images = head(rng) if patient in HEADS else chest(rng)
        full = [stored(image, FULL, rng) for image in images]
        write_series(root, patient, "Full Dose Images", full, SYNTAXES[number % len(SYNTAXES)])
        if patient == "C027":
            low = [stored(image, LOW, rng) for image in images]
            write_series(root, patient, "Low Dose Images", low, ExplicitVRLittleEndian)
    (root / "LICENSE.txt").write_text("No image: left out.\n")


def main() -> None:
    """Make the tree that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to make it: a new folder")
    folder = parser.parse_args().folder
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")
    make_tree(folder)
    print(f"{sum(file.is_file() for file in folder.rglob('*'))} files in {folder}")


if __name__ == "__main__":
    main()
