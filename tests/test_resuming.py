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

from gnclightning import build_run
from gnclightning.cli import reconstruct
from gnclightning.priors import NetworkEnergy
from gnclightning.reconstruction import folder as folders
from gnclightning.reconstruction.chunks import Chunks
from gnclightning.reconstruction.processes import Processes
from gnclightning.reconstruction.writers import RunFolder
from run_folders import configure, run, settings, table, tiny_prior

ROOT = Path(__file__).parents[1]
TIMES = {"seconds": "", "cpu_seconds": ""}
SAME = ("reconstructions.h5", "trace.csv", "certificate.json")
WORK = ("data.count=7", "batch_size=2")

pytestmark = pytest.mark.usefixtures("without_figures")


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
