"""Finding CT series: which slices are used, in which order, and what is rejected."""

import shutil

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from dicom_defects import DEFECTS, damaged
from dicom_trees import SPACING, ct_dataset, uid, write, write_series
from gnclightning.data.dicom.headers import read_header
from gnclightning.data.dicom.index import build_index, find_files
from gnclightning.data.dicom.parallel import mapped
from gnclightning.data.dicom.records import Reason, Rejection, Slice
from gnclightning.errors import UserError


def index(root, **arguments):
    files = [found.file for found in find_files(root)]
    return build_index(root, files, **{"workers": 0, **arguments})


def reasons(found):
    return {rejection.file: rejection.reason for rejection in found.rejections}


def places(found):
    return [(s.patient, s.position) for s in found.slices]


def test_a_slice_is_described_by_its_header(tmp_path):
    write(ct_dataset("C004", 3), tmp_path / "folder" / "x")
    found = read_header(tmp_path, "folder/x")
    assert found == Slice(
        file="folder/x",
        patient="C004",
        series=uid("C004", "Full Dose Images"),
        instance=uid("C004", "Full Dose Images", 3),
        description="Full Dose Images",
        image_type="ORIGINAL\\PRIMARY\\AXIAL",
        size=16,
        pixel_size=SPACING,
        thickness=1.5,
        orientation=(1, 0, 0, 0, 1, 0),
        position=6,
        location=6,
        slope=2,
        intercept=-1000,
        padding=(),
    )


def test_slices_are_sorted_by_position_whatever_their_files_are_named(tmp_path):
    write_series(tmp_path, "C009", 20)
    write_series(tmp_path, "C001", 20)
    found = index(tmp_path)
    assert places(found) == [(p, 2.0 * n) for p in ("C001", "C009") for n in range(20)]
    names = [s.file for s in found.slices]
    assert names != sorted(names)
    assert found.rejections == ()


def test_the_position_is_taken_along_the_normal_of_the_slices(tmp_path):
    """Coronal slices: x runs to the patient's left, rows downwards, so the normal is +y."""

    def coronal(dataset):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [5, -3 * (dataset.InstanceNumber % 3), 100]
        del dataset.SliceLocation

    write_series(tmp_path, change=coronal)
    found = index(tmp_path, plane="coronal")
    assert [s.position for s in found.slices] == [-6, -3, 0]
    assert [s.orientation for s in found.slices] == [(1, 0, 0, 0, 0, -1)] * 3


def tilted(degrees, axis=0):
    """Orientation of axial slices turned about x or y."""
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return [1, 0, 0, 0, cos, -sin] if axis == 0 else [cos, 0, -sin, 0, 1, 0]


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([-1, 0, 0, 0, 1, 0], "axial"),
        ([0.8, 0.6, 0, -0.6, 0.8, 0], "axial"),
        (tilted(30), "axial"),
        (tilted(-44), "axial"),
        (tilted(44, 1), "axial"),
        (tilted(46), "coronal"),
        (tilted(46, 1), "sagittal"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        # The normal is (1, 1, 1) / sqrt(3), 55 degrees from each axis.
        ([0.5**0.5, -(0.5**0.5), 0, 6**-0.5, 6**-0.5, -2 * 6**-0.5], "oblique"),
    ],
)
def test_slices_lie_in_the_plane_whose_axis_is_within_45_degrees(tmp_path, orientation, plane):
    def turn(dataset):
        dataset.ImageOrientationPatient = [round(a, 6) for a in orientation]
        dataset.ImagePositionPatient = [2 * dataset.InstanceNumber] * 3

    write_series(tmp_path, "C001", 2)
    write_series(tmp_path, "C002", 3, change=turn)
    for wanted in ("axial", "coronal", "sagittal", None):
        found = index(tmp_path, plane=wanted)
        used = [s.plane for s in found.slices]
        expected = ["axial"] * 2 + [plane] * 3
        assert used == [one for one in expected if wanted in (None, one)]
        assert sorted((r.reason, r.detail) for r in found.rejections) == sorted(
            (Reason.OTHER_PLANE, f"{one}, not {wanted}")
            for one in expected
            if wanted not in (None, one)
        )


def test_slices_that_do_not_say_how_they_lie_are_used(tmp_path):
    def strip(dataset):
        del dataset.ImageOrientationPatient, dataset.SOPClassUID, dataset.ImageType

    write_series(tmp_path, change=strip)
    for plane in ("axial", "coronal", None):
        found = index(tmp_path, plane=plane)
        assert [(s.plane, s.image_type) for s in found.slices] == [("", "")] * 3
        assert found.rejections == ()


