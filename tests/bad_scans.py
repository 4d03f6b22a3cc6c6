"""Defective measured sinograms, and settings and run folders that do not fit a reconstruction."""

from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
from numpy.typing import NDArray

from bad_files import PAGE
from bad_inputs import Case, reconstruction
from gnclightning import build_run, cli
from gnclightning.reconstruction.chunks import Chunks
from own_images import write_hdf5
from run_folders import tiny_prior

ANGLES, BINS, SIZE = 20, 47, 32
LINES = np.random.default_rng(2).random((2, ANGLES, BINS), np.float32) + 4
_PRIOR = "prior.path=p.safetensors"
_SCAN = (_PRIOR, "data.name=sinogram")
_FULL = (f"geometry.angles={ANGLES}", f"geometry.detector_count={BINS}", "noise.relative=0.1")
_PHANTOMS = (_PRIOR, "data.name=ellipses", f"data.size={SIZE}", "data.count=2", "methods=[]")

Plant = Callable[[Path], object]


def _refused(what: str, plant: Plant, settings: Sequence[str], *says: str) -> Case:
    """A command with good weights, and what `plant` plants beside them."""

    def write(folder: Path) -> list[str]:
        tiny_prior(folder / "p.safetensors", (SIZE, SIZE))
        plant(folder)
        return reconstruction(*settings)

    return Case(what, write, cli.reconstruct, says)


def _scan(what: str, lines: NDArray, settings: Sequence[str], *says: str) -> Case:
    """Sinograms in `scan.npy`."""
    given = (*_SCAN, "data.path=scan.npy", *settings)
    return _refused(what, lambda folder: np.save(folder / "scan.npy", lines), given, *says)


def _beside(what: str, arrays: dict[str, NDArray], settings: Sequence[str], *says: str) -> Case:
    """Sinograms, or their counts, as `y` in `scan.h5`, and other arrays beside them."""
    given = (*_SCAN, "data.path=scan.h5", "data.key=y", *_FULL, *settings)
    whole = {"y": 1000 * np.exp(-LINES)} | arrays
    return _refused(what, lambda folder: write_hdf5(folder / "scan.h5", **whole), given, *says)


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

    return _refused(
        what, plant, (*_SCAN, "data.path=scans", "noise.relative=0.1", *settings), *says
    )


def _phantoms(what: str, settings: Sequence[str], *says: str) -> Case:
    return _refused(what, lambda folder: None, (*_PHANTOMS, *settings), *says)


def _folder(what: str, spoil: Plant, settings: Sequence[str], *says: str) -> Case:
    """A run folder in which a run has begun, and what `spoil` did to it."""

    def plant(folder: Path) -> None:
        with (
            chdir(folder),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            mock.patch.object(build_run, "run", return_value=None),
            mock.patch.object(Chunks, "finish", return_value=None),
        ):
            assert cli.reconstruct(reconstruction(*_PHANTOMS)) == 0
        spoil(folder)

    return _refused(what, plant, (*_PHANTOMS, *settings), *says)


def _other_weights(folder: Path) -> None:
    tiny_prior(folder / "p.safetensors", (SIZE, SIZE))
    content = bytearray((folder / "p.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "p.safetensors").write_bytes(content)


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
    _refused(
        "sinogram: a web page",
        lambda folder: (folder / "scan.npy").write_bytes(PAGE),
        (*_SCAN, "data.path=scan.npy"),
        "scan.npy",
        "write the file anew",
    ),
    _refused(
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
    _phantoms(
        "geometry: one end of an arc",
        ("geometry.arc=[0]",),
        "geometry.arc: expected two ends, [START,STOP]",
    ),
    _phantoms(
        "geometry: arc and angles",
        ("geometry.arc=[0,90]", "geometry.degrees=[0,45]"),
        "geometry.arc: expected no geometry.degrees beside it, got both",
    ),
    _phantoms(
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
    _phantoms(
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
    _phantoms(
        "centre of rotation: of simulated measurements",
        ("geometry.find_offset=true",),
        "geometry.find_offset=true is for measured sinograms",
    ),
]

RUNS = [
    _phantoms(
        "alpha: a constant without value",
        ("alpha.rule=constant",),
        "alpha.value: expected a number with rule=constant, got null",
    ),
    _phantoms(
        "alpha: a sweep over the run's own value",
        ("alpha.sweep=[0.25,0.5]",),
        "alpha.sweep: expected values other than alpha.value=0.5 and each other, got [0.25, 0.5]",
    ),
    _phantoms(
        "alpha: a sweep over a negative value",
        ("alpha.sweep=[1,-1]",),
        "alpha.sweep: expected > 0, got -1.0",
    ),
    _phantoms(
        "alpha: a sweep and the discrepancy principle",
        ("alpha.sweep=[1]", "alpha.rule=discrepancy"),
        "alpha.sweep: expected none with rule=discrepancy",
    ),
    _phantoms("alpha: no such rule", ("alpha.rule=discrepency",), "did you mean discrepancy?"),
    _phantoms("alpha: a discrepancy of 0", ("alpha.tau=0",), "alpha.tau: expected > 0, got 0"),
    _phantoms(
        "noise: none, and no weight of total variation",
        ("noise.relative=0", "methods=[tv]", "alpha.rule=constant", "alpha.value=1"),
        "tv.weight=null derives the weight from the noise level, which is 0: give",
    ),
    _phantoms(
        "noise: weights of simulated measurements", ("noise.weights=transmission",), "sinogram"
    ),
    _phantoms("processes: none", ("devices=0",), "devices: expected >= 1, <= 1024, got 0"),
    _phantoms(
        "batch: neither a number nor auto",
        ("batch_size=many",),
        "batch_size: expected auto or a number of images, got 'many'",
    ),
    _phantoms("chunks: empty", ("chunk_size=0",), "chunk_size: expected >= 1, got 0"),
    _phantoms(
        "starts: all the same",
        ("starts=3", "start=fbp"),
        "starts: expected 1 with start=fbp, which is the same each time, got 3: give start=random",
    ),
    _phantoms("starts: none", ("starts=0",), "starts: expected >= 1, <= 1000, got 0"),
    _phantoms(
        "DICOM output: of phantoms",
        ("output_dicom=true",),
        "output_dicom: expected false with data.name=ellipses, which is no DICOM series",
    ),
    _folder(
        "run folder: other settings than those that it began with",
        lambda folder: None,
        ("seed=5",),
        "expected the settings that the run in run began with, got seed=5 (before: 0)",
        "overwrite=true",
    ),
    _folder(
        "run folder: other weights than those that it began with",
        _other_weights,
        (),
        "got other weights of the prior: give those, or overwrite=true",
    ),
    _folder(
        "run folder: damaged settings",
        lambda folder: (folder / "run" / "config.yaml").write_text("sead: 3\n"),
        (),
        "expected the settings of a run in run/config.yaml",
        "overwrite=true",
    ),
    _refused(
        "run folder: files that are no run",
        lambda folder: ((folder / "run").mkdir(), (folder / "run" / "thesis.tex").touch()),
        _PHANTOMS,
        "expected an empty run folder, got run with files in it: give overwrite=true",
    ),
    _refused(
        "run folder: a file",
        lambda folder: (folder / "run").touch(),
        _PHANTOMS,
        "expected a folder at output=run, got a file: move it",
    ),
]
