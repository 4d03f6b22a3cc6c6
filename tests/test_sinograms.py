"""Measured sinograms: read, checked against the geometry, reconstructed without ground truth."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning.cli import reconstruct
from gnclightning.config import load_reconstruct_config
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import RANGE, NetworkEnergy, PriorMetadata, save_pretrained
from gnclightning.sde import VPSDE
from run_folders import (
    arrays,
    column,
    refused_in_one_line,
    run,
    settings,
    table,
    tiny_network,
)

UNITS = ("geometry.pixel_size=0.5", "geometry.unit=mm")


@pytest.fixture(scope="module")
def simulated(prior, tmp_path_factory) -> Path:
    """A run whose noisy sinograms the tests take for measured ones."""
    folder = tmp_path_factory.mktemp("run")
    return run(prior, folder, "methods=[]", "solver.t_min=0.025", *UNITS)


def noise_of(folder: Path) -> list[float]:
    with h5py.File(folder / "reconstructions.h5") as file:
        return [float(sigma) for sigma in file.attrs["sigma_y"]]


def measured(path: Path, *more: str) -> tuple[str, ...]:
    return ("data.name=sinogram", f"data.path={path}", *more)


def written(tmp_path: Path, array: np.ndarray) -> Path:
    path = tmp_path / "scan.npy"
    np.save(path, array)
    return path


class TestRuns:
    def test_the_same_sinogram_gives_the_same_image(self, simulated, prior, tmp_path):
        """Of the first image, whose number its random start belongs to."""
        y = 0.02 * arrays(simulated)["sinogram"]
        data = measured(written(tmp_path, y), "data.white=0.02", "data.count=1")
        level = f"noise.absolute={0.02 * noise_of(simulated)[0]}"
        more = ("methods=[]", "solver.t_min=0.025", *UNITS, level)
        found = run(prior, tmp_path / "run", *more, data=data)
        assert noise_of(found) == pytest.approx(noise_of(simulated)[:1], rel=1e-6)
        ours, theirs = arrays(found), arrays(simulated)
        np.testing.assert_allclose(ours["sinogram"], theirs["sinogram"][:1], rtol=1e-6)
        np.testing.assert_allclose(
            ours["preconditioned"], theirs["preconditioned"][:1], rtol=0, atol=1e-4
        )

    def test_attenuation_per_length_is_scaled_to_the_range_of_the_prior(
        self, simulated, prior, tmp_path
    ):
        y = 0.02 * arrays(simulated)["sinogram"]
        data = measured(written(tmp_path, y), "data.white=0.02", "data.count=2")
        relative = "noise.relative=0.1"
        found = run(prior, tmp_path / "white", "methods=[]", relative, *UNITS, data=data)
        plain = measured(written(tmp_path, y / 0.02), "data.count=2")
        expected = run(prior, tmp_path / "plain", "methods=[]", relative, *UNITS, data=plain)
        np.testing.assert_allclose(
            arrays(found)["preconditioned"], arrays(expected)["preconditioned"], rtol=0, atol=1e-4
        )

    def test_without_ground_truth_there_is_everything_but_quality(self, simulated, prior, tmp_path):
        data = measured(simulated / "reconstructions.h5", "data.key=sinogram")
        found = run(prior, tmp_path, *UNITS, data=data)
        assert set(arrays(found)) == {"sinogram", "fbp", "tv", "preconditioned"}
        rows = table(found / "metrics.csv")
        assert len(rows) == 3 * 3
        assert {(row["psnr"], row["ssim"]) for row in rows} == {("", "")}
        assert {row["psnr"] for row in table(found / "trace.csv")} == {""}
        objectives = column(found / "trace.csv", "objective", image="reconstructions[0]")
        assert objectives[-1] < objectives[0]
        methods = json.loads((found / "summary.json").read_text())["methods"]
        assert methods["preconditioned"]["psnr"] == {"mean": None, "std": None}
        assert methods["preconditioned"]["certificate"]["descent_share"] > 0
        drawn = {path.name for path in (found / "figures").iterdir()}
        assert drawn == {"reconstructions.png", "convergence.png"}

    def test_the_noise_level_is_estimated_and_written_down(self, simulated, prior, tmp_path):
        data = measured(simulated / "reconstructions.h5", "data.key=sinogram")
        found = run(prior, tmp_path, "methods=[]", *UNITS, data=data)
        config = load_reconstruct_config(found / "config.yaml")
        assert config.noise.relative == pytest.approx(0.1, rel=0.2)
        sigma = np.array(noise_of(found))
        sizes = np.abs(arrays(found)["sinogram"]).mean((1, 2))
        np.testing.assert_allclose(sigma, config.noise.relative * sizes, rtol=1e-5)

    def test_the_last_time_follows_absolute_noise_too(self, simulated, prior, tmp_path):
        """A quarter of the relative level, which the data tell."""
        y = arrays(simulated)["sinogram"]
        level = 0.02 * np.abs(y).mean()
        scan = measured(written(tmp_path, y))
        phantoms = ("data.name=ellipses", "data.size=32", "data.count=3")
        truth = torch.from_numpy(arrays(simulated)["ground_truth"])[:, None]
        clean = 0.5 * Radon(ParallelBeam2D.for_image(32, 20))(truth).abs().mean((1, 2, 3))
        expected = {"measured": np.abs(y).mean((1, 2)), "simulated": clean.numpy()}
        for name, data in (("measured", scan), ("simulated", phantoms)):
            given = (f"noise.absolute={level}", "methods=[]", "solver.t_min=null", *UNITS)
            config = run(prior, tmp_path / name, *given, data=data) / "config.yaml"
            found = load_reconstruct_config(config).solver.last_time
            assert found == pytest.approx(0.25 * np.mean(level / expected[name]), rel=1e-4)

    def test_angles_of_ones_own(self, simulated, prior, tmp_path):
        """The usual angles in another order, with the rows of the sinogram in that order."""
        order = np.random.default_rng(0).permutation(20)
        y = arrays(simulated)["sinogram"][:, order]
        degrees = ",".join(f"{(n + 0.5) * 9:g}" for n in order)
        more = ("methods=[fbp]", "noise.relative=0.1", f"geometry.degrees=[{degrees}]", *UNITS)
        data = measured(written(tmp_path, y), "data.count=1")
        found = run(prior, tmp_path / "run", *more, data=data)
        with h5py.File(found / "reconstructions.h5") as file:
            angles = file.attrs["geometry_angles"]
        usual = np.array(ParallelBeam2D.for_image(32, 20).angles)
        np.testing.assert_allclose(angles, usual[order], rtol=1e-12)
        assert load_reconstruct_config(found / "config.yaml").geometry.angles == 20


def varied(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.fixture
def refused(prior, tmp_path, capsys):
    """Checks that sinograms are refused with one line that holds all parts, before any work."""

    def check(y: np.ndarray, *overrides: str, parts: tuple[str, ...]) -> None:
        output = tmp_path / "output"
        data = measured(written(tmp_path, y))
        arguments = settings(prior, output, *overrides, data=data)
        refused_in_one_line(capsys, arguments, output, parts)

    return check


class TestBadInput:
    def test_another_number_of_angles(self, refused):
        y = varied(3, 21, 47)
        parts = ("scan[0]", "20 angles x 47 detector bins", "got 21 x 47", "geometry.degrees")
        refused(y, parts=parts)

    def test_another_number_of_bins(self, refused):
        y = varied(20, 50)
        refused(y, parts=("scan", "got 20 x 50", "geometry.detector_spacing"))
        refused(y, "geometry.angles=2", parts=("expected 2 angles", "got 20 x 50"))

    def test_axes_that_are_swapped(self, refused):
        refused(varied(47, 20), parts=("got 47 x 20", "swap the axes"))
        parts = ("expected 20 angles x any number of detector bins", "got 40 x 20", "swap")
        refused(varied(40, 20), "geometry.detector_spacing=1", parts=parts)

    def test_no_angles(self, refused):
        parts = ("geometry.degrees: expected 1 to 100000 angles, got 0",)
        refused(varied(20, 47), "geometry.degrees=[]", parts=parts)

    def test_angles_that_contradict_each_other(self, refused):
        parts = ("geometry.angles: expected 2, as many as geometry.degrees", "got 20")
        refused(varied(20, 47), "geometry.degrees=[0,90]", parts=parts)
        parts = ("geometry.degrees: expected >= -3600, <= 3600, got 1e+300",)
        refused(varied(20, 47), "geometry.degrees=[1e300,0]", parts=parts)

    def test_other_units(self, refused):
        y = np.full((20, 47), 40.0, np.float32)
        y[0, 0] += 1
        parts = ("mean", "data.white=VALUE", "geometry.pixel_size")
        refused(y, "noise.relative=0.1", parts=parts)
        refused(-y, "noise.relative=0.1", parts=("[0, 1]", "mean -"))
        refused(y / 1e6, "noise.relative=0.1", parts=("[0, 1]", "mean "))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, refused, value):
        y = np.ones((20, 47), np.float32)
        y[3, 4] = value
        refused(y, parts=("sinogram scan", "1 NaN or infinite of 940"))

    @pytest.mark.parametrize("value", [0, 0.5, -1])
    def test_constants(self, refused, value):
        y = np.full((20, 47), value, np.float32)
        refused(y, parts=("sinogram scan", f"got the constant {value:g}", "leave"))

    def test_noise_that_cannot_be_estimated(self, refused):
        y = np.broadcast_to(np.linspace(0, 1, 20, dtype=np.float32)[:, None], (20, 47))
        parts = ("can be estimated, got none", "noise.relative=VALUE")
        refused(y, parts=parts)

    @pytest.mark.parametrize(("low", "fits"), [(0.0, True), (-1024.0, True), (-200.0, False)])
    def test_a_prior_whose_zero_attenuates(self, simulated, tmp_path, capsys, low, fits):
        """Line integrals know no offset."""
        path, output = tmp_path / "prior.safetensors", tmp_path / "output"
        metadata = PriorMetadata((32, 32), (0.0, 1.0), training={RANGE: [low, 3000.0]})
        save_pretrained(NetworkEnergy(VPSDE(), tiny_network()), metadata, path)
        data = measured(simulated / "reconstructions.h5", "data.key=sinogram")
        arguments = settings(path, output, "methods=[]", *UNITS, data=data)
        if fits:
            assert reconstruct(arguments) == 0
        else:
            parts = ("no attenuation", "trained with -200 as 0")
            refused_in_one_line(capsys, arguments, output, parts)

    def test_missing(self, prior, tmp_path, capsys):
        data = measured(tmp_path / "none.npy")
        assert reconstruct(settings(prior, tmp_path / "output", data=data)) == 2
        assert "expected sinograms at" in capsys.readouterr().err

    def test_no_path(self, capsys):
        assert reconstruct(["data.name=sinogram"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: data.path is required, give data.path=VALUE: ")
        assert "sinograms (angles, detectors)" in err

    def test_too_few_bins_to_estimate_noise(self, refused):
        y = np.arange(80, dtype=np.float32).reshape(20, 4) / 8
        refused(y, "geometry.detector_count=4", parts=("5 detector bins", "noise.relative"))