def test_reformats_do_not_decide_which_series_are_of_full_dose(tmp_path):
    def coronal(dataset):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(tmp_path, series="thorax")
    write_series(tmp_path, series="Full Dose coronal", change=coronal)
    assert {s.description for s in index(tmp_path).slices} == {"thorax"}


def test_without_positions_the_slice_location_orders(tmp_path):
    def remove(dataset):
        del dataset.ImagePositionPatient
        dataset.SliceLocation = -2 * dataset.InstanceNumber

    write_series(tmp_path, change=remove)
    assert [s.position for s in index(tmp_path).slices] == [-6, -4, -2]


def test_only_full_dose_series_are_used_where_there_are_any(tmp_path):
    write_series(tmp_path, "C001", series="Full Dose Images")
    low = write_series(tmp_path, "C002", series="Low Dose Images")
    found = index(tmp_path)
    assert {s.patient for s in found.slices} == {"C001"}
    expected = [str(path.relative_to(tmp_path)) for path in low]
    assert reasons(found) == dict.fromkeys(expected, Reason.OTHER_SERIES)
    assert len(index(tmp_path, series=None).slices) == 6
    shutil.rmtree(tmp_path / "C001")
    assert len(index(tmp_path).slices) == 3


@pytest.mark.parametrize("where", ["folder", "description"])
def test_the_dose_is_known_from_the_folder_or_the_description(tmp_path, where):
    full = ct_dataset("C001", 0, "FULL DOSE" if where == "description" else "chest")
    folder = "7-full dose images" if where == "folder" else "7"
    write(full, tmp_path / folder / "a")
    write(ct_dataset("C001", 0, "chest 2"), tmp_path / "8" / "a")
    assert [s.file for s in index(tmp_path).slices] == [f"{folder}/a"]


def test_processes_find_what_one_process_finds(tmp_path):
    for patient in ("C001", "C002", "C003"):
        write_series(tmp_path, patient, 10)
    (tmp_path / "LICENSE").write_text("no image")
    found = index(tmp_path, workers=2)
    assert len(found.slices) == 30
    assert found == index(tmp_path)


def test_order_of_files_does_not_matter(tmp_path):
    write_series(tmp_path, "C001", 9)
    write(ct_dataset("C001", 4), tmp_path / "copy")
    files = [found.file for found in find_files(tmp_path)]
    assert build_index(tmp_path, files, workers=0) == build_index(tmp_path, files[::-1], workers=0)


def test_patients_and_series_in_one_folder_are_told_apart(tmp_path):
    for number in range(3):
        for patient in ("B", "A"):
            for series in ("first", "second"):
                path = tmp_path / f"{number}{patient}{series}"
                write(ct_dataset(patient, number, series), path)
    found = index(tmp_path)
    assert [s.patient for s in found.slices] == ["A"] * 6 + ["B"] * 6
    assert [s.position for s in found.slices] == [0, 2, 4] * 4
    assert len({s.series for s in found.slices[:3]}) == 1
    assert len({s.series for s in found.slices}) == 4


@pytest.mark.parametrize("name", DEFECTS)
def test_headers_with_defects_are_rejected_with_their_reason(tmp_path, name):
    change, reason, detail = DEFECTS[name]
    dataset = ct_dataset()
    write(dataset, tmp_path / "good")
    assert isinstance(read_header(tmp_path, "good"), Slice)
    change(dataset)
    write(dataset, tmp_path / "bad")
    found = read_header(tmp_path, "bad")
    assert isinstance(found, Rejection)
    assert found.reason == reason
    assert detail in found.detail
    if name != "without PatientID":
        assert found.patient == "C001"


@pytest.mark.parametrize("encoding", ["implicit", "big endian"])
def test_other_uncompressed_encodings(tmp_path, encoding):
    """A missing byte is seen, and none that is there is missed."""
    dataset = ct_dataset()
    dataset.file_meta.TransferSyntaxUID = {
        "implicit": "1.2.840.10008.1.2",
        "big endian": "1.2.840.10008.1.2.2",
    }[encoding]
    path = write(dataset, tmp_path / "a")
    assert isinstance(read_header(tmp_path, "a"), Slice)
    path.write_bytes(path.read_bytes()[:-1])
    found = read_header(tmp_path, "a")
    assert (found.reason, found.detail) == (Reason.TRUNCATED, "511 of 512 bytes")


def test_damaged_and_other_files_are_rejected(tmp_path):
    whole = write(ct_dataset(), tmp_path / "whole").read_bytes()
    for name, (content, _) in damaged(whole).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    expected = {name: reason for name, (_, reason) in damaged(whole).items()}
    assert reasons(index(tmp_path)) == {**expected, "link": Reason.UNREADABLE}


