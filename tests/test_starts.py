"""Several random starts per image: the mean, and what it is the mean of."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning.build_measurement import build_source
from gnclightning.build_reconstruction import prepare
from gnclightning.config import load_reconstruct_config
from gnclightning.errors import UserError
from gnclightning.reconstruction.starts import start_seed
from gnclightning.tensors import full_float32
from run_folders import arrays, column, configure, run, table

K = 3
SETTINGS = ("methods=[]", "geometry.pixel_size=0.5", "geometry.unit=mm")


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    """Three images with three starts each, two images at a time."""
    return run(prior, tmp_path_factory.mktemp("starts"), *SETTINGS, f"starts={K}", "batch_size=6")


@pytest.fixture(scope="module")
def each(prior) -> np.ndarray:
    """The result of each start by itself, (K, images, rows, columns)."""
    config = configure(prior, Path("unused"), *SETTINGS)
    ready = prepare(config, build_source(config), torch.device("cpu"))
    (batch,) = ready.measurements.batches(8)
    results = []
    with full_float32():
        for number in range(K):
            seeds = tuple(start_seed(seed, number) for seed in batch.start_seeds)
            outcome = ready.methods[-1](replace(batch, start_seeds=seeds), lambda step: None)
            results.append(outcome.x[:, 0].numpy())
    return np.stack(results)


def test_the_first_start_is_the_reconstruction_without_others(folder, prior, tmp_path):
    alone = run(prior, tmp_path, *SETTINGS)
    found, expected = arrays(folder)["preconditioned"], arrays(alone)["preconditioned"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    for name in ("objective", "psnr"):
        path, other = folder / "trace.csv", alone / "trace.csv"
        for image in ("ellipses[0]", "ellipses[2]"):
            np.testing.assert_allclose(
                column(path, name, image=image), column(other, name, image=image), rtol=1e-5
            )
    assert {row["method"] for row in table(folder / "trace.csv")} == {"preconditioned"}


def test_mean_and_spread_are_those_of_single_runs(folder, each):
    found = arrays(folder)
    assert each.std(0).min() > 1e-4  # starts matter
    np.testing.assert_allclose(found["preconditioned_mean"], each.mean(0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        found["preconditioned_mean_std"], each.std(0, ddof=1), rtol=1e-3, atol=1e-5
    )


def test_the_residual_is_that_of_the_mean(folder, prior):
    found = arrays(folder)
    config = load_reconstruct_config(folder / "config.yaml")
    operator = prepare(config, build_source(config), torch.device("cpu")).methods[-1].operator
    projected = 0.5 * operator(torch.from_numpy(found["preconditioned_mean"])[:, None]).numpy()
    np.testing.assert_allclose(
        found["preconditioned_mean_residual"],
        projected[:, 0] - found["sinogram"],
        rtol=0,
        atol=1e-4,
    )
    with h5py.File(folder / "reconstructions.h5") as file:
        assert file["preconditioned_mean_residual"].attrs["unit"] == file["sinogram"].attrs["unit"]
        assert file["preconditioned_mean_std"].attrs["unit"] == file["preconditioned"].attrs["unit"]


def test_the_mean_is_a_reconstruction_of_its_own(folder):
    metrics = folder / "metrics.csv"
    found = arrays(folder)
    error = np.square(found["preconditioned_mean"] - found["ground_truth"]).mean((1, 2))
    psnr = column(metrics, "psnr", method="preconditioned_mean")
    np.testing.assert_allclose(psnr, -10 * np.log10(error), rtol=1e-5)
    single = column(metrics, "network_evaluations", method="preconditioned")
    together = column(metrics, "network_evaluations", method="preconditioned_mean")
    assert all(many > 2 * one for many, one in zip(together, single, strict=True))
    methods = json.loads((folder / "summary.json").read_text())["methods"]
    assert list(methods) == ["preconditioned", "preconditioned_mean"]
    assert "certificate" not in methods["preconditioned_mean"]
    certificate = json.loads((folder / "certificate.json").read_text())
    assert len(certificate["preconditioned"]["images"]) == 3
    assert (folder / "figures" / "starts.png").stat().st_size > 10_000


def test_seeds_of_starts_differ_and_the_first_is_the_image_s():
    seeds = [start_seed(7, number) for number in range(100)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 100
    assert start_seed(8, 1) not in seeds


def test_one_start_gives_no_mean(prior, tmp_path):
    found = run(prior, tmp_path, *SETTINGS, "data.count=1")
    assert set(arrays(found)) == {"ground_truth", "sinogram", "fbp", "preconditioned"}


def test_starts_that_are_all_the_same_are_refused(prior):
    with pytest.raises(UserError, match=r"starts: expected 1 with start=fbp.*got 2"):
        configure(prior, Path("unused"), "start=fbp", "starts=2")


@pytest.mark.parametrize(("batch_size", "starts", "images"), [(8, 1, 8), (8, 3, 2), (4, 9, 1)])
def test_a_batch_holds_all_starts_of_its_images(prior, batch_size, starts, images):
    sizes = (f"batch_size={batch_size}", f"starts={starts}")
    assert configure(prior, Path("unused"), *sizes).images_at_once == images
