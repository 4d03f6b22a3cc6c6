"""Files appear whole or not at all, an interrupted run keeps what was finished."""

import errno
import json
import math
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D
from gnclightning.reconstruction import figures, files, writers
from gnclightning.reconstruction.files import replacing, write_csv, write_hdf5, write_json
from gnclightning.reconstruction.folder import choose_folder, create_folder
from gnclightning.reconstruction.methods import Outcome
from gnclightning.reconstruction.records import (
    BatchResult,
    MeasuredBatch,
    MethodResult,
    MetricsRow,
    TraceRow,
)
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.writers import RunFolder, Units, estimate_size
from gnclightning.solvers import Certificate
from run_folders import arrays, table

SIZE, ANGLES = 8, 3
GEOMETRY = ParallelBeam2D.for_image(SIZE, ANGLES)
nan = math.nan


def batch(*names: str) -> MeasuredBatch:
    generator = torch.Generator().manual_seed(len(names[0]))
    n, detectors = len(names), GEOMETRY.detector_count
    truth, fbp = torch.rand(2, n, 1, SIZE, SIZE, generator=generator)
    y = torch.rand(n, 1, ANGLES, detectors, generator=generator)
    sigma = torch.rand(n, generator=generator).double()
    return MeasuredBatch(names, truth, y, sigma, fbp, tuple(range(n)))


def result(*names: str, iterations: int = 2, psnr: float = 30.0) -> BatchResult:
    measured, n = batch(*names), len(names)
    trace = [
        TraceRow(name, "gnc_flow", i, 0.5, 10.0 - i, 6.0, 4.0 - i, 0.1, 1, -0.5, 3.0, psnr)
        for i in range(iterations + 1)
        for name in names
    ]
    metrics = [MetricsRow(name, "gnc_flow", psnr, 0.9, 2, 5, 9, 0.1, "converged") for name in names]
    ones = torch.ones(n, dtype=torch.float64)
    certificate = Certificate(
        descent_share=ones,
        descent_bound=ones / 8,
        length_bound=2 * ones,
        fallbacks=ones.long(),
        armijo_share=ones / 2,
        armijo_sum=ones,
        decrease=3 * ones,
        monotone=ones > 0,
        relative_stationarity=ones / 4,
        final_iterations=ones.long(),
        lipschitz=torch.nan * ones,
        certified_t=ones,
        failures=ones.long(),
        gradient_like=ones < 0,
    )
    return BatchResult(
        measured, [MethodResult("gnc_flow", measured.truth / 2, metrics, trace, certificate)]
    )