def test_a_header_cut_anywhere_raises_nothing(tmp_path):
    whole = write(ct_dataset(), tmp_path / "whole").read_bytes()
    for length in range(0, len(whole), 31):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert isinstance(read_header(tmp_path, "cut"), Rejection)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_small.dcm", Reason.NOT_CT),
        ("rtplan.dcm", Reason.NOT_CT),
        ("rtplan_truncated.dcm", Reason.NOT_CT),
        ("liver_1frame.dcm", Reason.NOT_CT),
        ("test-SR.dcm", Reason.NOT_CT),
        ("image_dfl.dcm", Reason.NOT_CT),
        ("no_meta.dcm", Reason.NOT_DICOM),
        ("dicomdirtests/DICOMDIR", Reason.MISSING_TAG),
        ("zipMR.gz", Reason.NOT_DICOM),
        ("badVR.dcm", Reason.NOT_CT),
    ],
)
def test_files_of_other_kinds_that_pydicom_carries(tmp_path, name, reason):
    shutil.copy(get_testdata_file(name, read=False, download=False), tmp_path / "x")
    found = read_header(tmp_path, "x")
    assert isinstance(found, Rejection)
    assert found.reason == reason


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_real_ct_slices_that_pydicom_carries(tmp_path, name):
    shutil.copy(get_testdata_file(name, read=False, download=False), tmp_path / "x")
    assert isinstance(read_header(tmp_path, "x"), Slice)


def test_what_does_not_fit_its_series_is_rejected(tmp_path):
    write_series(tmp_path, count=5)
    folder = "C001/01-01-2018-study/1.000000-Full Dose Images-57239"

    def add(name, number, size=16, **values):
        dataset = ct_dataset(number=number, size=size)
        dataset.update(values)
        for key, value in values.items():
            setattr(dataset, key, value)
        write(dataset, tmp_path / folder / name)

    add("small", 11, size=8)
    add("turned", 12, ImageOrientationPatient=[0, 1, 0, -1, 0, 0])
    add("coarse", 13, PixelSpacing=[1, 1])
    add("copy", 2)
    add("same place", 14, ImagePositionPatient=[-6, -6, 4.0005])
    found = index(tmp_path)
    assert [s.position for s in found.slices] == [0, 2, 4, 6, 8]
    assert {file.rpartition("/")[2]: reason for file, reason in reasons(found).items()} == {
        "small": Reason.ODD_SIZE,
        "turned": Reason.ODD_GEOMETRY,
        "coarse": Reason.ODD_GEOMETRY,
        "copy": Reason.DUPLICATE,
        "same place": Reason.SAME_POSITION,
    }
    details = {r.reason: r.detail for r in found.rejections}
    assert details[Reason.ODD_SIZE] == "8 x 8 pixels, the series has 16 x 16 pixels"
    assert details[Reason.DUPLICATE].endswith(f"of {folder}/1-017.dcm")
    assert "odd geometry (2)" in found.describe_rejections()


def test_files_are_found_with_size_and_time(tmp_path):
    path = write(ct_dataset(), tmp_path / "b" / "c")
    (tmp_path / "a").write_bytes(b"123")
    found = find_files(str(tmp_path))
    assert [(f.file, f.size) for f in found] == [("a", 3), ("b/c", path.stat().st_size)]
    assert found[1].changed == path.stat().st_mtime_ns


def test_what_may_be_read_is_known_before(tmp_path):
    write(ct_dataset(), tmp_path / "a")
    (tmp_path / "link").symlink_to("nowhere")
    assert [(f.file, f.readable) for f in find_files(tmp_path)] == [("a", True), ("link", False)]


def test_places_without_files(tmp_path):
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for name, message in (
        ("none", "none, which does not exist: mend the path"),
        ("file", "a folder of DICOM files at .*file, a file: mend the path"),
        ("empty", "expected DICOM files in .*empty, got none: put some there"),
    ):
        with pytest.raises(UserError, match=message):
            find_files(tmp_path / name)


def test_folders_without_permission(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(UserError, match=r"readable folders below .*Permission denied: .*check"):
        find_files(tmp_path)


def _die(item):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_reported():
    with pytest.raises(UserError, match="expected 1 working processes, got one that was killed"):
        list(mapped(_die, [1, 2], workers=1))


def test_mapping_keeps_the_order_with_many_more_items_than_tasks():
    assert list(mapped(np.negative, range(400), workers=1)) == [-n for n in range(400)]
