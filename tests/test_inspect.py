"""`gnc-data inspect`: what it prints and writes, and how it fails."""

import csv
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_trees import ct_dataset, write, write_series
from gnclightning.cli import data
from gnclightning.data.dicom.inspection import inspect_tree
from gnclightning.data.dicom.records import Reason


@pytest.fixture
def tree(tmp_path):
    """Two patients, a low-dose series, a constant slice and a text."""
    root = tmp_path / "ct"
    write_series(root, "C001", 4)
    write_series(root, "C[0]2", 3)
    write_series(root, "C001", 2, "Low Dose Images")
    constant = ct_dataset("C001", 9)
    constant.PixelData = b"\x07\0" * 256
    write(constant, root / "constant")
    (root / "LICENSE").write_text("no image")
    return root


def run(tree, tmp_path, *more):
    output = f"output={tmp_path / 'sheets' / 'a.png'}"
    return data(["inspect", str(tree), output, "workers=0", "progress=false", *more])


def test_series_are_summed_up(tree):
    found = inspect_tree(tree, workers=0)
    assert [(s.patient, s.slices, s.size) for s in found.series] == [
        ("C001", 4, 16),
        ("C[0]2", 3, 16),
    ]
    first = found.series[0]
    assert (first.pixel_size, first.thickness, first.gap) == (0.75, 1.5, 2)
    assert -1000 <= first.low < -950
    assert 2950 < first.high <= 2998
    assert first.middle.shape == (16, 16)
    assert first.middle[0, 0] == 200
    assert [s.position for s in found.index.slices[:4]] == [0, 2, 4, 6]
    assert sorted(r.reason for r in found.index.rejections) == [
        Reason.CONSTANT,
        Reason.NOT_DICOM,
        Reason.OTHER_SERIES,
        Reason.OTHER_SERIES,
    ]


def test_processes_find_what_one_process_finds(tree):
    one, two = (inspect_tree(tree, workers=workers) for workers in (0, 2))
    assert one.index == two.index
    assert [(s.low, s.high) for s in one.series] == [(s.low, s.high) for s in two.series]


def test_it_prints_tables_and_writes_a_contact_sheet(tree, tmp_path, capsys):
    assert run(tree, tmp_path, f"manifest={tmp_path / 'lists' / 'm.csv'}") == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "2 patients, 2 series, 7 slices; 4 files rejected"
    row = next(line for line in lines if line.startswith("C[0]2"))
    assert row.startswith("C[0]2 Full Dose Images axial 3 16x16 0.75 1.5 2 ")
    assert "derived" not in out
    assert "not DICOM 1 LICENSE: no DICOM header" in lines
    assert "constant image 1 constant: all stored values are 7" in lines
    assert any(line.startswith("other series 2 ") for line in lines)
    with Image.open(tmp_path / "sheets" / "a.png") as sheet:
        values = np.asarray(sheet.convert("L"), float)
    assert values.shape[1] > values.shape[0] > 200
    assert values.std() > 20
    with (tmp_path / "lists" / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows].count("used") == 7
    assert len(rows) == 11


def test_reformats_are_left_out_unless_wanted_and_shown_as_such(tmp_path, capsys):
    def reformat(dataset):
        dataset.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [0, dataset.InstanceNumber, 0]

    root = tmp_path / "ct"
    write_series(root, "C001", 4)
    write_series(root, "C001", 5, "MPR", reformat)
    shown = []
    for settings in ([], ["plane=coronal"], ["plane=null"]):
        manifest = tmp_path / "m.csv"
        assert run(root, tmp_path, "series=null", f"manifest={manifest}", *settings) == 0
        with manifest.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["status"] == "used"]
        shown.append(Counter((row["plane"], row["image_type"]) for row in rows))
        out = " ".join(capsys.readouterr().out.split())
        assert ("C001 MPR coronal 5 16x16" in out and "derived" in out) == bool(settings)
        assert ("other plane 5 " in out and "coronal, not axial" in out) == (not settings)
    axial, coronal = (
        {("axial", "ORIGINAL\\PRIMARY\\AXIAL"): 4},
        {("coronal", "DERIVED\\SECONDARY\\MPR"): 5},
    )
    assert shown == [axial, coronal, axial | coronal]


def test_a_tree_without_ct_shows_why(tmp_path, capsys):
    root = tmp_path / "ct"
    root.mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm", read=False, download=False), root)
    manifest = tmp_path / "m.csv"
    assert run(root, tmp_path, f"manifest={manifest}") == 2
    out, err = capsys.readouterr()
    assert out.startswith("0 patients, 0 series, 0 slices; 1 file rejected")
    assert "Modality MR" in out
    assert err == (
        f"error: expected CT slices in {root}, got none among 1 files: not CT (1); "
        "give a folder with CT series\n"
    )
    assert "Modality MR" in manifest.read_text()
    assert not (tmp_path / "sheets").exists()


def test_real_slices_that_pydicom_carries(tmp_path, capsys):
    root = tmp_path / "ct"
    root.mkdir()
    for name in ("CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"):
        shutil.copy(get_testdata_file(name, read=False, download=False), root)
    assert run(root, tmp_path) == 0
    assert capsys.readouterr().out.startswith("3 patients, 3 series, 3 slices; 0 files rejected")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected inspect PATH or ellipses FILE, and settings, got 'nothing'"),
        (["show", "x"], "expected inspect PATH or ellipses FILE, and settings, got 'show x'"),
        (
            ["inspect", "x", "y"],
            "expected inspect PATH or ellipses FILE, and settings, got 'inspect x y'",
        ),
        (["inspect"], "path is required, give path=VALUE: Folder of the DICOM files"),
        (["inspect", "none"], "expected a folder of DICOM files at none, which does not exist"),
        (["inspect", "x", "seris=a"], "unknown setting seris: did you mean series?"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(arguments, message, capsys):
    assert data(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_debug_shows_where(capsys):
    assert data(["inspect", "none", "--debug"]) == 2
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


@pytest.mark.slow
def test_the_tree_to_try_things_on(tmp_path):
    """Real and made-up slices, in every transfer syntax that is read; what is left out, and why."""
    script = Path(__file__).parents[1] / "benchmarks" / "dicom_tree.py"
    subprocess.run([sys.executable, script, tmp_path / "ct"], check=True)
    found = inspect_tree(tmp_path / "ct", workers=0)
    patients = {s.patient: s.slices for s in found.series}
    real = {"1CT1": 1, "CQ500-CT-310": 1, "JXD191021006": 1}
    made_up = [name for name in patients if name not in real]
    assert patients == real | dict.fromkeys(made_up, 24)
    assert len(made_up) == 9
    assert all(-1100 < s.low < -900 and 600 < s.high < 1400 for s in found.series if s.slices > 1)
    reasons = [r.reason for r in found.index.rejections]
    assert Counter(reasons) == {
        Reason.OTHER_SERIES: 24,
        Reason.NOT_CT: 1,
        Reason.LOCALISER: 1,
        Reason.NOT_DICOM: 1,
    }
    written = {
        pydicom.dcmread(tmp_path / "ct" / s.file, stop_before_pixels=True).file_meta.get(
            "TransferSyntaxUID"
        )
        for s in found.index.slices
    }
    assert written >= {RLELossless, JPEGLSLossless, JPEG2000Lossless, ExplicitVRLittleEndian}
