"""The cache of converted slices: what it holds, when it is made, and going on after a kill."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_caches import SMALL, images, opened
from dicom_trees import INTERCEPT, SLOPE, SPACING, ct_dataset, stored_pixels, write, write_series
from gnclightning.data.dicom import cache as cache_module
from gnclightning.data.dicom import cache_file
from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.cache_file import read_cache
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Reason
from gnclightning.errors import UserError


def test_images_are_the_preprocessed_slices_in_order(tmp_path):
    write_series(tmp_path / "ct", "C002", 3)
    write_series(tmp_path / "ct", "C001", 4)
    cache = opened(tmp_path)
    assert cache.patients == ("C001", "C002")
    keys = [("C001", n) for n in range(4)] + [("C002", n) for n in range(3)]
    expected = [
        SMALL.apply(SLOPE * stored_pixels(*key) + INTERCEPT, s.instance)
        for key, s in zip(keys, cache.slices, strict=True)
    ]
    np.testing.assert_array_equal(images(cache), expected)
    assert cache.select(["C002"]) == [4, 5, 6]
    assert cache.pixel_size(0) == 2 * SPACING
    assert cache.process == SMALL


def test_a_finished_cache_is_used_again(tmp_path, monkeypatch):
    write_series(tmp_path / "ct")
    first = opened(tmp_path)
    monkeypatch.setattr(cache_module, "build_index", None)
    monkeypatch.setattr(cache_module, "convert", None)
    assert opened(tmp_path) == first


def test_processes_convert_what_one_process_converts(tmp_path):
    for patient in ("C001", "C002"):
        write_series(tmp_path / "ct", patient, 20)
    (tmp_path / "ct" / "LICENSE").write_text("no image")
    first = opened(tmp_path)
    content = first.path.read_bytes(), first.path.with_suffix(".csv").read_bytes()
    first.path.unlink()
    second = opened(tmp_path, workers=2)
    assert second == first
    assert (second.path.read_bytes(), second.path.with_suffix(".csv").read_bytes()) == content


def test_changes_of_files_or_options_make_another_cache(tmp_path):
    paths = write_series(tmp_path / "ct", "C001", 4)
    known = [opened(tmp_path).path]
    for change in (
        {"size": 4},
        {"dequantise": False},
        {"intensity": "window"},
        {"window": (-500.0, 500.0)},
        {"antialias": True},
        {"seed": 1},
    ):
        known.append(opened(tmp_path, replace(SMALL, **change)).path)
    known.append(opened(tmp_path, series=None).path)
    known.append(opened(tmp_path, plane=None).path)
    os.utime(paths[0], ns=(0, 0))
    known.append(opened(tmp_path).path)
    paths[1].rename(paths[1].with_name("renamed.dcm"))
    known.append(opened(tmp_path).path)
    paths[2].unlink()
    known.append(opened(tmp_path).path)
    assert len(set(known)) == len(known) == 12
    assert all(path.exists() for path in known)
    assert opened(tmp_path).path == known[-1]


def test_a_decoder_that_is_installed_later_is_used(tmp_path, monkeypatch):
    write_series(tmp_path / "ct", "C001", 2)
    compress = partial(Dataset.compress, transfer_syntax_uid=RLELossless)
    write_series(tmp_path / "ct", "C002", 3, change=partial(compress, generate_instance_uid=False))
    with monkeypatch.context() as without:
        without.setattr("pydicom.pixels.common.CoderBase.is_available", False)
        cache = opened(tmp_path)
        assert cache.patients == ("C001",)
        assert [r.reason for r in cache.rejections] == [Reason.NO_DECODER] * 3
    cache = opened(tmp_path)
    assert [s.patient for s in cache.slices] == ["C001"] * 2 + ["C002"] * 3
    assert cache.rejections == ()


def _failing(monkeypatch, errors, headers):
    """Let reading files (their headers, or all of them) fail for the first times."""
    original, left = pydicom.dcmread, list(errors)

    def read(*given, **options):
        if options.get("stop_before_pixels", False) == headers and left and (error := left.pop(0)):
            raise error
        return original(*given, **options)

    monkeypatch.setattr(pydicom, "dcmread", read)


FAILURES = (None, OSError(5, "Input/output error"), MemoryError(), FileNotFoundError(2, "gone"))


@pytest.mark.parametrize("headers", [True, False])
def test_what_the_system_failed_to_read_is_tried_again(tmp_path, monkeypatch, headers):
    """No cache without these slices is finished; those that were converted stay."""
    write_series(tmp_path / "ct", "C001", 8)
    whole = open_cache(tmp_path / "ct", tmp_path / "whole", SMALL, workers=0)
    _failing(monkeypatch, FAILURES, headers)
    with pytest.raises(
        UserError,
        match=r"every file in .* may be read, got 3 failures, such as C001/.*"
        r" \(Input/output error\): give the command again, which goes on",
    ):
        opened(tmp_path)
    assert not list((tmp_path / "cache").glob("*.csv"))

    converted = []
    original = cache_module.convert
    monkeypatch.setattr(
        cache_module, "convert", lambda *given: converted.append(given) or original(*given)
    )
    cache = opened(tmp_path)
    assert len(converted) == (8 if headers else 3)
    assert cache.rejections == ()
    assert cache.path.read_bytes() == whole.path.read_bytes()


def test_a_file_that_may_not_be_read_stops_nothing_until_it_may(tmp_path, monkeypatch):
    """Permissions change no time of the file; they are looked at all the same."""
    paths = write_series(tmp_path / "ct", "C001", 3)
    with monkeypatch.context() as denied:
        denied.setattr("os.access", lambda path, mode: Path(path) != paths[0])
        _failing(denied, [PermissionError(13, "Permission denied")], headers=True)
        cache = opened(tmp_path)
        assert [(r.reason, r.detail) for r in cache.rejections] == [
            (Reason.UNREADABLE, "Permission denied")
        ]
    assert len(opened(tmp_path).slices) == 3


def test_a_tree_that_has_moved_keeps_its_cache(tmp_path):
    write_series(tmp_path / "ct")
    first = opened(tmp_path).path
    (tmp_path / "ct").rename(tmp_path / "moved")
    again = open_cache(tmp_path / "moved", tmp_path / "cache", SMALL, workers=0)
    assert again.path == first


def test_a_cache_inside_the_tree_is_no_part_of_it(tmp_path):
    write_series(tmp_path / "ct")
    folder = tmp_path / "ct" / "cache"
    first, second = (open_cache(tmp_path / "ct", folder, SMALL, workers=0) for _ in range(2))
    assert first == second
    assert first.rejections == ()
    with pytest.raises(UserError, match="to be another folder than that of the DICOM files"):
        open_cache(tmp_path / "ct", tmp_path / "ct", SMALL)


KILLED = """
import os, signal, sys
from pathlib import Path
from gnclightning.data.dicom import cache
from gnclightning.data.dicom.preprocessing import Preprocessing