def run_folder(path: Path, images: int = 3) -> RunFolder:
    create_folder(path, 0)
    units = Units("1/cm", "cm")
    return RunFolder(path, GEOMETRY, units, images, torch.device("cpu"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
        rows = [('a,"b"', 0.1 + 0.2, 3, nan), ("é", math.inf, -0.0, 1e-300)]
        write_csv(tmp_path / "a.csv", ("name", "x", "n", "y"), rows)
        first, second = table(tmp_path / "a.csv")
        assert first == {"name": 'a,"b"', "x": "0.30000000000000004", "n": "3", "y": ""}
        assert (second["name"], float(second["x"]), float(second["y"])) == ("é", math.inf, 1e-300)

    def test_json_has_null_for_what_is_not_finite(self, tmp_path):
        write_json(
            tmp_path / "a.json", {"a": {"b": nan}, "c": [math.inf, 1.5], "d": "é", "e": True}
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
            create_folder(found, 0)

    def test_empty_or_missing_folders_are_fine(self, tmp_path):
        assert choose_folder(str(tmp_path), overwrite=False) == tmp_path
        assert choose_folder(str(tmp_path / "a" / "b"), overwrite=False) == tmp_path / "a" / "b"
        assert names_in(tmp_path) == []

    def test_overwriting_clears_what_an_earlier_run_left_and_nothing_else(self, tmp_path):
        observer = run_folder(tmp_path)
        observer.batch_finished(result("a", "b", "c"))
        observer.run_finished()
        (tmp_path / "config.yaml").touch()
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "figures" / "mine.png").touch()
        with pytest.raises(UserError, match="expected an empty run folder"):
            choose_folder(str(tmp_path), overwrite=False)
        create_folder(choose_folder(str(tmp_path), overwrite=True), 0)
        assert names_in(tmp_path) == ["figures", "notes.txt"]
        assert names_in(tmp_path / "figures") == ["mine.png"]

    def test_space_is_checked_where_the_folder_will_be(self, tmp_path, monkeypatch):
        asked = []

        def usage(path):
            asked.append(Path(path))
            return SimpleNamespace(free=10_000_000)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        with pytest.raises(UserError, match=r"expected 11 MB free in .*, got 10 MB: free some"):
            create_folder(tmp_path / "a" / "b", 11_000_000)
        assert asked == [tmp_path]
        assert names_in(tmp_path) == []
        create_folder(tmp_path / "a" / "b", 10_000_000)

    def test_a_disk_that_is_full_at_once(self, tmp_path, monkeypatch):
        def full(self, data):
            raise OSError(errno.ENOSPC, "No space left on device", str(self))

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as caught:
            create_folder(tmp_path, 0)
        assert caught.value.errno == errno.ENOSPC

    def test_the_estimate_holds(self, tmp_path):
        observer = run_folder(tmp_path, images=60)
        for n in range(20):
            observer.batch_finished(
                result(f"{n}a", f"{n}b", f"{n}c", iterations=50, psnr=math.pi * 10)
            )
        observer.close()
        size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        overhead = estimate_size(0, GEOMETRY, 1, 50)
        assert size < estimate_size(60, GEOMETRY, 1, 50) - overhead < 8 * size


class TestRunFolder:
    def test_each_batch_is_kept_as_soon_as_it_is_finished(self, tmp_path):
        observer = run_folder(tmp_path)
        observer.batch_finished(result("a", "b"))
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b"]
        assert len(table(tmp_path / "trace.csv")) == 6
        assert not json.loads((tmp_path / "summary.json").read_text())["finished"]
        observer.batch_finished(result("c"))
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b", "c"]
        assert json.loads((tmp_path / "summary.json").read_text())["finished"]

    def test_arrays_are_joined_in_order(self, tmp_path):
        parts = [result("a", "b"), result("ccc")]
        observer = run_folder(tmp_path)
        for part in parts:
            observer.batch_finished(part)
        found = arrays(tmp_path)
        for name, tensors in {
            "ground_truth": [p.batch.truth for p in parts],
            "sinogram": [p.batch.y for p in parts],
            "fbp": [p.batch.fbp for p in parts],
            "gnc_flow": [p.methods[0].x for p in parts],
        }.items():
            np.testing.assert_array_equal(found[name], torch.cat(tensors)[:, 0].numpy())
        with h5py.File(tmp_path / "reconstructions.h5") as file:
            assert list(file.attrs["image_names"]) == ["a", "b", "ccc"]
            assert file["sinogram"].attrs["unit"] == "1/cm * cm"

    def test_summary_joins_certificates_and_stands_infinite_numbers(self, tmp_path):
        observer = run_folder(tmp_path)
        observer.batch_finished(result("a", "b"))
        observer.batch_finished(result("c", psnr=math.inf))
        values = json.loads((tmp_path / "summary.json").read_text())["methods"]["gnc_flow"]
        assert values["psnr"] == {"mean": None, "std": None}
        assert values["statuses"] == {"converged": 3}
        assert values["network_evaluations_per_iteration"] == 2.5
        assert values["certificate"] == {
            "descent_share": 1.0,
            "descent_bound": 0.125,
            "length_bound": 2.0,
            "fallbacks": 3,
            "armijo_share": 0.5,
            "relative_stationarity": 0.25,
            "failures": 3,
            "monotone": 3,
            "gradient_like": 0,
        }

    def test_certificates_are_written_image_by_image(self, tmp_path):
        observer = run_folder(tmp_path)
        observer.batch_finished(result("a", "b"))
        observer.batch_finished(result("c"))
        values = json.loads((tmp_path / "certificate.json").read_text())["gnc_flow"]
        assert [row["image"] for row in values["images"]] == ["a", "b", "c"]
        assert values["images"][2]["decrease"] == 3
        assert values["images"][0]["lipschitz"] is None
        assert values["images"][0]["gradient_like"] is False
        assert values["verdict"] == (
            "0 of 3 runs gradient-like: directions descended in 100 % of the iterations, steps "
            "satisfied Armijo's rule in 50 %, 3 searches failed; |grad f| fell to 0.25 of its "
            "start or less"
        )

    def test_slow_writes_wait_but_nothing_is_lost(self, tmp_path, monkeypatch):
        """A write takes 2 s, a batch 5 s: the next comes once 20 s have passed, or at the end."""
        clock = SimpleNamespace(now=0.0)

        def slow_write(*args):
            clock.now += 2.0

        monkeypatch.setattr(writers.time, "monotonic", lambda: clock.now)
        monkeypatch.setattr(writers, "write_hdf5", slow_write)
        observer, written = run_folder(tmp_path, images=9), []
        for n in range(9):
            clock.now += 5.0
            observer.batch_finished(result("abcdefghi"[n]))
            written.append(len(table(tmp_path / "metrics.csv")))
        assert written == [1, 1, 1, 1, 1, 6, 6, 6, 6]
        observer.close()
        assert len(table(tmp_path / "metrics.csv")) == 9

    def test_a_full_disk_leaves_the_last_files_whole(self, tmp_path, monkeypatch):
        observer = run_folder(tmp_path)
        observer.batch_finished(result("a", "b"))
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

        def full(source, target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

        monkeypatch.setattr(files.os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            observer.batch_finished(result("c"))
        after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before
        monkeypatch.undo()
        observer.close()
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b", "c"]

    def test_an_interrupted_run_keeps_what_was_finished(self, tmp_path):
        class Interrupting(Observer):
            batches = 0

            def batch_started(self, batch):
                self.batches += 1
                if self.batches == 2:
                    raise KeyboardInterrupt

        class Half:
            name = "half"

            def __call__(self, measured, callback):
                none = torch.zeros(len(measured.names), dtype=torch.int64)
                x = measured.truth / 2
                return Outcome(x, ["direct"] * len(x), none, none, none)

        batches = [batch("a", "b"), batch("c")]
        with pytest.raises(KeyboardInterrupt):
            run(batches, [Half()], [run_folder(tmp_path), Interrupting()])
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b"]
        assert table(tmp_path / "trace.csv") == []
        np.testing.assert_array_equal(arrays(tmp_path)["half"], batches[0].truth[:, 0] / 2)
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert (summary["finished"], summary["images"], summary["images_asked_for"]) == (
            False,
            2,
            3,
        )
        assert not [name for name in names_in(tmp_path) if name.startswith(".")]


class TestFigures:
    def test_many_images_and_strange_names(self):
        """The first ten are shown; names are no formulas, and a NaN image spoils nothing."""
        parts = [result(*(f"$a_{n}{m}$" for m in range(4))) for n in range(3)]
        parts[0].methods[0].x[0] = nan
        reconstructions, errors, convergence = figures.draw(parts)
        assert len(reconstructions.axes) == 10 * 2
        assert len(errors.axes) == 10 + 1
        assert reconstructions.axes[0].get_ylabel() == "$a_00$"
        for figure in (reconstructions, errors, convergence):
            figure.canvas.draw()
        (scale,) = {panel.images[0].get_clim() for panel in errors.axes[:10]}
        assert 0 == scale[0] < scale[1] <= 0.5
        assert plt.get_fignums() == []

    def test_reconstructions_are_shown_from_0_to_1(self):
        (figure, _, _) = figures.draw([result("a")])
        assert {panel.images[0].get_clim() for panel in figure.axes} == {(0, 1)}

    def test_curves_are_those_of_the_trace(self):
        long, short = result("a", iterations=4), result("b", iterations=2)
        _, _, figure = figures.draw([long, short])
        panel = next(p for p in figure.axes if p.get_ylabel() == "objective f")
        first, second, mean = (line.get_ydata() for line in panel.lines)
        np.testing.assert_array_equal(first, [10, 9, 8, 7, 6])
        np.testing.assert_array_equal(second, [10, 9, 8, nan, nan])
        np.testing.assert_array_equal(mean, [10, 9, 8, 7, 6])
        assert panel.get_yscale() == "log"


def test_environment_has_no_stray_files(tmp_path):
    """The probe and all temporary files are gone."""
    observer = run_folder(tmp_path)
    observer.batch_finished(result("a"))
    observer.run_finished()
    found = [name for _, _, names in os.walk(tmp_path) for name in names]
    assert sorted(found) == [
        *("certificate.json", "convergence.png", "errors.png", "metrics.csv", "reconstructions.h5"),
        *("reconstructions.png", "summary.json", "trace.csv"),
    ]
