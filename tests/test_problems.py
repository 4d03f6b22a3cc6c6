"""Inverse problems other than projections, as programs run them."""

import json
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import torch

from gnclightning.build import run_reconstruction
from gnclightning.build_measurement import build_images
from gnclightning.build_reconstruction import Ready, prepare
from gnclightning.cli import reconstruct
from gnclightning.config import load_reconstruct_config
from gnclightning.config.baselines import Compared
from gnclightning.errors import UserError
from gnclightning.operators import (
    direct_reconstruction,
    image_operator,
)
from gnclightning.reconstruction.report.content import read_content
from gnclightning.reconstruction.writers import RunFolder
from gnclightning.sde import VPSDE
from run_folders import COUNT, STEPS, arrays, column, configure, run, settings, table

CONFIGS = Path(__file__).parents[1] / "configs" / "reconstruct"
FILES = {
    "identity": "denoising",
    "mask": "inpainting",
    "blur": "deblurring",
    "super_resolution": "super_resolution",
    "fourier": "fourier",
}
DIRECT = {
    "identity": "noisy",
    "mask": "zero_filled",
    "blur": "blurred",
    "super_resolution": "bicubic",
    "fourier": "zero_filled",
}
NO_ANGLES = "geometry.angles=null"  # in place of those of fast runs


@pytest.mark.parametrize(
    ("settings", "noise"),
    [
        (("operator.name=identity", "noise.absolute=0.1"), 0.1),
        (("operator.name=mask", "operator.share=0.25", "noise.absolute=0.1"), 0.2),
        (("operator.name=super_resolution", "operator.factor=2", "noise.absolute=0.05"), 0.2),
        (("operator.name=fourier", "operator.acceleration=4", "noise.absolute=0.05"), 0.1),
    ],
)
def test_the_last_time_is_that_of_the_noise_in_a_pixel(settings, noise, prior):
    ready = prepared(prior, *settings, "solver.t_min=null")
    found = VPSDE().noise_to_signal(torch.tensor([ready.config.solver.t_min]))
    assert float(found) == pytest.approx(noise, rel=0.05)  # the mean gain is an estimate


