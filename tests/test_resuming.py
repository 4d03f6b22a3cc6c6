"""A run that was killed is gone on with and ends as if it had not been; other runs are refused."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import reports
from gnclightning import build_run
from gnclightning.cli import reconstruct
from gnclightning.priors import NetworkEnergy
from gnclightning.reconstruction import folder as folders
from gnclightning.reconstruction.chunks import Chunks
from gnclightning.reconstruction.processes import Processes
from gnclightning.reconstruction.writers import RunFolder
from run_folders import PHANTOMS, arrays, configure, run, settings, table, tiny_prior

ROOT = Path(__file__).parents[1]
TIMES = {"seconds": "", "cpu_seconds": ""}
SAME = ("reconstructions.h5", "trace.csv", "certificate.json")
WORK = ("data.count=7", "batch_size=2")
ALONE = ("methods=[]", "batch_size=1")


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(RunFolder, "_draw", lambda self: None)


@pytest.fixture(scope="module")
def undisturbed(prior, tmp_path_factory) -> Path:
    """Seven images in four chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_draw", lambda self: None)
        return run(prior, tmp_path_factory.mktemp("run") / "whole", *WORK)


@pytest.fixture(scope="module")
def cut(prior, tmp_path_factory) -> Path:
    """The same run, stopped after its first chunk."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        folder = tmp_path_factory.mktemp("run") / "cut"
        with pytest.raises(Stop):
            run(prior, folder, *WORK)
    return folder


def assert_same(found: Path, expected: Path) -> None:
    """The same files to the last byte, save for times."""
    for name in SAME:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    found_rows, expected_rows = (table(f / "metrics.csv") for f in (found, expected))
    for row, other in zip(found_rows, expected_rows, strict=True):
        assert row | TIMES == other | TIMES
    assert not (found / "chunks").exists()
    assert json.loads((found / "summary.json").read_text())["finished"]


class Stop(Exception):
    """In place of a SIGKILL, where a process of its own would take too long."""


def statuses(folder: Path) -> dict[str, str]:
    """The status of each image."""
    return {row["image"]: row["status"] for row in table(folder / "metrics.csv")}


def stop_after(monkeypatch, saves: int) -> list[int]:
    """Let chunks be saved so often and no more; the numbers of those saved."""
    saved: list[int] = []
    original = Chunks.save

    def save(self, number, result):
        if len(saved) == saves:
            raise Stop
        original(self, number, result)
        saved.append(number)

    monkeypatch.setattr(Chunks, "save", save)
    return saved


class TestGoingOn:
    @pytest.mark.parametrize("saves", [0, 1, 3])
    def test_only_what_is_unfinished_is_done(
        self, prior, tmp_path, undisturbed, monkeypatch, capsys, saves
    ):
        with monkeypatch.context() as patch:
            stop_after(patch, saves)
            with pytest.raises(Stop):
                run(prior, tmp_path, *WORK)
        saved = stop_after(monkeypatch, 100)
        run(prior, tmp_path, *WORK)
        assert saved == list(range(saves, 4))
        assert_same(tmp_path, undisturbed)
        assert (f"going on: {saves} of 4 chunks" in capsys.readouterr().err) == (saves > 0)

    def test_a_damaged_chunk_is_done_again(self, prior, tmp_path, undisturbed, monkeypatch, capsys):
        with monkeypatch.context() as patch:
            stop_after(patch, 3)
            with pytest.raises(Stop):
                run(prior, tmp_path, *WORK)
        path = tmp_path / "chunks" / "000001.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        saved = stop_after(monkeypatch, 100)
        run(prior, tmp_path, *WORK)
        assert saved == [1, 3]
        assert_same(tmp_path, undisturbed)
        assert "000001.safetensors: damaged, its checksum does not fit" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["metrics.csv", "reconstructions.h5", "summary.json"])
    def test_stopped_while_the_results_are_written(
        self, prior, tmp_path, undisturbed, monkeypatch, name
    ):
        replace = os.replace

        def stop(source, target):
            if Path(target).name == name:
                raise Stop
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stop)
            with pytest.raises(Stop):
                run(prior, tmp_path, *WORK)
        (tmp_path / ".metrics-left.csv").touch()  # as a process leaves that is killed
        saved = stop_after(monkeypatch, 100)
        run(prior, tmp_path, *WORK)
        assert saved == []
        assert_same(tmp_path, undisturbed)
        assert not list(tmp_path.glob(".metrics-*"))

    def test_a_finished_run_is_left_alone(self, prior, tmp_path, undisturbed, monkeypatch, capsys):
        saved = stop_after(monkeypatch, 0)
        before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
        before.pop(undisturbed / ".lock")
        assert reconstruct(settings(prior, undisturbed, *WORK)) == 0
        assert f"finished before: {undisturbed}" in capsys.readouterr().err
        assert saved == []
        after = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
        after.pop(undisturbed / ".lock")
        assert after == before

    def test_a_chosen_batch_size_stays(self, prior, tmp_path, monkeypatch):
        choice = "batch_size=auto"
        with monkeypatch.context() as patch:
            stop_after(patch, 0)
            with pytest.raises(Stop):
                run(prior, tmp_path / "cut", "data.count=9", choice)
        config = (tmp_path / "cut" / "config.yaml").read_text()
        assert "batch_size: 8\n" in config
        (tmp_path / "cut" / "config.yaml").write_text(
            config.replace("batch_size: 8\n", "batch_size: 5\n")
        )
        saved = stop_after(monkeypatch, 100)
        run(prior, tmp_path / "cut", "data.count=9", choice)
        assert saved == [0, 1]

    def test_another_process_takes_the_batch_size_of_the_folder(self, prior, tmp_path, monkeypatch):
        """Whatever fits into its own memory: results would depend on it."""
        more = ("data.count=4", "methods=[]", "solver.gradient_tolerance=1e-9", "chunk_size=2")
        with monkeypatch.context() as patch:
            stop_after(patch, 0)
            with pytest.raises(Stop):
                run(prior, tmp_path, *more, "batch_size=1")
        original, sizes = NetworkEnergy.energy_and_score, []

        def watched(self, x, t):
            sizes.append(len(x))
            return original(self, x, t)

        config = configure(prior, tmp_path, *more, "batch_size=auto")
        others = Processes(1, 2)
        monkeypatch.setattr(
            others, "begin", lambda: monkeypatch.setattr(NetworkEnergy, "energy_and_score", watched)
        )
        saved = stop_after(monkeypatch, 100)
        build_run._take_part(config, tmp_path, others)
        assert saved == [1]
        assert set(sizes) == {1}


class TestRefusals:
    def refused(self, capsys, arguments: list[str], *parts: str) -> None:
        assert reconstruct(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        for part in (*parts, "output=FOLDER"):
            assert part in error

    def test_another_run_in_the_folder(self, prior, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(folders, "_PATIENCE_SECONDS", 0.1)
        with (tmp_path / ".lock").open("w") as file:
            file.write("process 7 on here\n")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            parts = (f"got {tmp_path}, which is in use (process 7 on here)", "wait until")
            self.refused(capsys, settings(prior, tmp_path, *WORK), *parts)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]

    @pytest.mark.parametrize(
        ("given", "part"),
        [
            (("seed=3",), "got seed=3 (before: 0)"),
            (("data.count=6",), "got data.count=6 (before: 7)"),
            (("batch_size=3",), "got batch_size=3 (before: 2)"),
            (("methods=[fbp]",), "got methods=['fbp'] (before: ['fbp', 'tv'])"),
            (("solver.steps=5", "start=fbp"), "start=fbp (before: random), solver.steps=5"),
        ],
    )
    @pytest.mark.parametrize("finished", [False, True])
    def test_other_settings(self, prior, undisturbed, cut, capsys, given, part, finished):
        folder = undisturbed if finished else cut
        before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        self.refused(capsys, settings(prior, folder, *WORK, *given), part, "overwrite=true")
        before.pop(folder / ".lock")
        for path, content in before.items():
            assert path.read_bytes() == content

    def test_other_weights_or_data_under_the_same_name(self, prior, tmp_path, capsys, monkeypatch):
        images = tmp_path / "images.npy"
        np.save(images, np.random.default_rng(0).random((3, 32, 32), dtype=np.float32))
        weights = tmp_path / "prior.safetensors"
        weights.write_bytes(prior.read_bytes())
        data = ("data.name=folder", f"data.path={images}")
        arguments = settings(weights, tmp_path / "run", "methods=[]", data=data)
        with monkeypatch.context() as patch:
            stop_after(patch, 0)
            with pytest.raises(Stop):
                reconstruct(arguments)
        np.save(images, np.random.default_rng(1).random((3, 32, 32), dtype=np.float32))
        self.refused(capsys, arguments, "got other data: ")
        np.save(images, np.random.default_rng(0).random((3, 32, 32), dtype=np.float32))
        tiny_prior(weights, symmetric=True)
        changed = bytearray(weights.read_bytes())
        changed[-3] ^= 1
        weights.write_bytes(changed)
        self.refused(capsys, arguments, "got other weights of the prior: ")
        weights.write_bytes(prior.read_bytes())
        assert reconstruct(arguments) == 0

    def test_settings_that_cannot_be_read(self, prior, tmp_path, capsys):
        (tmp_path / "config.yaml").write_text("sofa: 3\n")
        self.refused(capsys, settings(prior, tmp_path, *WORK), "config.yaml, got", "sofa")

    def test_overwriting_begins_anew(self, prior, tmp_path, undisturbed, monkeypatch):
        with monkeypatch.context() as patch:
            stop_after(patch, 2)
            with pytest.raises(Stop):
                run(prior, tmp_path, *WORK, "seed=4")
        saved = stop_after(monkeypatch, 100)
        run(prior, tmp_path, *WORK, "overwrite=true")
        assert saved == [0, 1, 2, 3]
        assert_same(tmp_path, undisturbed)


class TestOneBadImage:
    def test_is_left_out_and_changes_no_other(self, prior, tmp_path, capsys):
        """NaN, out of range, constant; the others keep their noise and start."""
        images = np.random.default_rng(0).random((6, 32, 32), dtype=np.float32)
        bad = images.copy()
        bad[1, 3, 4], bad[2, 5, 5], bad[4] = np.nan, 1.5, 0.25
        results = []
        for name, stack in (("good", images), ("bad", bad)):
            np.save(tmp_path / "images.npy", stack)
            data = ("data.name=folder", f"data.path={tmp_path / 'images.npy'}")
            results.append(run(prior, tmp_path / name, "methods=[]", "batch_size=1", data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[0, 3, 5]])
        summary = json.loads((tmp_path / "bad" / "summary.json").read_text())
        assert summary["finished"]
        assert list(summary["left_out"]) == ["images[2]", "images[1]", "images[4]"]
        assert "NaN" in summary["left_out"]["images[1]"]
        assert "outside" in summary["left_out"]["images[2]"]
        rows = table(tmp_path / "bad" / "metrics.csv")
        assert [row["image"] for row in rows[:3]] == ["images[0]", "images[3]", "images[5]"]
        assert [(row["image"], row["method"], row["psnr"], row["status"]) for row in rows[3:]] == [
            (name, "", "", "left out") for name in summary["left_out"]
        ]
        shown = reports.content(tmp_path / "bad")
        assert shown["summary"]["left_out"] == summary["left_out"]
        assert sorted(row[0] for row in shown["table"]["rows"]) == [r["image"] for r in rows[:3]]
        error = capsys.readouterr().err
        assert error.count("left out: image images[") == 3

    def test_a_file_that_cannot_be_read(self, prior, tmp_path, capsys):
        """It counts as one image, so that the others keep their noise and start."""
        images = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
        results = []
        for folder in ("good", "bad"):
            (tmp_path / folder).mkdir()
            for n, image in enumerate(images):
                np.save(tmp_path / folder / f"{n}.npy", image)
            if folder == "bad":
                (tmp_path / folder / "1.npy").write_bytes(b"<html>")
            data = ("data.name=folder", f"data.path={tmp_path / folder}")
            results.append(run(prior, tmp_path / f"run-{folder}", *ALONE, data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[0, 2]])
        assert "left out: expected a .npy file" in capsys.readouterr().err
        assert statuses(results[1]) == {"0": "budget spent", "2": "budget spent", "1": "left out"}

    def test_sinograms(self, prior, tmp_path, capsys):
        """NaN, constant, of other units, unreadable: the others are as without."""
        found = run(prior, tmp_path / "simulated", "methods=[]", "data.count=6")
        y = arrays(found)["sinogram"]
        bad = y.copy()
        bad[0, 3, 4], bad[2], bad[4] = np.nan, 0.25, 1e6 * bad[4]
        results = []
        for folder, stack in (("good", y), ("bad", bad)):
            (tmp_path / folder).mkdir()
            for n, sinogram in enumerate(stack):
                np.save(tmp_path / folder / f"{n}.npy", sinogram)
            if folder == "bad":
                (tmp_path / folder / "5.npy").write_bytes(b"<html>")
            data = ("data.name=sinogram", f"data.path={tmp_path / folder}")
            arguments = (*ALONE, "noise.relative=0.1")
            results.append(run(prior, tmp_path / f"run-{folder}", *arguments, data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[1, 3]])
        summary = json.loads((results[1] / "summary.json").read_text())
        assert sorted(summary["left_out"]) == ["0", "2", "4", "5"]
        for name, part in {"0": "NaN", "2": "constant", "4": "data.white", "5": "npy"}.items():
            assert part in summary["left_out"][name]
        assert capsys.readouterr().err.count("left out: ") == 4
        expected = dict.fromkeys("13", "budget spent") | dict.fromkeys("0245", "left out")
        assert statuses(results[1]) == expected

    def test_counts_and_truth_beside_them(self, prior, tmp_path):
        """A projection without life, a flat field and a ground truth that cannot be used."""
        found = arrays(run(prior, tmp_path / "simulated", "methods=[]", "data.count=4"))
        counts = 1000 * np.exp(-0.05 * found["sinogram"])
        flat = np.full((4, 1, counts.shape[-1]), 1000, np.float32)
        truth = 0.05 * found["ground_truth"]
        counts[0, 5], flat[1], truth[3, 2, 2] = np.nan, np.nan, np.inf
        np.savez(tmp_path / "scan.npz", y=counts, flat=flat, truth=truth)
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npz'}", "data.key=y")
        more = ("data.flat=flat", "data.truth=truth", "data.white=0.05", "noise.relative=0.1")
        folder = run(prior, tmp_path / "run", *ALONE, *more, data=data)
        expected = {"scan[2]": "budget spent"} | {f"scan[{n}]": "left out" for n in (0, 1, 3)}
        assert statuses(folder) == expected
        whole = arrays(folder)
        for name in ("sinogram", "ground_truth"):
            np.testing.assert_allclose(whole[name], found[name][[2]], rtol=1e-3, atol=1e-5)

    def test_nothing_is_left(self, prior, tmp_path, capsys):
        """The first reason is said."""
        for n in range(2):
            (tmp_path / f"{n}.npy").write_bytes(b"<html>")
        data = ("data.name=sinogram", f"data.path={tmp_path}")
        assert reconstruct(settings(prior, tmp_path / "run", data=data)) == 2
        assert "0.npy, got" in capsys.readouterr().err

    def test_not_finite_in_a_batch(self, prior, tmp_path, monkeypatch):
        """The prior fails for one image from its third evaluation on, also when it is alone."""
        original, calls = NetworkEnergy.energy_and_score, []

        def failing(self, x, t):
            energy, score = original(self, x, t)
            calls.append(len(x))
            if len(x) != 2 and calls.count(3) > 2:
                energy[len(x) // 2] = torch.nan
            return energy, score

        whole = run(prior, tmp_path / "whole", "methods=[]")
        monkeypatch.setattr(NetworkEnergy, "energy_and_score", failing)
        folder = run(prior, tmp_path / "bad", "methods=[]")
        statuses = [row["status"] for row in table(folder / "metrics.csv")]
        assert statuses[::2] == ["budget spent"] * 2
        assert statuses[1] in ("not finite", "search failed")
        found, expected = (arrays(f)["preconditioned"] for f in (folder, whole))
        np.testing.assert_allclose(found[::2], expected[::2], rtol=1e-4, atol=1e-4)


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1"),
            MemoryError("Unable to allocate"),
        ],
        ids=["cuda", "cpu", "numpy"],
    )
    def test_half_the_images_go_on(self, prior, tmp_path, monkeypatch, capsys, error):
        data = (*PHANTOMS[:2], "data.count=7")
        more = ("batch_size=7", "progress=true", "methods=[tv]")
        whole = run(prior, tmp_path / "whole", *more, data=data)
        original, sizes = NetworkEnergy.energy_and_score, []

        def short(self, x, t):
            sizes.append(len(x))
            if len(x) > 2:
                raise error
            return original(self, x, t)

        monkeypatch.setattr(NetworkEnergy, "energy_and_score", short)
        found = run(prior, tmp_path / "short", *more, data=data)
        tried = [size for size in sizes if size > 2]
        assert tried == [7, 3]
        assert max(sizes[sizes.index(3) + 1 :]) == 1
        for name in ("preconditioned", "tv"):
            ours, theirs = (arrays(f)[name] for f in (found, whole))
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        assert len(table(found / "trace.csv")) == len(table(whole / "trace.csv"))
        error_text = capsys.readouterr().err
        assert "out of memory: going on with 3 images at once" in error_text
        assert "out of memory: going on with 1 images at once" in error_text


def start(arguments: list[str], *launcher: str) -> subprocess.Popen[str]:
    command = [*(launcher or (sys.executable,)), str(ROOT / "reconstruct.py"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_killed_and_started_again(prior, tmp_path, undisturbed):
    """SIGKILL as soon as the first chunk is there; a second run beside the first is refused."""
    arguments = settings(prior, tmp_path / "run", *WORK, "solver.steps=6")
    process = start(arguments)
    while not list((tmp_path / "run").glob("chunks/*.sha256")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    assert reconstruct(arguments) == 2
    process.kill()
    process.communicate()
    left = len(list((tmp_path / "run").glob("chunks/*.sha256")))
    assert left >= 1
    assert reconstruct(arguments) == 0
    assert_same(tmp_path / "run", undisturbed)


@pytest.mark.slow
class TestSeveralProcesses:
    def test_two_give_what_one_does(self, prior, tmp_path, undisturbed):
        process = start(settings(prior, tmp_path / "run", *WORK, "devices=2"))
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)

    def test_torchrun(self, prior, tmp_path, undisturbed):
        launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
        arguments = settings(prior, tmp_path / "run", *WORK)
        process = start(arguments, *launcher, "--nproc-per-node=2")
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)

    @pytest.mark.parametrize("victim", ["first", "other"])
    def test_either_is_killed(self, prior, tmp_path, undisturbed, victim):
        """Without the first the others end; without another the first does all."""
        arguments = settings(prior, tmp_path / "run", *WORK, "devices=2")
        process = start(arguments)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not list((tmp_path / "run").glob("chunks/*.sha256")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        others = [int(pid) for pid in children.read_text().split()]
        os.kill(process.pid if victim == "first" else others[-1], signal.SIGKILL)
        _, error = process.communicate(timeout=300)
        if victim == "other":
            assert process.returncode == 0, error
            assert "was killed by signal 9: what it has left is done now" in error
        else:
            assert reconstruct(arguments) == 0
        assert_same(tmp_path / "run", undisturbed)

    @pytest.mark.parametrize("devices", [1, 2])
    def test_killed_at_random_moments(self, prior, tmp_path, undisturbed, devices):
        draw = np.random.default_rng(devices)
        arguments = settings(prior, tmp_path / "run", *WORK, f"devices={devices}")
        for _ in range(4):
            process = start(arguments)
            time.sleep(draw.uniform(1.0, 6.0))
            process.kill()
            process.communicate()
        process = start(arguments)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)
