"""Reconstructions that are refused in one line, before any work: for prior, data or settings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gnclightning import build_run, memory, tracking
from gnclightning.operators import Radon
from gnclightning.priors import NetworkEnergy
from gnclightning.sde import VESDE
from run_folders import own_images, refused_in_one_line, settings, tiny_prior


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

    def test_another_image_size(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "large.safetensors", (64, 64))
        parts = ("expected images of 64x64", "got 32x32", "resample", "prior.path")
        refused(prior, parts=parts)

    def test_images_that_are_not_square(self, refused, prior, tmp_path):
        data = own_images(tmp_path, noise_images(2, 32, 36))
        parts = ("expected images of 32x32", "got 32x36")
        refused(prior, data=data, parts=parts)

    def test_sides_that_the_stride_does_not_divide(self, refused, tmp_path):
        prior = tiny_prior(tmp_path / "odd.safetensors", (30, 30))
        data = own_images(tmp_path, noise_images(30, 30))
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
        refused(prior, data=own_images(tmp_path, images), parts=("image images[0]", part))

    def test_constant(self, refused, prior, tmp_path):
        data = own_images(tmp_path, np.full((32, 32), 0.5, np.float32))
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
        data = own_images(tmp_path, corner)
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