@pytest.fixture(scope="module", params=FILES)
def ran(request, prior, tmp_path_factory) -> tuple[str, Path]:
    """A small run of each problem's file."""
    file, folder = CONFIGS / f"{FILES[request.param]}.yaml", tmp_path_factory.mktemp("run")
    size = ("data.size=32", f"data.count={COUNT}", NO_ANGLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_draw", lambda self: None)
        run_reconstruction(load_reconstruct_config(file, settings(prior, folder, *size, data=())))
    return request.param, folder


def prepared(prior: Path, *more: str) -> Ready:
    """A fast run, about to start."""
    config = configure(prior, Path("unused"), NO_ANGLES, *more)
    return prepare(config, build_images(config), torch.device("cpu"))


@pytest.mark.usefixtures("without_figures")
class TestRuns:
    def test_the_file_says_what_was_measured(self, ran):
        """Truth, operator and noise level in the file explain the measurement."""
        name, folder = ran
        found = {key: torch.from_numpy(value) for key, value in arrays(folder).items()}
        with h5py.File(folder / "reconstructions.h5") as file:
            described = json.loads(file.attrs["operator"])
            sigma = torch.from_numpy(file.attrs["sigma_y"])
            assert file.attrs["direct"] == DIRECT[name]
            assert "geometry" not in file.attrs
        operator = image_operator(shape=(32, 32), **described)
        noise = found["measurement"][:, None] - operator(found["ground_truth"][:, None])
        seen = noise if operator.observed is None else noise[..., operator.observed]
        spread = seen.double().flatten(1).square().mean(1).sqrt()
        torch.testing.assert_close(spread, sigma, rtol=0.25, atol=0)
        level = load_reconstruct_config(folder / "config.yaml").noise.absolute
        assert sigma.tolist() == [level] * COUNT
        direct = direct_reconstruction(operator, found["measurement"][:, None])
        torch.testing.assert_close(found[DIRECT[name]], direct[:, 0], rtol=0, atol=1e-6)

    def test_methods_are_named_for_what_they_are(self, ran):
        name, folder = ran
        methods = [row["method"] for row in table(folder / "metrics.csv")]
        assert methods == [DIRECT[name], "tv", "preconditioned"] * COUNT
        labels = [layer["label"] for layer in read_content(folder)["gallery"]["layers"]]
        assert labels == [DIRECT[name].replace("_", "-"), "TV", "GNC", "ground truth"]

    def test_the_report_tells_how_far_the_result_is_from_the_measurements(self, ran):
        _, folder = ran
        content = read_content(folder)["table"]
        place = content["columns"].index("|Ax-y| / noise")
        found = {row[0]: row[place] for row in content["rows"]}
        stored = arrays(folder)
        with h5py.File(folder / "reconstructions.h5") as file:
            operator = image_operator(shape=(32, 32), **json.loads(file.attrs["operator"]))
            names, sigma = list(file.attrs["image_names"]), file.attrs["sigma_y"]
        x = torch.from_numpy(stored["preconditioned"])
        squares = (operator(x).numpy() - stored["measurement"]).astype(np.float64) ** 2
        if operator.observed is not None:
            squares = squares[:, operator.observed.numpy()]
        expected = np.sqrt(squares.reshape(COUNT, -1).mean(1)) / sigma
        assert [found[name] for name in names] == pytest.approx(expected.tolist(), rel=1e-3)

    def test_its_settings_repeat_it_one_by_one(self, ran, tmp_path):
        name, folder = ran
        output = f"output={tmp_path / 'alone'}"
        arguments = ["--config", str(folder / "config.yaml"), output, "batch_size=1"]
        assert reconstruct(arguments) == 0
        ours, theirs = arrays(tmp_path / "alone"), arrays(folder)
        for key in ("ground_truth", "measurement", DIRECT[name]):
            np.testing.assert_array_equal(ours[key], theirs[key])
        for key in ("tv", "preconditioned"):
            np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=1e-4, err_msg=key)

    @pytest.mark.parametrize("name", DIRECT)
    def test_the_data_term_has_its_gradient(self, name, prior):
        """By finite differences, which a run checks before it starts."""
        ready = prepared(prior, f"operator.name={name}")
        assert float(ready.probe.gradient.fidelity.max()) < 1e-3
        assert ready.probe.adjoint < 1e-7
        assert ready.geometry is None


