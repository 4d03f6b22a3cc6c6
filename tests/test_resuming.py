"""A run that was killed is gone on with and ends as if it had not been; other runs are refused."""

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from gnclightning import build_run
from gnclightning.cli import reconstruct
from gnclightning.priors import NetworkEnergy
from gnclightning.reconstruction import folder as folders
from gnclightning.reconstruction.processes import Processes
from run_folders import configure, run, settings, tiny_prior
from stopped_runs import WORK, Stop, assert_same, stop_after

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def cut(prior, tmp_path_factory) -> Path:
    """The run `undisturbed`, stopped after its first chunk."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        folder = tmp_path_factory.mktemp("run") / "cut"
        with pytest.raises(Stop):
            run(prior, folder, *WORK)
    return folder


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
