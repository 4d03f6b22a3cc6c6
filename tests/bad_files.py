"""Defective images and sinograms in own files, each beside good ones."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bad_inputs import Case, reconstruction, training
from gnclightning import cli
from own_images import write_hdf5

GOOD = np.random.default_rng(0).random((4, 8, 8), np.float32)
SIXTEEN_BITS = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
"""To 65520: another mapping than by 65535 is seen."""
PAGE = b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n"


def _folder(plant: Callable[[Path], object], *settings: str) -> Callable[[Path], list[str]]:
    """Good images in `scans/a.npy`, and what `plant` adds."""

    def write(folder: Path) -> list[str]:
        scans = folder / "scans"
        scans.mkdir()
        np.save(scans / "a.npy", GOOD)
        plant(scans)
        return training("data.name=folder", "data.path=scans", *settings)

    return write


def _refused(
    what: str, plant: Callable[[Path], object], *says: str, settings: tuple[str, ...] = ()
) -> Case:
    return Case(what, _folder(plant, *settings), says=says)


def _bytes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda scans: (scans / name).write_bytes(content)


def _array(array: NDArray, name: str = "b.npy") -> Callable[[Path], object]:
    return lambda scans: np.save(scans / name, array, allow_pickle=True)


def _with(value: float) -> NDArray[np.float32]:
    image = GOOD[0].copy()
    image[3, 4] = value
    return image


def _picture(name: str, pixels: NDArray, mode: str | None = None) -> Callable[[Path], object]:
    def plant(scans: Path) -> None:
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(scans / name)

    return plant


def _cut(write: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    """What `write` writes, without its second half."""

    def plant(scans: Path) -> None:
        write(scans)
        content = (scans / name).read_bytes()
        (scans / name).write_bytes(content[: len(content) // 2])

    return plant


def _hdf5(**datasets: NDArray) -> Callable[[Path], object]:
    return lambda scans: write_hdf5(scans / "b.h5", **datasets)


def _only(name: str, write: Callable[[Path], object]) -> Callable[[Path], object]:
    """Without the good images."""

    def plant(scans: Path) -> None:
        (scans / "a.npy").unlink()
        write(scans)

    return plant


def _zip(scans: Path) -> None:
    with zipfile.ZipFile(scans / "b.npz", "w") as archive:
        archive.writestr("slices.csv", "1,2,3")


def _huge(scans: Path) -> None:
    """A header that promises 8 TB."""
    with (scans / "b.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**3, 10**3)}
        np.lib.format.write_array_header_1_0(file, header)


def _sinogram(array: NDArray) -> Callable[[Path], list[str]]:
    def plant(folder: Path) -> list[str]:
        np.save(folder / "scan.npy", array)
        return reconstruction(
            "data.name=sinogram",
            "data.path=scan.npy",
            "geometry.angles=6",
            "geometry.detector_count=45",
            "noise.relative=0.1",
        )

    return plant


def _not_measured(what: str, array: NDArray, *says: str) -> Case:
    return Case(f"sinogram: {what}", _sinogram(array), cli.reconstruct, says)


READ = "write the file anew, or leave it out"
_EIGHT = (GOOD[0] * 255).astype(np.uint8)

IMAGES = [
    Case(
        "PNG: 16 bits, which is no defect",
        _folder(_picture("b.png", SIXTEEN_BITS)),
        used={"train": GOOD, "validation": np.float32(SIXTEEN_BITS / 65535)[None]},
        note="used: 65535 is 1",
    ),
    _refused("folder: empty", _only("a.npy", lambda _: None), "scans", "got none: put some there"),
    _refused(
        "folder: no file of images",
        _only("a.npy", _bytes("page.html", PAGE)),
        "expected files in scans",
        "got none: put some there",
    ),
    _refused(
        "folder: one image for two sets",
        _only("a.npy", _array(GOOD[:1])),
        "images for training and validation in scans, got 1",
        "add images",
    ),
    _refused(
        "folder: not there",
        lambda _: None,
        "expected images at other, which does not exist: mend the path",
        settings=("data.path=other",),
    ),
    _refused(
        "folder: another format",
        _bytes("b.bmp", PAGE),
        "got scans/b.bmp: convert it",
        settings=("data.path=scans/b.bmp",),
    ),
    _refused(
        "folder: two files of one name",
        _picture("a[0].png", _EIGHT),
        "got 2 named a[0]: rename them",
    ),
    _refused("folder: sizes differ", _array(GOOD[0, :4]), "8x8 (a[0]) and 4x8 (b): crop"),
    _refused(
        "folder: sides that the network cannot halve",
        _only("a.npy", _array(GOOD[:, :6, :6])),
        "multiples of 4, got (6, 6); pad or crop the images",
    ),
    _refused(
        "folder: a link in a circle", lambda scans: (scans / "b.npy").symlink_to("b.npy"), "b.npy"
    ),
    _refused("folder: a link to nothing", lambda scans: (scans / "b.npy").symlink_to("x"), "b.npy"),
    _refused(".npy: zero bytes", _bytes("b.npy", b""), "scans/b.npy", READ),
    _refused(".npy: a web page", _bytes("b.npy", PAGE), "scans/b.npy", READ),
    _refused(".npy: truncated", _cut(_array(GOOD), "b.npy"), "scans/b.npy", READ),
    _refused(".npy: a header that promises 8 TB", _huge, "b.npy"),
    _refused(
        ".npy: Python objects (pickle)",
        _array(np.array([GOOD[0], None], object)),
        "in scans/b.npy, got Python objects or text, which are not read: convert them",
    ),
    _refused(".npy: complex", _array(GOOD + 0j), "in scans/b.npy, got complex64: convert them"),
    _refused(".npy: truth values", _array(GOOD > 0.5), "in scans/b.npy, got bool: convert them"),
    _refused(
        ".npy: four axes", _array(GOOD[..., None]), "scans/b.npy, got shape (4, 8, 8, 1): reshape"
    ),
    _refused(".npy: one axis", _array(GOOD[0, 0]), "scans/b.npy, got shape (8,): reshape them"),
    _refused(".npy: no images", _array(GOOD[:0]), "scans/b.npy, got none, shape (0, 8, 8): leave"),
    _refused(
        ".npy: NaN", _array(_with(np.nan)), "image b: expected finite values, got 1 NaN", "replace"
    ),
    _refused(
        ".npy: infinity",
        _array(_with(np.inf)),
        "image b: expected finite values",
        "replace them",
        settings=("data.clip=true",),
    ),
    _refused(
        ".npy: a single pixel",
        _only("a.npy", _array(np.full((2, 1, 1), 0.5))),
        "image b[0]: expected structure, got the constant 0.5 in 1x1 pixels: leave",
    ),
    _refused(".npy: all equal", _array(0 * GOOD[0]), "image b: expected structure", "leave this"),
    _refused(
        ".npy: Hounsfield units without a range",
        _array(4000 * GOOD[0] - 1000),
        "image b: expected values in [0, 1], got",
        "give data.range=[LOW,HIGH]",
    ),
    _refused(
        ".npy: integers without a range",
        _array((1000 * GOOD[0]).astype(np.int16)),
        "image b: expected floating-point values in [0, 1], got int16",
        "give data.range=[LOW,HIGH]",
    ),
    _refused(".npz: no arrays in it", _zip, "scans/b.npz, got no arrays: put images into it"),
    _refused(
        "HDF5: wrong key",
        _only("a.npy", _hdf5(images=GOOD, masks=GOOD)),
        "expected an array named image in scans/b.h5",
        "did you mean images?",
        settings=("data.key=image",),
    ),
    _refused(
        "HDF5: several arrays, no key",
        _hdf5(images=GOOD, masks=GOOD),
        "in scans/b.h5, got images (4, 8, 8), masks (4, 8, 8): choose one with data.key=NAME",
    ),
    _refused("HDF5: truncated", _cut(_hdf5(images=GOOD), "b.h5"), "scans/b.h5", READ),
    _refused(
        "PNG: colour",
        _picture("b.png", _EIGHT, "RGB"),
        "greyscale PNG at scans/b.png, got Pillow's mode RGB: convert it",
    ),
    _refused("PNG: palette", _picture("b.png", _EIGHT, "P"), "at scans/b.png", "convert it"),
    _refused("PNG: truncated", _cut(_picture("b.png", SIXTEEN_BITS), "b.png"), "scans/b.png", READ),
    _refused(
        "TIFF: colour", _picture("b.tif", _EIGHT, "RGB"), "at scans/b.tif", "mode RGB: convert it"
    ),
    _refused("TIFF: a web page", _bytes("b.tif", PAGE), "scans/b.tif", READ),
    _refused(
        "NIfTI: damaged gzip",
        _bytes("b.nii.gz", gzip.compress(bytes(400))[:20]),
        "scans/b.nii.gz",
        READ,
    ),
]

_LINES = np.random.default_rng(1).random((6, 45), np.float32) + 1

SINOGRAMS = [
    _not_measured("NaN", _LINES * np.float32(np.nan), "scan: expected finite values", "replace"),
    _not_measured("all equal", 0 * _LINES, "sinogram scan: expected line integrals", "leave"),
    _not_measured("other number of angles", _LINES[:5], "scan: expected 6 angles", "got 5 x 45"),
    _not_measured("swapped axes", _LINES.T, "got 45 x 6: swap the axes, angles come first"),
    _not_measured("wrong units", 1e6 * _LINES, "scan", "data.white"),
]
