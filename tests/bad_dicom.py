"""Defective DICOM files, each in a series of good ones, and defective caches and folders."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, RLELossless

from bad_inputs import CACHE, Case, run, training
from dicom_defects import DEFECTS, damaged
from dicom_trees import ct_dataset, stored_pixels, write, write_series
from gnclightning import cli
from gnclightning.data.dicom.cache_file import FORMAT
from gnclightning.data.dicom.records import Reason

NAME = "bad.dcm"
TRAINED, VALIDATED = ("C001", 4), ("C002", 2)
"""Patient and number of good slices."""


def _scaled(patient: str, count: int) -> np.ndarray:
    """Stored values s stand for 2 s - 1000 HU; the window is -1000 to 3000 HU."""
    return np.float32([stored_pixels(patient, number) / 2000 for number in range(count)])


USED = {"train": _scaled(*TRAINED), "validation": _scaled(*VALIDATED)}


def _arguments(*settings: str) -> list[str]:
    return training(
        "data.name=ldct",
        "data.path=ct",
        f"data.cache={CACHE}",
        "data.conversion_workers=0",
        "data.size=null",
        "data.dequantise=false",
        "data.intensity=window",
        "data.window=[-1000,3000]",
        *(settings or ["data.validation_patients=[C002]"]),
    )


def _good(folder: Path) -> Path:
    """Write good series; the folder of the trained patient's series."""
    write_series(folder / "ct", *VALIDATED)
    return write_series(folder / "ct", *TRAINED)[0].parent


def _plant_changed(change: Callable[[FileDataset], None], folder: Path) -> list[str]:
    dataset = ct_dataset("C001", 10)
    change(dataset)
    write(dataset, _good(folder) / NAME)
    return _arguments()


def _plant_bytes(content: bytes, folder: Path) -> list[str]:
    (_good(folder) / NAME).write_bytes(content)
    return _arguments()


def _plant_link(target: str, folder: Path) -> list[str]:
    (_good(folder) / NAME).symlink_to(target)
    return _arguments()


def _plant_unreadable(folder: Path) -> list[str]:
    path = _good(folder) / NAME
    write(ct_dataset("C001", 10), path).chmod(0)
    return _arguments()


def _plant(*settings: str) -> Callable[[Path], list[str]]:
    """Good series, and settings that do not fit them."""

    def plant(folder: Path) -> list[str]:
        _good(folder)
        return _arguments(*settings)

    return plant


def _rejected(
    what: str, plant: Callable[[Path], list[str]], reason: Reason, detail: str = ""
) -> Case:
    return Case(f"DICOM: {what}", plant, rejected={NAME: (reason, detail)}, used=USED)


def _changed(what: str, reason: Reason, detail: str, **values: object) -> Case:
    def change(dataset: FileDataset) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return _rejected(what, partial(_plant_changed, change), reason, detail)


def _copied(dataset: FileDataset) -> None:
    dataset.SOPInstanceUID = ct_dataset("C001", 2).SOPInstanceUID


def _smaller(dataset: FileDataset) -> None:
    small = ct_dataset("C001", 10, size=8)
    dataset.Rows, dataset.Columns, dataset.PixelData = 8, 8, small.PixelData


def _padded(dataset: FileDataset) -> None:
    """Unsigned values, of which a row is padding that would be brighter than metal."""
    pixels = stored_pixels("C001", 10).astype(np.uint16)
    pixels[1] = 63536
    dataset.PixelRepresentation = 0
    dataset.PixelPaddingValue = 63536
    dataset.PixelData = pixels.tobytes()


def _with_padding() -> np.ndarray:
    image = np.float32(stored_pixels("C001", 10) / 2000)
    image[1] = 0
    return image[None]


