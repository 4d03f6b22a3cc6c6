"""Measured sinograms with all that lies beside them, as programs run them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning.config import load_reconstruct_config
from gnclightning.data.ellipses import phantoms
from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D, Radon
from run_folders import arrays, column, refused_in_one_line, run, settings, table
from scan_files import ARRAY, hdf5


@pytest.fixture(scope="module")
def simulated(prior, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    more = ("geometry.pixel_size=0.5", "geometry.unit=mm", "geometry.detector_offset=1.2")
    return run(prior, folder, "methods=[fbp]", "solver.t_min=0.025", *more)


class TestRuns:
    def test_a_run_folder_says_all(self, simulated, prior, tmp_path):
        """No setting of the geometry, the same numbers, and PSNR from the truth beside."""
        path = simulated / "reconstructions.h5"
        data = ("data.name=sinogram", f"data.path={path}", "data.key=sinogram")
        more = ("methods=[fbp]", "geometry.angles=null", "noise.relative=0.1")
        found = run(prior, tmp_path / "run", *more, "data.truth=ground_truth", data=data)
        np.testing.assert_allclose(arrays(found)["fbp"], arrays(simulated)["fbp"], atol=1e-5)
        ours, theirs = (table(folder / "metrics.csv") for folder in (found, simulated))
        for row, expected in zip(ours[::2], theirs[::2], strict=True):
            assert float(row["psnr"]) == pytest.approx(float(expected["psnr"]), abs=1e-3)
        assert set(arrays(found)) >= {"ground_truth"}
        again = load_reconstruct_config(found / "config.yaml")
        assert again.geometry.detector_offset == pytest.approx(1.2)

    def test_photons_weigh(self, simulated, prior, tmp_path):
        """Counts with a flat field and weights end in a run; weights change result and residual."""
        y = arrays(simulated)["sinogram"] / 4
        np.save(tmp_path / "scan.npy", 1e4 * np.exp(-y))
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npy'}", "data.flat=1e4")
        more = (
            "data.white=0.25",
            "geometry.pixel_size=0.5",
            "geometry.unit=mm",
            "geometry.detector_offset=1.2",
            "noise.relative=0.1",
        )
        found = {
            name: run(prior, tmp_path / name, *more, f"noise.weights={name}", data=data)
            for name in ("uniform", "transmission")
        }
        plain, weighted = (arrays(folder) for folder in found.values())
        np.testing.assert_allclose(plain["sinogram"], arrays(simulated)["sinogram"], atol=1e-3)
        np.testing.assert_array_equal(plain["fbp"], weighted["fbp"])
        for name in ("tv", "preconditioned"):
            assert np.abs(plain[name] - weighted[name]).max() > 1e-3
        geometry = replace(ParallelBeam2D.for_image(32, 20, 0.5, "mm"), detector_offset=1.2)
        weights = np.exp(-y) / np.exp(-y).mean((1, 2), keepdims=True)
        x = torch.from_numpy(weighted["preconditioned"])
        misfit = weights * (Radon(geometry)(x[:, None])[:, 0].numpy() - weighted["sinogram"]) ** 2
        with h5py.File(found["transmission"] / "reconstructions.h5") as file:
            expected = np.sqrt(misfit.mean((1, 2))) / file.attrs["sigma_y"]
        metrics = found["transmission"] / "metrics.csv"
        residuals = column(metrics, "residual", method="preconditioned")
        np.testing.assert_allclose(residuals, expected, rtol=1e-3)

    @pytest.mark.slow
    def test_photons_on_an_off_centre_detector_with_a_dead_bin(self, tmp_path):
        """All of it at once, with the shipped prior: 2,000 photons a ray, line integrals to 5."""
        geometry = replace(
            ParallelBeam2D.for_image(128, 60, 0.5, "mm"), detector_count=211, detector_offset=1.3
        )
        x = torch.from_numpy(phantoms(range(1), 0, "test", 128)).reshape(1, 1, 128, 128)
        y = 0.25 * Radon(geometry)(x)[:, 0].numpy()
        rng = np.random.default_rng(0)
        flat, dark = rng.uniform(1800, 2200, 211), np.full((1, 211), 20.0)
        sets = {
            "counts": rng.poisson(flat * np.exp(-y)) + dark,
            "flat": rng.poisson(flat, (10, 211)) + dark,
            "dark": dark,
            "truth": 0.25 * x[:, 0].numpy(),
            "angles": np.array(geometry.angles),
        }
        sets["counts"][..., 50] = sets["flat"][..., 50] = 20
        spacing = {"detector_spacing": geometry.detector_spacing, "pixel_size": 0.5}
        path = hdf5(tmp_path / "scan.h5", sets, angle_unit="radian", length_unit="mm", **spacing)
        keys = ("data.key=counts", "data.flat=flat", "data.dark=dark", "data.truth=truth")
        data = ("data.name=sinogram", f"data.path={path}", *keys, "data.white=0.25")
        more = (
            "methods=[]",
            "geometry.find_offset=true",
            "geometry.angles=null",
            "solver.steps=40",
        )
        quality = {}
        for name in ("uniform", "transmission"):
            options = (*more, "solver.t_min=null", f"noise.weights={name}")
            found = run(Path("ellipses-128"), tmp_path / name, *options, data=data)
            (quality[name],) = column(found / "metrics.csv", "psnr")
        offset = load_reconstruct_config(found / "config.yaml").geometry.detector_offset
        assert offset == pytest.approx(1.3, abs=0.05)
        assert quality["transmission"] > max(quality["uniform"] + 2, 35)

    def test_images_of_another_size(self, prior, tmp_path, capsys):
        path = hdf5(tmp_path / "scan.h5", {"y": np.tile(ARRAY, (1, 5, 7))}, image_shape=[16, 16])
        output = tmp_path / "output"
        more = ("geometry.detector_spacing=1", "noise.relative=0.1")
        arguments = settings(prior, output, *more, data=("data.name=sinogram", f"data.path={path}"))
        parts = ("expected images of 32x32 pixels", "got 16x16 from image_shape")
        refused_in_one_line(capsys, arguments, output, parts)

    def test_what_only_measured_data_have(self):
        for setting in ("geometry.find_offset=true", "noise.weights=transmission"):
            with pytest.raises(UserError, match=rf"{setting} is for measured sinograms"):
                load_reconstruct_config(None, [setting])
        data = ["data.name=sinogram", "data.path=x.npy"]
        for more, message in (
            (["data.white=2", "data.water=1"], r"data\.water: .* got both"),
            (["data.dark=1"], r"data\.dark: expected data\.flat"),
            (["geometry.find_offset=true", "geometry.detector_offset=1"], "got both"),
        ):
            with pytest.raises(UserError, match=message):
                load_reconstruct_config(None, [*data, *more])
