"""Atomic writes, formats, and the choice of a run folder."""

import errno
import json
import math
import resource
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from batches import GEOMETRY, names_in, result, run_folder
from gnclightning.errors import UserError
from gnclightning.files import replacing, write_csv, write_hdf5, write_json
from gnclightning.operators import Radon
from gnclightning.reconstruction.folder import choose_folder, clear_folder, probe_folder
from gnclightning.reconstruction.writers import estimate_size
from run_folders import table


class TestReplacing:
    def test_takes_the_place_at_the_end_only(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        with replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
            assert temporary.parent == tmp_path
        assert path.read_text() == "new"
        assert names_in(tmp_path) == ["a.txt"]

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
    def test_a_failure_leaves_the_old_file_alone(self, tmp_path, error):
        path = tmp_path / "a.txt"
        path.write_text("old")

        def write_half() -> None:
            with replacing(path) as temporary:
                temporary.write_text("half")
                raise error

        with pytest.raises(type(error)):
            write_half()
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["a.txt"]

    def test_permissions_are_those_of_other_new_files(self, tmp_path):
        (tmp_path / "plain").touch()
        with replacing(tmp_path / "replaced"):
            pass
        modes = {path.stat().st_mode for path in tmp_path.iterdir()}
        assert len(modes) == 1


class TestFormats:
    def test_csv_keeps_every_digit_and_quotes_names(self, tmp_path):
        rows = [('a,"b"', 0.1 + 0.2, 3, math.nan), ("é", math.inf, -0.0, 1e-300)]
        write_csv(tmp_path / "a.csv", ("name", "x", "n", "y"), rows)
        first, second = table(tmp_path / "a.csv")
        assert first == {"name": 'a,"b"', "x": "0.30000000000000004", "n": "3", "y": ""}
        assert (second["name"], float(second["x"]), float(second["y"])) == ("é", math.inf, 1e-300)

    def test_json_has_null_for_what_is_not_finite(self, tmp_path):
        write_json(
            tmp_path / "a.json", {"a": {"b": math.nan}, "c": [math.inf, 1.5], "d": "é", "e": True}
        )
        found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
        assert found == {"a": {"b": None}, "c": [None, 1.5], "d": "é", "e": True}

    def test_hdf5_attributes_may_be_long(self, tmp_path):
        names = [f"a rather long name of an image, number {n}" for n in range(10_000)]
        numbers = np.arange(20_000.0)
        array = np.ones((2, 3), np.float32)
        write_hdf5(tmp_path / "a.h5", {"x": array}, {"x": "mm"}, {"names": names, "s": numbers})
        with h5py.File(tmp_path / "a.h5") as file:
            assert list(file.attrs["names"]) == names
            np.testing.assert_array_equal(file.attrs["s"], numbers)
            np.testing.assert_array_equal(file["x"][:], array)
            assert file["x"].attrs["unit"] == "mm"


class TestFolder:
    def test_a_new_one_is_named_by_the_time_and_differs_from_the_last(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(time, "strftime", lambda text: "2024-05-06_07-08-09")
        for expected in ("2024-05-06_07-08-09", "2024-05-06_07-08-09_2", "2024-05-06_07-08-09_3"):
            found = choose_folder(None, overwrite=False)
            assert found == Path("runs", expected)
            assert not found.exists()
            probe_folder(found, 0)

    def test_empty_or_missing_folders_are_fine(self, tmp_path):
        assert choose_folder(str(tmp_path), overwrite=False) == tmp_path
        assert choose_folder(str(tmp_path / "a" / "b"), overwrite=False) == tmp_path / "a" / "b"
        assert names_in(tmp_path) == []

    def test_overwriting_clears_what_an_earlier_run_left_and_nothing_else(self, tmp_path):
        observer = run_folder(tmp_path)
        observer.close([result("a", "b", "c")])
        (tmp_path / "config.yaml").touch()
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "figures" / "mine.png").touch()
        assert choose_folder(str(tmp_path), overwrite=False) == tmp_path  # it may be gone on with
        clear_folder(choose_folder(str(tmp_path), overwrite=True))
        assert names_in(tmp_path) == ["figures", "notes.txt"]
        assert names_in(tmp_path / "figures") == ["mine.png"]
        with pytest.raises(UserError, match="expected an empty run folder"):
            choose_folder(str(tmp_path), overwrite=False)

    def test_space_is_checked_where_the_folder_will_be(self, tmp_path, monkeypatch):
        asked = []

        def usage(path):
            asked.append(Path(path))
            return SimpleNamespace(total=20_000_000, free=10_000_000)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        with pytest.raises(UserError, match=r"expected 11 MB free in .*, got 10 MB: free some"):
            probe_folder(tmp_path / "a" / "b", 11_000_000)
        assert asked == [tmp_path]
        assert names_in(tmp_path) == []
        probe_folder(tmp_path / "a" / "b", 10_000_000)

    def test_a_disk_that_is_full_at_once(self, tmp_path, monkeypatch):
        def full(self, data):
            raise OSError(errno.ENOSPC, "No space left on device", str(self))

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as caught:
            probe_folder(tmp_path, 0)
        assert caught.value.errno == errno.ENOSPC

    def test_the_estimate_holds(self, tmp_path):
        observer = run_folder(tmp_path, images=60)
        observer.close(
            [result(f"{n}a", f"{n}b", f"{n}c", iterations=50, psnr=math.pi * 10) for n in range(20)]
        )
        size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        operator = Radon(GEOMETRY)
        overhead = estimate_size(0, operator, 1, 50)
        assert size < estimate_size(60, operator, 1, 50) - overhead < 8 * size


def test_an_hdf5_file_that_does_not_fit_leaves_the_old_one_alone(tmp_path):
    """However much of it fits: HDF5's own failures on a full disk may end the process."""
    path, image = tmp_path / "images.h5", np.ones((4, 32, 32), np.float32)
    write_hdf5(path, {"images": image}, {"images": "1"}, {})
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in range(0, len(before), 512):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            with pytest.raises(OSError, match="File too large"):
                write_hdf5(path, {"images": 2 * image}, {"images": "1"}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