def _compressed(syntax: str, dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\x05" * 70])
    dataset["PixelData"].is_undefined_length = True


def _nowhere(dataset: FileDataset) -> None:
    del dataset.ImagePositionPatient, dataset.SliceLocation


def _two_planes(folder: Path) -> list[str]:
    """A coronal reformat of three slices in the folder of the trained patient's series."""

    def reformat(dataset: FileDataset) -> None:
        dataset.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [0, 2 * dataset.InstanceNumber, 0]

    series = _good(folder)
    for number, path in enumerate(write_series(folder / "x", "C001", 2, "MPR", reformat)):
        path.rename(series / f"{number}.dcm")
    return _arguments()


def _whole() -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, ct_dataset("C001", 10), enforce_file_format=True)
    return buffer.getvalue()


def _two_patients(folder: Path) -> list[str]:
    series = _good(folder)
    for number, path in enumerate(write_series(folder / "other", *VALIDATED)):
        path.rename(series / f"{number}.dcm")
    for path in (folder / "ct" / "C002").rglob("*.dcm"):
        path.unlink()
    return _arguments()


def _other_folder(change: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    def plant(folder: Path) -> list[str]:
        change(folder / "ct")
        return _arguments()

    return plant


def _without_ct(root: Path) -> None:
    root.mkdir()
    source = get_testdata_file("MR_small.dcm", read=False, download=False)
    shutil.copy(source, root / "MR.dcm")


def _plant_inspection(folder: Path) -> list[str]:
    _without_ct(folder / "ct")
    return ["inspect", "ct", "workers=0", "progress=false", "output=null"]


def _plant_cache(change: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """A cache that was made, and then changed."""

    def plant(folder: Path) -> list[str]:
        _good(folder)
        assert run(Case("", lambda _: _arguments()), folder).status == 0
        for path in (folder / "run").iterdir():
            path.unlink()
        (folder / "run").rmdir()
        (path,) = (folder / CACHE).glob("*.h5")
        change(path)
        return _arguments()

    return plant


def _set_attribute(name: str, value: object, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


SLICES = [
    *(
        _rejected(what, partial(_plant_changed, change), reason, detail)
        for what, (change, reason, detail) in DEFECTS.items()
    ),
    *(
        _rejected(f"file, {what}", partial(_plant_bytes, content), reason)
        for what, (content, reason) in damaged(_whole()).items()
    ),
    _rejected("a web page", partial(_plant_bytes, b"<html>404</html>"), Reason.NOT_DICOM),
    _rejected("a link in a circle", partial(_plant_link, NAME), Reason.UNREADABLE, "symbolic"),
    _rejected("a link to nothing", partial(_plant_link, "x"), Reason.UNREADABLE, "No such file"),
    _rejected("a slice twice", partial(_plant_changed, _copied), Reason.DUPLICATE, "of "),
    _changed(
        "another slice at the same position",
        Reason.SAME_POSITION,
        "as ",
        ImagePositionPatient=[-6, -6, 4.0001],
    ),
    _rejected("another size", partial(_plant_changed, _smaller), Reason.ODD_SIZE, "8 x 8 pixels"),
    _changed(
        "pixels of another size",
        Reason.ODD_GEOMETRY,
        "pixels of 1.0 mm",
        PixelSpacing=[1, 1],
    ),
    _changed(
        "Rows and Columns of a quarter",
        Reason.BAD_TAG,
        "512 bytes of PixelData, Rows, Columns and BitsAllocated make 128",
        Rows=8,
        Columns=8,
    ),
    _changed(
        "a slope of next to nothing", Reason.CONSTANT, "-1000 to -1000 HU", RescaleSlope="1e-9"
    ),
    _changed("negative pixel size", Reason.BAD_TAG, "PixelSpacing", PixelSpacing=[-0.75, -0.75]),
    _changed("a single pixel", Reason.ODD_SIZE, "1 x 1", Rows=1, Columns=1, PixelData=b"\1\0"),
    _changed("all pixels equal", Reason.CONSTANT, "are 7", PixelData=b"\7\0" * 256),
    _changed(
        "all padding",
        Reason.CONSTANT,
        "are padding",
        PixelData=np.full(256, -2000, np.int16).tobytes(),
        PixelPaddingValue=-2000,
    ),
    _changed("all below the window", Reason.CONSTANT, "become 0", RescaleIntercept=-30_000),
    _rejected(
        "not a number for RescaleSlope",
        partial(_plant_bytes, _whole().replace(b"DS\4\0002.0 ", b"DS\4\000nan ")),
        Reason.BAD_TAG,
        "RescaleSlope [nan]",
    ),
    _rejected("no position", partial(_plant_changed, _nowhere), Reason.MISSING_TAG, "SliceLocatio"),
    _rejected(
        "damaged compressed pixels",
        partial(_plant_changed, partial(_compressed, RLELossless)),
        Reason.UNDECODABLE,
    ),
    _rejected(
        "JPEG Lossless",
        partial(_plant_changed, partial(_compressed, JPEGLosslessSV1)),
        Reason.NO_DECODER,
        "convert it to an uncompressed transfer syntax",
    ),
]
"""Each is a file in the series of the patient that is trained on."""

UNREADABLE = _rejected("not to be read", _plant_unreadable, Reason.UNREADABLE, "Permission denied")
"""Not in the corpus: root reads it."""

TREES = [
    Case(
        "DICOM: padding that would be brighter than metal",
        partial(_plant_changed, _padded),
        used={**USED, "train": np.concatenate([USED["train"], _with_padding()])},
        note="used: padding (PixelPaddingValue) becomes air",
    ),
    Case(
        "DICOM: two patients in one folder",
        _two_patients,
        used=USED,
        note="used: patients are told apart by PatientID, and split",
    ),
    Case(
        "DICOM: a coronal reformat beside the axial slices",
        _two_planes,
        rejected=dict.fromkeys(("0.dcm", "1.dcm"), (Reason.OTHER_PLANE, "coronal, not axial")),
        used=USED,
    ),
    Case(
        "DICOM: an empty folder",
        _other_folder(Path.mkdir),
        says=("expected DICOM files in ct, got none: put some there",),
    ),
    Case(
        "DICOM: a file for a folder",
        _other_folder(Path.touch),
        says=("expected a folder of DICOM files at ct, a file: mend the path",),
    ),
    Case(
        "DICOM: a file whose disk fails",
        partial(_plant_link, "/proc/self/mem"),
        says=(
            "expected to read every file in ct that may be read, got 1 failures",
            f"{NAME} (Input/output error): give the command again",
            "move such files away",
        ),
    ),
    Case(
        "DICOM: no CT at all",
        _other_folder(_without_ct),
        says=("expected CT slices in ct, got none among 1 files: not CT (1)", "gnc-data inspect"),
    ),
    Case(
        "DICOM: no CT at all, inspected",
        _plant_inspection,
        cli.data,
        says=("expected CT slices in ct, got none among 1 files: not CT (1)",),
    ),
    Case(
        "DICOM: a patient who is not there",
        _plant("data.validation_patients=[C003]"),
        says=("expected validation patients among C001, C002, got 'C003'",),
    ),
    Case(
        "DICOM: a patient in two sets",
        _plant("data.validation_patients=[C002]", "data.test_patients=[C002]"),
        says=("expected each patient in one set, got C002 for test and validation: take",),
    ),
    Case(
        "DICOM: nobody left to train on",
        _plant("data.validation_patients=[C001,C002]"),
        says=("at least one patient each for training and validation", "add patients"),
    ),
    Case(
        "cache: of another version",
        _plant_cache(partial(_set_attribute, "format", 0)),
        says=(f"expected a cache of format {FORMAT} at cache/ldct-", "delete it"),
    ),
    Case(
        "cache: half of one",
        _plant_cache(partial(_set_attribute, "complete", False)),
        says=("expected a finished cache at cache/ldct-", "got half of one: delete it"),
    ),
    Case(
        "cache: no HDF5 file",
        _plant_cache(lambda path: path.write_bytes(b"")),
        says=("expected a cache at cache/ldct-", "HDF5 cannot open: delete it"),
    ),
]