@pytest.mark.usefixtures("without_figures")
class TestSolutions:
    def test_an_image_with_hardly_any_noise_comes_back(self, prior, tmp_path):
        settings = ("operator.name=identity", "noise.absolute=1e-4", "solver.final_denoising=false")
        found = arrays(run(prior, tmp_path / "run", NO_ANGLES, *settings))
        np.testing.assert_allclose(
            found["preconditioned"], found["ground_truth"], rtol=0, atol=1e-3
        )

    def test_known_pixels_stay_what_they_are(self, prior, tmp_path):
        settings = ("operator.name=mask", "noise.absolute=1e-4", "solver.final_denoising=false")
        found = arrays(run(prior, tmp_path / "run", NO_ANGLES, *settings))
        known = image_operator("mask", (32, 32), share=0.3, seed=0).observed.numpy()
        np.testing.assert_allclose(
            found["preconditioned"][:, known], found["ground_truth"][:, known], rtol=0, atol=1e-3
        )

    @pytest.mark.parametrize("name", ["mask", "fourier", "blur"])
    def test_the_discrepancy_is_that_of_what_was_measured(self, name, prior):
        """Sigma sqrt(m) with m measured values."""
        settings = (f"operator.name={name}", "noise.absolute=0.1", "alpha.rule=discrepancy")
        ready = prepared(prior, *settings)
        (batch,) = ready.measurements.batches(8)
        observed = ready.operator.observed
        values = 32 * 32 if observed is None else int(observed.sum())
        target = ready.methods[-1].discrepancy.target(batch)
        torch.testing.assert_close(target, torch.full_like(target, 0.1 * values**0.5))

    def test_every_method_takes_them(self, prior, tmp_path):
        given = [name for name in get_args(Compared) if name != "fbp"]
        steps = [f"{name}.steps=2" for name in given if name not in ("direct", "tv")]
        problem = ("operator.name=super_resolution", "operator.factor=2")
        methods = f"methods=[{','.join(given)}]"
        folder = run(prior, tmp_path / "run", NO_ANGLES, *problem, methods, *steps)
        for name in ("bicubic", *given[1:]):
            psnr = column(folder / "metrics.csv", "psnr", method=name)
            assert len(psnr) == COUNT
            assert np.isfinite(psnr).all()

    def test_a_start_that_fits_exactly_is_no_reason_to_stop(self, prior, tmp_path):
        """Zero-filled pixels leave no residual, and the data term no gradient."""
        more = ("operator.name=mask", "start=direct", "methods=[]")
        folder = run(prior, tmp_path / "run", NO_ANGLES, *more)
        fidelity = column(folder / "trace.csv", "data_fidelity", iteration="0")
        assert fidelity == [0] * COUNT
        assert set(column(folder / "metrics.csv", "iterations")) == {STEPS}

    def test_a_direct_start_begins_with_the_direct_reconstruction(self, prior, tmp_path):
        more = ("operator.name=blur", "operator.width=1", "start=direct", "solver.steps=1")
        folder = run(prior, tmp_path / "run", NO_ANGLES, *more)
        blurred, truth = (arrays(folder)[name] for name in ("blurred", "ground_truth"))
        ready = prepared(prior, *more)
        (batch,) = ready.measurements.batches(8)
        np.testing.assert_array_equal(ready.methods[-1].start(batch)[:, 0].numpy(), blurred)
        assert np.abs(blurred - truth).max() > 0.05


@pytest.mark.parametrize("name", ["mask", "fourier"])
def test_several_starts_say_nothing_of_what_was_not_measured(name, prior, tmp_path):
    folder = run(
        prior, tmp_path / "run", NO_ANGLES, f"operator.name={name}", "starts=2", "methods=[]"
    )
    residual = arrays(folder)["preconditioned_mean_residual"]
    with h5py.File(folder / "reconstructions.h5") as file:
        operator = image_operator(shape=(32, 32), **json.loads(file.attrs["operator"]))
    np.testing.assert_array_equal(
        np.isnan(residual), np.broadcast_to(~operator.observed.numpy(), residual.shape)
    )
    assert (folder / "figures" / "starts.png").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["operator.name=mask", "geometry.angles=3"],
            "geometry.angles is a setting of projections",
        ),
        (["operator.name=mask", "methods=[fbp]"], "methods: expected direct, the direct"),
        (["operator.name=mask", "start=fbp"], "start: expected direct, the direct"),
        (["operator.name=mask", "operator.backend=astra"], "a setting of operator.name=projection"),
        (["operator.name=mask", "operator.share=0"], "operator.share: expected > 0, <= 1, got 0"),
        (
            ["operator.name=blur", "operator.kernel=uniform", "operator.width=4"],
            "operator.width: expected an odd number with kernel=uniform, got 4",
        ),
        (
            ["operator.name=blur", "data.name=sinogram", "data.path=x"],
            "data.name=sinogram holds projections, got operator.name=blur",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(UserError) as caught:
        load_reconstruct_config(None, given)
    assert message in str(caught.value)


def test_images_that_blocks_do_not_fit_are_refused_before_any_work(prior):
    config = configure(
        prior, Path("unused"), NO_ANGLES, "operator.name=super_resolution", "operator.factor=5"
    )
    with pytest.raises(UserError, match=r"multiples of the factor, got \(32, 32\) and 5"):
        prepare(config, build_images(config), torch.device("cpu"))


def test_direct_is_fbp_with_projections():
    config = load_reconstruct_config(None, ["methods=[direct,tv]", "start=direct"])
    assert (config.methods, config.start) == (["fbp", "tv"], "fbp")
