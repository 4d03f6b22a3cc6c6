"""Reconstructions of DICOM series as NIfTI volumes: values, and where voxels are."""

import stat
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from dicom_trees import SIZE, SPACING, write_series
from gnclightning.cli import reconstruct
from gnclightning.data.dicom.headers import read_header
from gnclightning.data.dicom.index import find_files
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Slice
from gnclightning.data.dicom.volume import write_volumes
from gnclightning.errors import UserError
from run_folders import FAST, arrays, configure, tiny_prior

COUNT, AFTER = 3, 8
PROCESS = Preprocessing(size=AFTER)


def oblique(dataset):
    """Rows go down a slope, columns stay level."""
    dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]


def sources(root: Path) -> list[Slice]:
    found = [read_header(root, file.file) for file in find_files(root)]
    slices = [one for one in found if isinstance(one, Slice)]
    return sorted(slices, key=lambda one: one.position or 0.0)


def images(count: int = COUNT, size: int = AFTER) -> np.ndarray:
    return np.random.default_rng(0).random((count, size, size), dtype=np.float32)


def placed(volume: nibabel.Nifti1Image, row: float, column: float, number: float) -> np.ndarray:
    """Where a voxel is, in DICOM's coordinates."""
    return (volume.affine @ [row, column, number, 1])[:3] * [-1, -1, 1]


def test_values_are_hounsfield_units_slice_by_slice(tmp_path):
    write_series(tmp_path / "ct", "C001", COUNT)
    given = images()
    given[1, 2, 3] = np.nan
    (path,) = write_volumes(tmp_path, tmp_path / "ct", sources(tmp_path / "ct"), given, PROCESS)
    volume = nibabel.load(path)
    low, high = PROCESS.hounsfield_range
    assert volume.get_data_dtype() == np.float32
    expected = np.moveaxis(low + given.astype(np.float64) * (high - low), 0, -1)
    np.testing.assert_allclose(volume.get_fdata(), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [SIZE, SIZE // 2])
def test_voxels_lie_where_the_source_says(size, tmp_path):
    """By its four corners, as edges of the image: pixels of half the number are twice as large."""
    write_series(tmp_path / "ct", "C001", COUNT, change=oblique)
    slices = sources(tmp_path / "ct")
    (path,) = write_volumes(tmp_path, tmp_path / "ct", slices, images(size=size), PROCESS)
    volume = nibabel.load(path)
    assert (volume.header["sform_code"], volume.header["qform_code"]) == (1, 1)
    assert volume.header.get_xyzt_units()[0] == "mm"
    for number, source in enumerate(slices):
        header = pydicom.dcmread(tmp_path / "ct" / source.file, stop_before_pixels=True)
        across, down = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
        first = np.array(header.ImagePositionPatient, float)
        for row in (0, 1):
            for column in (0, 1):
                ours = placed(volume, row * size - 0.5, column * size - 0.5, number)
                edge = SPACING * (np.array([row, column]) * SIZE - 0.5)
                np.testing.assert_allclose(
                    ours, first + edge[0] * down + edge[1] * across, atol=1e-4
                )
    assert volume.header.get_zooms()[:2] == pytest.approx([SPACING * SIZE / size] * 2)


def test_positions_that_no_affine_holds_are_left_out(tmp_path):
    for name, change in {
        "missing": lambda d: delattr(d, "ImagePositionPatient"),
        "uneven": lambda d: d.ImagePositionPatient.__setitem__(
            2, float(d.ImagePositionPatient[2]) ** 2
        ),
    }.items():
        root = tmp_path / name
        write_series(root, "C001", COUNT, change=change)
        slices = sources(root)
        assert len(slices) == COUNT
        (path,) = write_volumes(root, root, slices, images(), PROCESS)
        volume = nibabel.load(path)
        assert (volume.header["sform_code"], volume.header["qform_code"]) == (0, 0)
        assert volume.header.get_zooms()[0] == pytest.approx(SPACING * SIZE / AFTER)


def settings(tree: Path, folder: Path, *more: str) -> list[str]:
    prior = tiny_prior(folder / "tiny.safetensors", (AFTER, AFTER))
    return [
        *("data.name=ldct", f"data.path={tree}", f"data.cache={folder / 'cache'}"),
        *("data.conversion_workers=0", f"data.size={AFTER}", f"data.count={COUNT}"),
        *(*FAST, f"prior.path={prior}", "output_nifti=true", f"output={folder / 'run'}"),
        *("methods=[]", "start=fbp", "noise.relative=0.01", *more),
    ]


@pytest.fixture
def tree(tmp_path) -> Path:
    root = tmp_path / "ct"
    for patient in ("C001", "C002"):  # for training and validation
        write_series(root, patient, 1)
    write_series(root, "C027", COUNT)
    return root


def test_a_run_writes_them_whole_or_not_at_all(tree, tmp_path):
    arguments = settings(tree, tmp_path)
    assert reconstruct(arguments) == 0
    folder = tmp_path / "run"
    (path,) = (folder / "nifti").iterdir()
    assert path.name == "series_1.nii.gz"
    assert stat.S_IMODE((folder / "nifti").stat().st_mode) == 0o755
    volume = nibabel.load(path)
    low, high = PROCESS.hounsfield_range
    ours = low + arrays(folder)["preconditioned"].astype(float) * (high - low)
    np.testing.assert_allclose(np.moveaxis(volume.get_fdata(), -1, 0), ours, rtol=1e-5, atol=1e-3)
    assert not (folder / "dicom").exists()
    assert not list(folder.glob(".nifti-*"))
    # What a killed process left goes, and so does all with the run that is replaced.
    (folder / ".nifti-left").mkdir()
    (folder / "nifti" / "series_2.nii.gz").touch()
    assert reconstruct([*arguments, "overwrite=true"]) == 0
    assert [file.name for file in (folder / "nifti").iterdir()] == ["series_1.nii.gz"]
    assert not (folder / ".nifti-left").exists()


def test_without_nibabel_it_is_said_before_any_work(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert reconstruct(settings(tree, tmp_path)) == 2
    assert "pip install 'gnclightning[nifti]', or leave output_nifti out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()


def test_phantoms_have_no_series(prior):
    with pytest.raises(UserError, match=r"output_nifti: expected false with data\.name=ellipses"):
        configure(prior, Path("unused"), "output_nifti=true")