converted = 0

def convert(*arguments, original=cache.convert):
    global converted
    converted += 1
    if converted == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

cache.convert = convert
root = Path(sys.argv[1])
cache.open_cache(root / "ct", root / "cache", Preprocessing(size=8), workers=0)
"""


def test_a_killed_conversion_goes_on_where_it_was(tmp_path, monkeypatch):
    """Of 39 converted slices 32 had been recorded; the others are converted again."""
    for patient in ("C001", "C002"):
        write_series(tmp_path / "ct", patient, 30)
    broken = ct_dataset("C003")
    broken.PixelData = b"\0" * 512
    write(broken, tmp_path / "ct" / "constant")
    whole = open_cache(tmp_path / "ct", tmp_path / "whole", SMALL, workers=0)

    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    left = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert left == [".lock", f"{whole.path.stem}.unfinished.h5"]
    with pytest.raises(UserError, match=r"expected a finished cache at .*, got half of one"):
        read_cache(tmp_path / "cache" / left[1])

    converted = []
    original = cache_module.convert
    monkeypatch.setattr(
        cache_module, "convert", lambda *given: converted.append(given) or original(*given)
    )
    monkeypatch.setattr(cache_module, "build_index", None)
    resumed = opened(tmp_path)
    assert len(converted) == 61 - 32
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert resumed.path.with_suffix(".csv").read_bytes() == (
        whole.path.with_suffix(".csv").read_bytes()
    )


def test_an_interrupted_conversion_keeps_what_it_has(tmp_path, monkeypatch):
    write_series(tmp_path / "ct", "C001", 12)
    calls = []
    original = cache_module.convert

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(cache_module, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path)
    cache = opened(tmp_path)
    assert len(calls) == 6 + 7
    fresh = open_cache(tmp_path / "ct", tmp_path / "fresh", SMALL, workers=0)
    np.testing.assert_array_equal(images(cache), images(fresh))


def test_an_unfinished_cache_that_is_damaged_is_made_anew(tmp_path):
    write_series(tmp_path / "ct")
    path = opened(tmp_path).path
    content = path.read_bytes()
    path.rename(path.with_suffix(".unfinished.h5"))
    path.with_suffix(".unfinished.h5").write_bytes(content[:100])
    (path.parent / f".{path.stem}.unfinished-left").write_bytes(b"of a killed process")
    assert opened(tmp_path).path.read_bytes() == content
    assert {p.name for p in path.parent.iterdir()} == {
        ".lock",
        path.name,
        path.with_suffix(".csv").name,
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"half"), "got a file that HDF5 cannot open: delete it"),
        (
            lambda path: _set_attribute(path, "format", 0),
            f"a cache of format {cache_file.FORMAT} at .*, got format 0: delete it, and it will be",
        ),
        (lambda path: _set_attribute(path, "complete", False), "got half of one: delete it"),
    ],
)
def test_caches_that_cannot_be_used_are_refused(tmp_path, damage, message):
    write_series(tmp_path / "ct")
    damage(opened(tmp_path).path)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def _set_attribute(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def test_another_format_has_another_name(tmp_path, monkeypatch):
    write_series(tmp_path / "ct")
    first = opened(tmp_path)
    for module in (cache_module, cache_file):
        monkeypatch.setattr(module, "FORMAT", cache_file.FORMAT + 1)
    second = opened(tmp_path)
    assert first.path != second.path
    np.testing.assert_array_equal(images(first), images(second))


def test_trees_without_any_usable_slice(tmp_path):
    root = tmp_path / "ct"
    root.mkdir()
    (root / "text").write_text("text")
    with pytest.raises(UserError, match=r"got none among 1 files: not DICOM \(1\); `gnc-data"):
        opened(tmp_path)
    constant = ct_dataset()
    constant.PixelData = b"\x07\0" * 256
    write(constant, root / "constant")
    for _ in range(2):
        with pytest.raises(UserError, match=r"among 2 files: .*constant image \(1\)"):
            opened(tmp_path)


def test_sizes_may_differ_if_slices_are_resized(tmp_path):
    for number in range(2):
        write(ct_dataset("C001", number), tmp_path / "ct" / f"a{number}")
        write(ct_dataset("C002", number, size=32), tmp_path / "ct" / f"b{number}")
    cache = opened(tmp_path)
    assert [cache.pixel_size(n) for n in range(4)] == [2 * SPACING] * 2 + [4 * SPACING] * 2
    with pytest.raises(UserError, match=r"slices of one size .* got \[16, 32\] pixels: give a"):
        opened(tmp_path, Preprocessing(size=None))


def test_slices_keep_their_size_if_they_are_not_resized(tmp_path):
    write_series(tmp_path / "ct")
    cache = opened(tmp_path, Preprocessing(size=None))
    assert cache.size == 16
    assert cache.pixel_size(0) == SPACING


def test_a_second_process_waits_for_the_first(tmp_path):
    """It holds no lock of its own while the first one works, and converts nothing."""
    write_series(tmp_path / "ct", "C001", 4)
    folder = tmp_path / "cache"
    folder.mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from gnclightning.data.dicom import cache\n"
        "from gnclightning.data.dicom.preprocessing import Preprocessing\n"
        "print('ready', flush=True); cache.convert = None\n"
        "root = Path(sys.argv[1])\n"
        "opened = cache.open_cache(root / 'ct', root / 'cache', Preprocessing(size=8), workers=0)\n"
        "print(len(opened.slices))"
    )
    with cache_module._locked(folder / ".lock"):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)
        first = open_cache(tmp_path / "ct", tmp_path / "elsewhere", SMALL, workers=0)
        for suffix in (".csv", ".h5"):
            path = first.path.with_suffix(suffix)
            path.rename(Path(folder, path.name))
    assert second.communicate(timeout=60)[0] == "4\n"
