"""Reconstructions as DICOM series, read back: values, geometry, and what they say of themselves."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_trees import SIZE, SPACING, uid, write_series
from gnclightning.cli import reconstruct
from gnclightning.data.dicom.derived import QUANTUM, Origin, write_derived_series
from gnclightning.data.dicom.headers import read_header
from gnclightning.data.dicom.index import find_files
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Slice
from gnclightning.errors import UserError
from run_folders import FAST, arrays, configure, tiny_prior

COUNT = 3
AFTER = 8


def awkward(dataset):
    """What must not be handed on: it belongs to the source's pixels, or to its maker."""
    dataset.SmallestImagePixelValue = dataset.PixelPaddingValue = 7
    dataset.ConvolutionKernel = "B30f"
    dataset.StudyID = "S1"
    dataset.FrameOfReferenceUID = uid("frame")
    dataset.SeriesNumber = 3
    dataset.add_new((0x6000, 0x0010), "US", SIZE)
    dataset.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "private")
    # An oblique series: rows go down a slope, columns stay level.
    dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]
    dataset.PatientName = "A^B"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ct")
    for patient in ("C001", "C002"):  # for training and validation
        write_series(root, patient, 1)
    write_series(root, "C027", COUNT, change=awkward)
    return root


@pytest.fixture(scope="module")
def folder(tree, tmp_path_factory) -> Path:
    """The run folder of the slices of one patient, made half as large."""
    path = tmp_path_factory.mktemp("run")
    prior = tiny_prior(path / "tiny.safetensors", (AFTER, AFTER))
    done = reconstruct(
        [
            *("data.name=ldct", f"data.path={tree}", f"data.cache={path / 'cache'}"),
            *("data.conversion_workers=0", f"data.size={AFTER}", f"data.count={COUNT}"),
            *(*FAST, f"prior.path={prior}", "output_dicom=true", f"output={path / 'run'}"),
            *("methods=[]", "start=fbp", "batch_size=2", "noise.relative=0.01"),
        ]
    )
    assert done == 0
    return path / "run"


@pytest.fixture(scope="module")
def written(folder) -> list[pydicom.FileDataset]:
    paths = sorted((folder / "dicom" / "series_1").iterdir())
    assert [path.name for path in paths] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    return [pydicom.dcmread(path) for path in paths]


def sources(tree: Path, patient: str = "C027") -> list[Slice]:
    found = [read_header(tree, file.file) for file in find_files(tree)]
    slices = [one for one in found if isinstance(one, Slice) and one.patient == patient]
    return sorted(slices, key=lambda one: one.position)


