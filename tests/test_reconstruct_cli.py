"""Reconstruction through the command line: run folders, what is printed, interruptions."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gnclightning import files
from gnclightning.cli import reconstruct
from gnclightning.config import load_reconstruct_config
from gnclightning.data.ellipses import phantoms
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.writers import RunFolder
from programs import imported
from run_folders import COUNT, own_images, settings, table

ROOT = Path(__file__).parents[1]


class TestFolders:
    def check(self, capsys, arguments: list[str], *parts: str) -> None:
        assert reconstruct(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        for part in parts:
            assert part in err

    def test_not_empty(self, prior, tmp_path, capsys):
        (tmp_path / "notes.txt").touch()
        parts = ("expected an empty run folder", "overwrite=true", "output=FOLDER")
        self.check(capsys, settings(prior, tmp_path), str(tmp_path), *parts)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_file(self, prior, tmp_path, capsys):
        (tmp_path / "file").touch()
        parts = ("expected a folder", "got a file", "output=FOLDER")
        self.check(capsys, settings(prior, tmp_path / "file"), *parts)

    def test_below_a_file(self, prior, tmp_path, capsys):
        (tmp_path / "file").touch()
        parts = ("can be written to", "which is a file", "output=FOLDER")
        self.check(capsys, settings(prior, tmp_path / "file" / "run"), *parts)

    def test_without_permission(self, tmp_path, capsys, monkeypatch):
        """Found before anything else is looked at, such as a prior that is not there."""
        access = os.access
        monkeypatch.setattr(os, "access", lambda p, mode: p != tmp_path and access(p, mode))
        parts = ("can be written to", f"{tmp_path}, which is write-protected", "output=FOLDER")
        arguments = settings(tmp_path / "no prior", tmp_path / "locked" / "run")
        self.check(capsys, arguments, *parts)
        assert list(tmp_path.iterdir()) == []

    def test_read_only_file_system(self, prior, tmp_path, capsys, monkeypatch):
        def refuse(self, data):
            raise OSError(errno.EROFS, "Read-only file system", str(self))

        monkeypatch.setattr(Path, "write_bytes", refuse)
        parts = ("can be written to", "Read-only file system", "permissions")
        self.check(capsys, settings(prior, tmp_path / "run"), *parts)

    def test_too_little_space(self, prior, tmp_path, capsys, monkeypatch):
        usage = SimpleNamespace(total=10_000_000, free=5_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        parts = ("MB free in", "got 5 MB", "free some space")
        self.check(capsys, settings(prior, tmp_path / "run"), *parts)
        assert not (tmp_path / "run").exists()

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
    def test_a_file_system_without_space_of_its_own(self, prior, capsys):
        parts = ("/proc/x", "can be written to", "output=FOLDER")
        self.check(capsys, settings(prior, Path("/proc/x")), *parts)

    def test_a_disk_that_fills_up_while_running(self, prior, tmp_path, capsys, monkeypatch):
        replace = os.replace

        def full(source, target):
            if str(target).endswith(".h5"):
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", full)
        arguments = settings(prior, tmp_path / "run", "methods=[]", "solver.steps=1")
        self.check(capsys, arguments, "No space left on device", "free some space")
        assert len(table(tmp_path / "run" / "metrics.csv")) == COUNT


class TestRuns:
    def test_prints_the_table_and_where_the_files_are(self, prior, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(RunFolder, "_draw", lambda self: None)  # no figures
        arguments = settings(prior, Path(""), "solver.steps=1", "overwrite=true")
        arguments = [a for a in arguments if not a.startswith("output=")]
        assert reconstruct(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        (folder,) = (tmp_path / "runs").iterdir()
        assert out.splitlines()[-1] == f"run folder: runs/{folder.name}"
        for text in (
            "PSNR",
            "SSIM",
            "FBP",
            "TV",
            "GNC",
            "ellipses[2]",
            "mean of 3",
            "budget spent",
        ):
            assert text in out
        assert len(table(folder / "metrics.csv")) == 3 * COUNT

    def test_overwriting(self, prior, tmp_path, monkeypatch):
        monkeypatch.setattr(RunFolder, "_draw", lambda self: None)
        arguments = settings(prior, tmp_path, "methods=[]", "solver.steps=1")
        assert reconstruct([*arguments, "data.count=2"]) == 0
        assert reconstruct(arguments) == 2
        assert reconstruct([*arguments, "overwrite=true"]) == 0
        assert len(table(tmp_path / "metrics.csv")) == COUNT

    def test_an_interruption_keeps_finished_images(self, prior, tmp_path, capsys, monkeypatch):
        def interrupt(self, result):
            original(self, result)
            raise KeyboardInterrupt

        original = FinalTable.batch_finished
        monkeypatch.setattr(FinalTable, "batch_finished", interrupt)
        arguments = settings(prior, tmp_path, "batch_size=2", "solver.steps=1")
        assert reconstruct(arguments) == 130
        out, err = capsys.readouterr()
        assert err.startswith("interrupted: what is finished is kept in the run folder")
        assert f"run folder: {tmp_path}" in out
        assert "ellipses[1]" in out
        rows = table(tmp_path / "metrics.csv")
        assert [row["image"] for row in rows[::3]] == ["ellipses[0]", "ellipses[1]"]

    def test_lightning_and_wandb_stay_unimported(self, prior, tmp_path):
        arguments = settings(prior, tmp_path, "methods=[]", "solver.steps=1")
        code = f"from gnclightning.cli import reconstruct\nassert reconstruct({arguments}) == 0"
        assert imported(code, "lightning", "wandb") == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs/reconstruct").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_configuration_reconstructs(path, prior, tmp_path):
    """Two iterations of it, on one small image."""
    config = load_reconstruct_config(path, [])
    data = {
        "folder": own_images(tmp_path, phantoms([0], 0, "validation", 32)[:, 0]),
        "ellipses": ("data.count=1", "data.size=32"),
        "demo": ("data.name=ellipses", "data.count=1", "data.size=32"),
    }[config.data.name]
    short = settings(prior, tmp_path / "run", "solver.steps=2", data=data)
    if config.operator.name != "projection":
        short.remove("geometry.angles=20")
    assert reconstruct(["--config", str(path), *short]) == 0
    methods = [row["method"] for row in table(tmp_path / "run" / "metrics.csv")]
    direct = {"identity": "noisy", "mask": "zero_filled", "fourier": "zero_filled"}
    direct |= {"blur": "blurred", "super_resolution": "bicubic"}
    named = [direct[config.operator.name] if m == "direct" else m for m in config.methods]
    assert methods == [*named, config.solver.name]
