"""The numbers that a run leaves are those of the images beside them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning.config.reconstruct import AlphaConfig
from gnclightning.metrics import psnr, ssim
from gnclightning.operators import ParallelBeam2D, Radon, fbp
from gnclightning.priors import from_pretrained
from run_folders import COUNT, METHODS, NAMES, STEPS, arrays, column, run, table, tensor, tiny_prior


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    """The run that most tests look at, in two batches."""
    return run(prior, tmp_path_factory.mktemp("run"), "batch_size=2")


@pytest.fixture(scope="module")
def undenoised(prior, tmp_path_factory) -> Path:
    """The same run, but its result is the last iterate."""
    return run(prior, tmp_path_factory.mktemp("run"), "solver.final_denoising=false")


@pytest.fixture(scope="module")
def tweedie(prior, tmp_path_factory) -> Path:
    """The same run without steps towards the posterior mean."""
    return run(prior, tmp_path_factory.mktemp("run"), "solver.mean_steps=0")


@pytest.mark.usefixtures("without_figures")
class TestNumbers:
    def test_metrics_are_those_of_the_saved_images(self, folder):
        saved = arrays(folder)
        truth = tensor(saved["ground_truth"])
        for method in METHODS:
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                found = column(folder / "metrics.csv", name, method=method)
                np.testing.assert_allclose(found, metric(tensor(saved[method]), truth), rtol=1e-12)

    def test_the_psnr_of_the_trace_ends_at_that_of_the_result(self, tweedie, undenoised):
        for output in (tweedie, undenoised):
            last = column(output / "trace.csv", "psnr", iteration=str(STEPS))
            result = column(output / "metrics.csv", "psnr", method="preconditioned")
            np.testing.assert_allclose(last, result, rtol=1e-12)

    def test_the_result_is_tweedie_s_mean_of_the_last_iterate(self, tweedie, undenoised, prior):
        energy, _ = from_pretrained(prior)
        iterate, t = tensor(arrays(undenoised)["preconditioned"]), torch.full((COUNT,), 1e-3)
        gamma, nu = (f(t)[:, None, None, None] for f in (energy.sde.mean_scale, energy.sde.std))
        expected = (iterate + nu**2 * energy.score(iterate, t)) / gamma
        found = tensor(arrays(tweedie)["preconditioned"])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert (found - iterate).abs().max() > 1e-3

    def test_objective_is_f_of_the_last_iterate(self, undenoised, prior):
        folder = undenoised
        saved = {name: tensor(array) for name, array in arrays(folder).items()}
        with h5py.File(folder / "reconstructions.h5") as file:
            sigma = torch.from_numpy(file.attrs["sigma_y"])
        energy, _ = from_pretrained(prior)
        operator, x = Radon(ParallelBeam2D.for_image(32, 20)), saved["preconditioned"]
        t = torch.full((COUNT,), 1e-3)
        fidelity = (operator(x) - saved["sinogram"]).double().square().sum((1, 2, 3)) / 2
        regulariser = AlphaConfig().weight * sigma**2 * energy.energy(x, t)
        found = {
            name: column(folder / "trace.csv", name, iteration=str(STEPS))
            for name in ("objective", "data_fidelity", "regulariser")
        }
        np.testing.assert_allclose(found["data_fidelity"], fidelity, rtol=1e-5)
        np.testing.assert_allclose(found["regulariser"], regulariser, rtol=1e-5)
        np.testing.assert_allclose(found["objective"], fidelity + regulariser, rtol=1e-5)
        assert (regulariser > 1e-4 * fidelity).all()

    def test_fbp_is_that_of_the_saved_sinogram(self, folder):
        saved = arrays(folder)
        expected = fbp(tensor(saved["sinogram"]), ParallelBeam2D.for_image(32, 20), "hann")
        torch.testing.assert_close(tensor(saved["fbp"]), expected)

    def test_batches_of_one_give_the_same(self, folder, prior, tmp_path):
        single = run(prior, tmp_path, "batch_size=1")
        for name, array in arrays(folder).items():
            np.testing.assert_allclose(arrays(single)[name], array, atol=2e-4, err_msg=name)
        for name in ("psnr", "iterations", "network_evaluations", "operator_evaluations"):
            ours, theirs = (column(f / "metrics.csv", name) for f in (single, folder))
            np.testing.assert_allclose(ours, theirs, rtol=1e-4)

    def test_a_repeated_run_is_the_same(self, folder, prior, tmp_path):
        again = run(prior, tmp_path, "batch_size=2")
        for name, array in arrays(folder).items():
            np.testing.assert_array_equal(arrays(again)[name], array)
        assert (again / "trace.csv").read_bytes() == (folder / "trace.csv").read_bytes()

    def test_without_fbp_and_tv_the_file_still_has_the_fbp(self, folder, prior, tmp_path):
        alone = run(prior, tmp_path, "batch_size=2", "methods=[]")
        assert [row["method"] for row in table(alone / "metrics.csv")] == ["preconditioned"] * COUNT
        assert set(arrays(alone)) == {"ground_truth", "sinogram", "fbp", "preconditioned"}
        np.testing.assert_array_equal(arrays(alone)["fbp"], arrays(folder)["fbp"])

    @pytest.mark.parametrize("solver", ["gradient_like", "gnc_flow", "gradient_descent"])
    def test_every_solver_lowers_f(self, solver, prior, tmp_path):
        run(prior, tmp_path, f"solver.name={solver}", "solver.steps=4", "methods=[]", "start=fbp")
        assert set(arrays(tmp_path)) == {"ground_truth", "sinogram", "fbp", solver}
        for name in NAMES:
            values = column(tmp_path / "trace.csv", "objective", image=name)
            assert len(values) == 5
            assert values[-1] < values[0]

    def test_a_symmetric_prior_sees_flips_and_turns_in_the_last_steps(
        self, folder, prior, tmp_path
    ):
        """At no cost, after the same iterations; without the last denoising nothing changes."""
        twin = tiny_prior(tmp_path / "symmetric.safetensors", symmetric=True)
        ours = run(twin, tmp_path / "run", "batch_size=2")
        assert (ours / "trace.csv").read_bytes() == (folder / "trace.csv").read_bytes()
        conditions = {"method": "preconditioned"}
        found, plain = (
            column(f / "metrics.csv", "network_evaluations", **conditions) for f in (ours, folder)
        )
        assert found == plain
        change = arrays(ours)["preconditioned"] - arrays(folder)["preconditioned"]
        assert np.abs(change).max() > 1e-6
        off = "solver.final_denoising=false"
        pair = [run(p, tmp_path / p.stem, "methods=[]", off) for p in (twin, prior)]
        np.testing.assert_array_equal(*(arrays(f)["preconditioned"] for f in pair))

    def test_steps_towards_the_mean_are_counted(self, prior, tmp_path):
        """Each one evaluation, one A and one A*, and 15 of each for conjugate gradients."""
        evaluations, projections, images = [], [], []
        for steps in (0, 2):
            fixed = ("solver.cg_factor=0", "solver.cg_steps=15", f"solver.mean_steps={steps}")
            output = run(prior, tmp_path / f"{steps}", "methods=[]", *fixed)
            evaluations += column(output / "metrics.csv", "network_evaluations")
            projections += column(output / "metrics.csv", "operator_evaluations")
            images.append(arrays(output)["preconditioned"])
        assert [b - a for a, b in zip(evaluations[:3], evaluations[3:], strict=True)] == [2] * 3
        assert [b - a for a, b in zip(projections[:3], projections[3:], strict=True)] == [64] * 3
        assert np.abs(images[1] - images[0]).max() > 1e-4

    def test_images_that_are_not_square(self, tmp_path):
        prior = tiny_prior(tmp_path / "wide.safetensors", (24, 32))
        wide = np.random.default_rng(0).random((2, 24, 32), dtype=np.float32)
        np.save(tmp_path / "wide.npy", wide)
        data = ("data.name=folder", f"data.path={tmp_path / 'wide.npy'}")
        saved = arrays(run(prior, tmp_path / "out", "methods=[]", data=data))
        np.testing.assert_array_equal(saved["ground_truth"], wide)
        assert saved["preconditioned"].shape == wide.shape
