"""Defective measured sinograms, and geometries that do not fit a reconstruction."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bad_files import PAGE
from bad_inputs import PRIOR, SIZE, Case, refused, refused_phantoms
from own_images import write_hdf5

ANGLES, BINS = 20, 47
LINES = np.random.default_rng(2).random((2, ANGLES, BINS), np.float32) + 4
_SCAN = (PRIOR, "data.name=sinogram")
_FULL = (f"geometry.angles={ANGLES}", f"geometry.detector_count={BINS}", "noise.relative=0.1")


def _scan(what: str, lines: NDArray, settings: Sequence[str], *says: str) -> Case:
    """Sinograms in `scan.npy`."""
    given = (*_SCAN, "data.path=scan.npy", *settings)
    return refused(what, lambda folder: np.save(folder / "scan.npy", lines), given, *says)


def _beside(what: str, arrays: dict[str, NDArray], settings: Sequence[str], *says: str) -> Case:
    """Sinograms, or their counts, as `y` in `scan.h5`, and other arrays beside them."""
    given = (*_SCAN, "data.path=scan.h5", "data.key=y", *_FULL, *settings)
    whole = {"y": 1000 * np.exp(-LINES)} | arrays
    return refused(what, lambda folder: write_hdf5(folder / "scan.h5", **whole), given, *says)


def _stating(
    what: str, stated: dict[str, object], settings: Sequence[str], *says: str, other: object = None
) -> Case:
    """A file that states something of the geometry; if `other` is given, one that states that."""

    def plant(folder: Path) -> None:
        (folder / "scans").mkdir()
        for name, facts in (("a", stated), ("b", other)):
            if isinstance(facts, dict):
                path = folder / "scans" / f"{name}.h5"
                write_hdf5(path, y=LINES)
                with h5py.File(path, "r+") as file:
                    file.attrs.update(facts)

    return refused(what, plant, (*_SCAN, "data.path=scans", "noise.relative=0.1", *settings), *says)


def _with(value: float, *place: int | slice) -> NDArray[np.float32]:
    changed = LINES.copy()
    changed[place] = value
    return changed


def _two_sizes(folder: Path) -> None:
    (folder / "scans").mkdir()
    np.save(folder / "scans" / "a.npy", LINES)
    np.save(folder / "scans" / "b.npy", LINES[:, :5])


_FRAME = np.full((1, BINS), 1000, np.float32)

SCANS = [
    _scan(
        "sinogram: infinity in each",
        _with(np.inf, slice(None), 3, 4),
        _FULL,
        "sinogram scan[0]: expected finite values, got 1 NaN or infinite of 940: replace",
    ),
    _scan(
        "sinogram: negative", -LINES, _FULL, "sinogram scan[0]", "the mean -", "data.white=VALUE"
    ),
    _scan(
        "sinogram: fewer than asked for",
        LINES,
        (*_FULL, "data.count=3"),
        "expected 3 sinograms in scan.npy, got 2: lower the count",
    ),
    _scan(
        "sinogram: other number of bins",
        LINES[:, :, 1:],
        _FULL,
        "expected 20 angles x 47 detector bins, as the geometry has, got 20 x 46: give",
    ),
    _scan(
        "sinogram: no noise that could be estimated",
        np.broadcast_to(np.linspace(3, 5, ANGLES, dtype=np.float32)[:, None], LINES.shape),
        _FULL[:2],
        "expected noise in the sinograms that can be estimated",
        "noise.relative=VALUE",
    ),
    _scan(
        "sinogram: too few bins to estimate noise",
        LINES[:, :, :4],
        (_FULL[0], "geometry.detector_count=4", "data.white=10"),
        "at least 5 detector bins",
        "noise.relative",
    ),
    refused(
        "sinogram: a web page",
        lambda folder: (folder / "scan.npy").write_bytes(PAGE),
        (*_SCAN, "data.path=scan.npy"),
        "scan.npy",
        "write the file anew",
    ),
    refused(
        "sinogram: sizes differ",
        _two_sizes,
        (*_SCAN, "data.path=scans", *_FULL),
        "expected sinograms of one size, got 20x47 (a[0]) and 5x47 (b[0])",
    ),
    _beside(
        "counts: no such flat field",
        {},
        ("data.flat=flats",),
        "data.flat=flats: expected an array named flats in scan.h5",
    ),
    _beside(
        "counts: flat field of another detector",
        {"flat": _FRAME[:, 1:]},
        ("data.flat=flat",),
        "data.flat=flat: expected frames of 47 detector bins",
        "take that of the same detector",
    ),
    _beside(
        "counts: three flat fields for two sinograms",
        {"flat": np.stack([_FRAME] * 3)},
        ("data.flat=flat",),
        "data.flat=flat: expected 2 arrays, one for each sinogram, got 3: give as many",
    ),
    _beside(
        "counts: flat and dark field exchanged",
        {"flat": 0 * _FRAME, "dark": _FRAME},
        ("data.flat=flat", "data.dark=dark"),
        "sinogram scan[0]: expected counts between those of data.dark and data.flat",
        "not exchanged",
    ),
    _beside(
        "counts: dark without flat field",
        {"dark": _FRAME},
        ("data.dark=dark",),
        "data.dark: expected data.flat beside it, got null",
    ),
    _beside(
        "counts: a projection without life in each",
        {"y": _with(np.nan, slice(None), 3)},
        ("data.flat=1000",),
        "expected some living pixels in each projection, got none in that of angle 3: leave",
    ),
    _beside(
        "truth: fewer images than sinograms",
        {"x": np.ones((1, SIZE, SIZE))},
        ("data.truth=x", "data.flat=1000"),
        "data.truth=x: expected 2 arrays, one for each sinogram, got 1: give as many",
    ),
    _beside(
        "truth: of another size",
        {"x": np.random.default_rng(0).random((2, 8, 8))},
        ("data.truth=x", "data.flat=1000"),
        "expected images of 32x32 pixels, as the prior has, got 8x8 from the ground truth",
        "resample the truth",
    ),
    _scan(
        "units: white and water",
        LINES,
        (*_FULL, "data.white=0.1", "data.water=0.02"),
        "data.water: expected data.white or data.water, got both",
    ),
    _scan(
        "units: water with a prior that is not in HU",
        LINES,
        (*_FULL, "data.water=0.02"),
        "expected a prior whose range is known in HU for data.water",
        "give data.white=VALUE",
    ),
]

GEOMETRIES = [
    _stating(
        "geometry: angles without unit",
        {"angles": np.arange(ANGLES)},
        (),
        "angle_unit degree or radian beside the angles in scans/a.h5",
        "write it",
    ),
    _stating(
        "geometry: a start without stop",
        {"angle_start": 0, "angle_unit": "degree"},
        (),
        "angle_start, angle_stop and angle_count, in scans/a.h5",
        "write the others",
    ),
    _stating(
        "geometry: a length without unit",
        {"detector_spacing": 1.0},
        (),
        "expected length_unit, such as mm, beside detector_spacing in scans/a.h5",
    ),
    _stating(
        "geometry: not a number",
        {"pixel_size": np.nan, "length_unit": "mm"},
        (),
        "pixel_size",
        "scans/a.h5",
    ),
    _stating(
        "geometry: settings contradict the file",
        {"detector_count": BINS},
        ("geometry.detector_count=40",),
        "expected geometry.detector_count as scans states it, 47, got 40: leave",
    ),
    _stating(
        "geometry: files of a folder disagree",
        {"detector_count": BINS},
        (),
        "expected one geometry in all files, got detector_count 47 in scans/a.h5 and 46",
        other={"detector_count": 46},
    ),
    _stating(
        "geometry: millimetres without the size of a pixel",
        {"detector_spacing": 1.0, "length_unit": "mm"},
        (),
        "expected geometry.pixel_size",
        "give geometry.pixel_size=VALUE",
    ),
    _stating(
        "geometry: another size of the image",
        {"image_shape": [64, 64]},
        _FULL,
        "expected images of 32x32 pixels, as the prior has, got 64x64 from image_shape",
    ),
    refused_phantoms(
        "geometry: one end of an arc",
        ("geometry.arc=[0]",),
        "geometry.arc: expected two ends, [START,STOP]",
    ),
    refused_phantoms(
        "geometry: arc and angles",
        ("geometry.arc=[0,90]", "geometry.degrees=[0,45]"),
        "geometry.arc: expected no geometry.degrees beside it, got both",
    ),
    refused_phantoms(
        "geometry: other number of angles than listed",
        ("geometry.angles=3", "geometry.degrees=[0,45]"),
        "geometry.angles: expected 2, as many as geometry.degrees, or nothing, got 3",
    ),
    _scan(
        "geometry: a detector that is far too narrow",
        LINES,
        (*_FULL, "geometry.detector_spacing=0.1", "data.white=2"),
        "expected a detector as wide as the image",
        "check the unit of geometry.detector_spacing",
    ),
    refused_phantoms(
        "geometry: bins that are far too narrow",
        ("geometry.detector_spacing=1e-9",),
        "expected geometry.detector_spacing of at least",
    ),
    _scan(
        "centre of rotation: given and asked for",
        LINES,
        (*_FULL, "geometry.find_offset=true", "geometry.detector_offset=1"),
        "geometry.find_offset: expected no geometry.detector_offset beside it, got both",
    ),
    _scan(
        "centre of rotation: angles too near to each other",
        LINES,
        ("geometry.arc=[0,1]", *_FULL, "geometry.find_offset=true"),
        "to find the centre of rotation",
        "give geometry.detector_offset=VALUE",
    ),
    refused_phantoms(
        "centre of rotation: of simulated measurements",
        ("geometry.find_offset=true",),
        "geometry.find_offset=true is for measured sinograms",
    ),
]