def hounsfield(dataset: pydicom.FileDataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def test_values_are_the_reconstructions_to_half_a_quantum(folder, written):
    low, high = Preprocessing().hounsfield_range
    images = arrays(folder)["preconditioned"].astype(np.float64)
    assert {float(dataset.RescaleSlope) for dataset in written} == {QUANTUM}
    for image, dataset in zip(images, written, strict=True):
        difference = np.abs(hounsfield(dataset) - (low + image * (high - low)))
        assert difference.max() <= QUANTUM / 2 + 1e-6
        assert (dataset.Rows, dataset.Columns) == (AFTER, AFTER)
        assert dataset.RescaleType == "HU"
    assert np.ptp(hounsfield(written[0])) > 100


def test_pixels_lie_where_they_did(tree, written):
    """The centre of each block of 2 x 2 pixels, by the equation of PS3.3, C.7.6.2.1.1."""
    for source, dataset in zip(sources(tree), written, strict=True):
        before = pydicom.dcmread(tree / source.file, stop_before_pixels=True)
        assert [float(v) for v in dataset.PixelSpacing] == [2 * SPACING, 2 * SPACING]
        for row, column in ((0, 0), (0, AFTER - 1), (AFTER - 1, 2)):
            block = [place(before, 2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]
            np.testing.assert_allclose(
                place(dataset, row, column), np.mean(block, axis=0), atol=1e-6
            )
        assert dataset.SliceThickness == before.SliceThickness
        assert dataset.SliceLocation == before.SliceLocation
        assert dataset.FrameOfReferenceUID == before.FrameOfReferenceUID


def place(dataset, row: int, column: int) -> np.ndarray:
    axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    spacing = [float(value) for value in dataset.PixelSpacing]
    corner = np.array(dataset.ImagePositionPatient, float)
    return corner + axes[0] * spacing[1] * column + axes[1] * spacing[0] * row


def test_they_say_what_they_are(tree, written):
    for source, dataset in zip(sources(tree), written, strict=True):
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert dataset.SeriesDescription == "GNC preconditioned, 20 views, Full Dose Images"
        assert "Parallel-beam sinogram (20 angles)" in dataset.DerivationDescription
        assert "noise of relative level 0.01" in dataset.DerivationDescription
        assert "preconditioned, prior tiny.safetensors" in dataset.DerivationDescription
        (reference,) = dataset.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.instance
        assert (dataset.PatientID, dataset.StudyInstanceUID) == ("C027", uid("C027"))
        assert str(dataset.PatientName) == "A^B"
        assert dataset.SeriesNumber == 1003
        for name in ("SmallestImagePixelValue", "PixelPaddingValue", "ConvolutionKernel"):
            assert name not in dataset
        assert not [tag for tag in dataset.keys() if tag.is_private or tag.group == 0x6000]  # noqa: SIM118


def test_identifiers_are_new_and_unique(tree, written):
    series = {dataset.SeriesInstanceUID for dataset in written}
    instances = [dataset.SOPInstanceUID for dataset in written]
    assert len(series) == 1
    assert len(set(instances)) == COUNT
    before = sources(tree)
    assert not series & {source.series for source in before}
    assert not set(instances) & {source.instance for source in before}
    for dataset in written:
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_this_package_reads_them_as_a_series(folder):
    """All checks of a slice's header pass, and positions keep their order."""
    root = folder / "dicom"
    found = [read_header(root, file.file) for file in find_files(root)]
    assert all(isinstance(one, Slice) for one in found)
    assert np.ptp(np.diff([one.position for one in found])) == pytest.approx(0, abs=1e-9)


ORIGIN = Origin("GNC", "how", "1.0")


def derived(tree: Path, folder: Path, images: np.ndarray, patient="C027") -> list[Path]:
    folder.mkdir(exist_ok=True)
    return write_derived_series(
        folder, tree, sources(tree, patient)[: len(images)], images, Preprocessing(), ORIGIN
    )


def test_equal_images_have_equal_identifiers(tree, tmp_path):
    images = np.random.default_rng(0).random((2, 4, 4), np.float32)
    one, two = (derived(tree, tmp_path / name, images)[0] for name in "ab")
    images[1, 2, 2] += 0.5
    other = derived(tree, tmp_path / "c", images)[0]
    first, second, third = (pydicom.dcmread(path) for path in (one, two, other))
    assert first.SOPInstanceUID == second.SOPInstanceUID != third.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != third.SeriesInstanceUID


def test_values_that_span_much_have_a_larger_quantum(tree, tmp_path):
    images = np.array([[[-3.0, 5.0], [0.123456, 0.5]]], np.float32)
    (path,) = derived(tree, tmp_path / "a", images)
    dataset = pydicom.dcmread(path)
    low, high = Preprocessing().hounsfield_range
    slope = float(dataset.RescaleSlope)
    assert QUANTUM < slope < 1
    expected = low + images[0].astype(np.float64) * (high - low)
    assert np.abs(hounsfield(dataset) - expected).max() <= slope / 2 + 1e-6


def test_images_that_are_no_numbers_are_left_out(tree, tmp_path):
    images = np.random.default_rng(0).random((3, 4, 4), np.float32)
    images[1, 0, 0] = np.nan
    paths = derived(tree, tmp_path / "a", images)
    found = [pydicom.dcmread(path).SourceImageSequence[0] for path in paths]
    expected = [sources(tree)[n].instance for n in (0, 2)]
    assert [one.ReferencedSOPInstanceUID for one in found] == expected
    assert derived(tree, tmp_path / "b", np.full((1, 4, 4), np.nan, np.float32)) == []


def test_each_series_has_a_folder_of_its_own(tree, tmp_path):
    both = [*sources(tree, "C001"), *sources(tree)[:1]]
    images = np.random.default_rng(0).random((2, 4, 4), np.float32)
    paths = write_derived_series(tmp_path, tree, both, images, Preprocessing(), ORIGIN)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["series_1/0001.dcm", "series_2/0001.dcm"]
    assert [pydicom.dcmread(path).PatientID for path in paths] == ["C001", "C027"]


def test_only_slices_of_dicom_series_can_be_written(prior):
    with pytest.raises(UserError, match=r"output_dicom: expected false with data\.name=ellipses"):
        configure(prior, Path("unused"), "output_dicom=true")
