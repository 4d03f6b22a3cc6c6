"""Reconstruction through the command line: bad input ends in one line, before any work."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gnclightning import build_run, files, memory, tracking
from gnclightning.cli import reconstruct
from gnclightning.config import load_reconstruct_config
from gnclightning.data.ellipses import phantoms
from gnclightning.operators import Radon
from gnclightning.priors import NetworkEnergy, NetworkScore
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.writers import RunFolder
from gnclightning.sde import VESDE
from programs import imported
from run_folders import COUNT, refused_in_one_line, settings, table, tiny_prior

ROOT = Path(__file__).parents[1]


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Checks that a run is refused with one line that holds all parts, before any work."""

    def no_work(*args):
        raise AssertionError("work began")

    def check(prior: Path, *overrides: str, parts: tuple[str, ...], data=None) -> None:
        monkeypatch.setattr(build_run, "run", no_work)
        chosen = {} if data is None else {"data": data}
        output = tmp_path / "output"
        arguments = settings(prior, output, *overrides, **chosen)
        refused_in_one_line(capsys, arguments, output, parts)

    return check


def folder_of(tmp_path: Path, array: np.ndarray) -> tuple[str, ...]:
    """Settings for own images."""
    np.save(tmp_path / "images.npy", array)
    return ("data.name=folder", f"data.path={tmp_path / 'images.npy'}")


def noise_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


class TestPriors:
    def test_missing(self, refused, tmp_path):
        name = tmp_path / "none.safetensors"
        refused(name, parts=(f"no prior at '{name}'", "expected a .safetensors file"))

    def test_another_file(self, refused, tmp_path):
        (tmp_path / "a.safetensors").write_bytes(b"no weights")
        parts = ("a.safetensors is not a safetensors file", "export a prior")
        refused(tmp_path / "a.safetensors", parts=parts)

    def test_score(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "score.safetensors", kind=NetworkScore)
        parts = ("expected a prior with an energy", "score", "prior.parametrisation=energy")
        refused(prior, parts=parts)

    def test_another_image_size(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "large.safetensors", (64, 64))
        parts = ("expected images of 64x64", "got 32x32", "resample", "prior.path")
        refused(prior, parts=parts)

    def test_images_that_are_not_square(self, refused, prior, tmp_path):
        data = folder_of(tmp_path, noise_images(2, 32, 36))
        parts = ("expected images of 32x32", "got 32x36")
        refused(prior, data=data, parts=parts)

    def test_sides_that_the_stride_does_not_divide(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "odd.safetensors", (30, 30))
        data = folder_of(tmp_path, noise_images(30, 30))
        refused(prior, data=data, parts=("multiples of 4", "(30, 30)", "pad or crop"))

    def test_another_intensity_range(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "range.safetensors", intensity_range=(-1.0, 1.0))
        refused(prior, parts=("expected a prior of images in [0, 1]", "for [-1, 1]", "train"))

    def test_colours(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "colour.safetensors", channels=3)
        refused(prior, parts=("one channel", "for 3", "prior.path"))

    @pytest.mark.parametrize(
        ("sde", "setting", "part"),
        [
            (None, "solver.t_min=1e-60", "got 0 at solver.t_min=1e-60"),
            (VESDE(1e-3, 1e38), "solver.t_max=1", "got inf at solver.t_max=1"),
        ],
    )
    def test_times_without_noise_level(self, refused, tmp_path, sde, setting, part):
        prior = tiny_prior(tmp_path / "sde.safetensors", sde=sde)
        refused(prior, setting, parts=(part, "SDE", "choose another time"))


class TestData:
    def test_missing(self, refused, prior, tmp_path):
        data = ("data.name=folder", f"data.path={tmp_path / 'none.npy'}")
        refused(prior, data=data, parts=("none.npy", "does not exist", "mend the path"))

    @pytest.mark.parametrize(
        ("value", "part"), [(np.nan, "1 NaN or infinite"), (1.5, "expected values in [0, 1]")]
    )
    def test_bad_pixels(self, refused, prior, tmp_path, value, part):
        images = noise_images(2, 32, 32)
        images[:, 3, 4] = value
        refused(prior, data=folder_of(tmp_path, images), parts=("image images[0]", part))

    def test_constant(self, refused, prior, tmp_path):
        data = folder_of(tmp_path, np.full((32, 32), 0.5, np.float32))
        refused(prior, data=data, parts=("image images", "got the constant 0.5", "leave"))


class TestSettings:
    def test_a_gpu_that_is_not_there(self, refused, prior, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        refused(prior, "device=cuda", parts=("device=cuda", "device=cpu"))

    def test_online_without_login(self, refused, prior, monkeypatch):
        monkeypatch.setattr(tracking, "logged_in", lambda: False)
        parts = ("expected a W&B login", "`wandb login`", "logger.mode=offline")
        refused(prior, "logger.mode=online", parts=parts)

    def test_tv_without_noise_and_weight(self, refused, prior):
        settings = ("noise.relative=0", "alpha.rule=constant", "alpha.value=0.1")
        refused(prior, *settings, parts=("tv.weight=null", "tv.weight=NUMBER", "methods=[fbp]"))

    def test_a_detector_that_sees_nothing(self, refused, prior, tmp_path):
        corner = np.zeros((32, 32), np.float32)
        corner[0, 0] = 1
        data = folder_of(tmp_path, corner)
        overrides = ("geometry.detector_count=1", "geometry.detector_spacing=0.1")
        parts = ("image images: expected a detector that sees it", "geometry.detector_count")
        refused(prior, *overrides, data=data, parts=parts)

    @pytest.mark.parametrize(
        ("setting", "parts"),
        [
            ("geometry.angles=1000000000", ("geometry.angles", ">= 1, <= 100000")),
            ("geometry.detector_spacing=1e-300", ("of at least 0.000453 pixel", "got 1e-300")),
        ],
    )
    def test_sizes_beyond_all_scanners(self, refused, prior, setting, parts):
        refused(prior, setting, parts=parts)

    @pytest.mark.parametrize(
        ("settings", "part"),
        [
            (("data.name=ellipses", "data.count=1000000000000"), "1000000000000 images of 128x128"),
            (("data.name=ellipses", "data.size=1000000"), "8 images of 1000000x1000000 pixels"),
            (("data.name=demo", "data.count=1000000000"), "1000000000 images (data.count)"),
        ],
    )
    def test_images_beyond_all_memory(self, refused, prior, settings, part):
        parts = (part, "GB of memory", "fewer or smaller")
        refused(prior, data=settings, parts=parts)

    def test_sinograms_beyond_all_memory(self, refused, prior, monkeypatch):
        monkeypatch.setattr(memory, "total_memory", lambda: 100_000)
        parts = ("3 sinograms", "to fit into 0 GB")
        refused(prior, "geometry.angles=1000", parts=parts)


class TestGradient:
    def test_an_objective_that_does_not_fit_its_gradient(self, refused, prior, monkeypatch):
        """A planted mistake of 10 % in the score, as of a foreign energy."""
        right = NetworkEnergy.energy_and_score

        def wrong(self, x, t):
            energy, score = right(self, x, t)
            return energy, 0.9 * score

        monkeypatch.setattr(NetworkEnergy, "energy_and_score", wrong)
        refused(prior, parts=("gradient of the regulariser", "finite differences", "got"))

    def test_an_operator_that_does_not_fit_its_adjoint(self, refused, prior, monkeypatch):
        """A planted mistake of 1 %."""
        right = Radon._rmatvec
        monkeypatch.setattr(Radon, "_rmatvec", lambda self, y: 1.01 * right(self, y))
        refused(prior, parts=("expected an adjoint that is the operator's transpose", "dot test"))


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
        "folder": folder_of(tmp_path, phantoms([0], 0, "validation", 32)[:, 0]),
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
