"""Fan beams as programs and Python run them: simulated, measured, and refused."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import gnclightning
from gnclightning import FanBeam2D, UserError
from gnclightning.cli import reconstruct
from gnclightning.config import load_reconstruct_config
from gnclightning.config.geometry import GeometryConfig
from gnclightning.operators import Radon, fbp
from gnclightning.reconstruction.report.content import read_content
from run_folders import FAST, arrays, column, refused_in_one_line, run, settings

GEOMETRY = FanBeam2D.for_image(32, 20, 0.5, "mm", source_distance=40, detector_distance=20)
FAN = ("geometry.beam=fan", "geometry.source_distance=40", "geometry.detector_distance=20")
UNITS = ("geometry.pixel_size=0.5", "geometry.unit=mm")
EXACT = ("solver.t_min=0.025", "methods=[fbp]")


@pytest.fixture(scope="module")
def simulated(prior, tmp_path_factory) -> Path:
    return run(prior, tmp_path_factory.mktemp("fan"), *EXACT, *FAN, *UNITS)


def measured(path: Path, *more: str) -> tuple[str, ...]:
    return ("data.name=sinogram", f"data.path={path}", *more)


def stored(folder: Path, name: str) -> torch.Tensor:
    return torch.from_numpy(arrays(folder)[name])[:, None]


class TestSimulated:
    def test_sinograms_are_those_of_the_fan(self, simulated):
        with h5py.File(simulated / "reconstructions.h5") as file:
            sigma = torch.from_numpy(file.attrs["sigma_y"])
            assert file.attrs["geometry_source_distance"] == 40
        y = stored(simulated, "sinogram")
        noise = y - Radon(GEOMETRY)(stored(simulated, "ground_truth"))
        spread = noise.double().square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(spread, sigma, rtol=0.1, atol=0)
        expected = fbp(y, GEOMETRY, "hann")
        torch.testing.assert_close(stored(simulated, "fbp"), expected, rtol=0, atol=1e-5)

    def test_the_report_knows_the_fan(self, simulated):
        """|A x - y| / noise by the fan's own projector."""
        with h5py.File(simulated / "reconstructions.h5") as file:
            sigma = file.attrs["sigma_y"]
        x, y = (stored(simulated, name) for name in ("preconditioned", "sinogram"))
        sizes = (Radon(GEOMETRY)(x) - y).double().square().mean((1, 2, 3)).sqrt().numpy() / sigma
        content = read_content(simulated)["table"]
        place = content["columns"].index("|Ax-y| / noise")
        found = sorted(row[place] for row in content["rows"])
        assert found == pytest.approx(sorted(sizes.tolist()), rel=1e-3)

    def test_its_settings_repeat_it(self, simulated, tmp_path):
        output = tmp_path / "again"
        config = str(simulated / "config.yaml")
        assert reconstruct(["--config", config, f"output={output}"]) == 0
        for name, values in arrays(simulated).items():
            np.testing.assert_array_equal(arrays(output)[name], values)

    def test_bins_of_a_given_width_see_the_whole_image(self, prior, tmp_path):
        given = ("geometry.detector_spacing=0.7", "methods=[]", "solver.steps=1")
        folder = run(prior, tmp_path / "run", *FAN, *UNITS, *given)
        bins = arrays(folder)["sinogram"].shape[-1]
        assert (bins - 1) * 0.7 < GEOMETRY.covering_width <= bins * 0.7

    def test_what_is_checked_is_said_of_the_fan(self, prior, tmp_path, capsys):
        arguments = settings(prior, tmp_path / "run", *FAN, *UNITS)
        assert reconstruct(["--dry-run", *arguments]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "fan beam, source 40 and detector 20 mm from the centre; 0 to 342 degrees" in said


class TestMeasured:
    def test_a_file_states_its_fan(self, simulated, prior, tmp_path):
        """The file of a run, without a word on the geometry, gives the images of that run."""
        data = measured(simulated / "reconstructions.h5", "data.key=sinogram")
        more = ("geometry.angles=null", "noise.relative=0.1", *EXACT)
        found = run(prior, tmp_path / "run", *more, data=data)
        config = load_reconstruct_config(found / "config.yaml").geometry
        assert (config.beam, config.source_distance, config.detector_distance) == ("fan", 40, 20)
        np.testing.assert_allclose(
            arrays(found)["fbp"], arrays(simulated)["fbp"], rtol=0, atol=1e-5
        )
        first = arrays(found)["sinogram"] - arrays(simulated)["sinogram"]
        assert np.abs(first).max() < 1e-5

    def test_python_gives_what_the_command_line_gives(self, simulated, prior, tmp_path):
        y = arrays(simulated)["sinogram"]
        np.save(tmp_path / "scan.npy", 0.02 * y)
        data = measured(tmp_path / "scan.npy", "data.white=0.02")
        more = ("methods=[]", "noise.relative=0.1")
        folder = run(prior, tmp_path / "run", *FAN, *UNITS, *more, data=data)
        solver = [setting for setting in FAST if setting.startswith("solver")]
        found = gnclightning.reconstruct(
            0.02 * y, GEOMETRY, prior, noise=0.1, white=0.02, device="cpu", settings=solver
        )
        np.testing.assert_allclose(found.image, arrays(folder)["preconditioned"], rtol=0, atol=2e-5)
        np.testing.assert_allclose(found.fbp, arrays(folder)["fbp"], rtol=0, atol=2e-5)
        assert found.config.geometry.beam == "fan"

    def test_photons_weigh_in_all_that_is_asked_for(self, simulated, prior, tmp_path):
        """|W^(1/2) (A x - y)| by the fan, with the sweep's factors, for the first start and TV."""
        transmitted = np.exp(-0.1 * arrays(simulated)["sinogram"])
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["counts"] = 1e4 * transmitted
            file.attrs.update(source_distance=40, detector_distance=20, length_unit="mm")
        data = measured(tmp_path / "scan.h5", "data.key=counts", "data.flat=1e4", "data.white=0.1")
        more = ("noise.weights=transmission", "starts=2", "alpha.sweep=[0.25,1]", "methods=[tv]")
        folder = run(prior, tmp_path / "run", *UNITS, *more, "noise.relative=0.1", data=data)
        weights = transmitted / transmitted.mean((1, 2), keepdims=True)
        with h5py.File(folder / "reconstructions.h5") as file:
            sigma = file.attrs["sigma_y"]
        y = stored(folder, "sinogram")
        for name in ("tv", "preconditioned", "preconditioned_alpha_1", "preconditioned_mean"):
            gap = (Radon(GEOMETRY)(stored(folder, name)) - y)[:, 0].double().numpy()
            expected = np.sqrt((weights * gap**2).mean((1, 2))) / sigma
            found = column(folder / "metrics.csv", "residual", method=name)
            assert found == pytest.approx(expected.tolist(), rel=1e-3)
        half, quarter, whole = (
            np.array(column(folder / "metrics.csv", "alpha", method=f"preconditioned{which}"))
            for which in ("", "_alpha_0.25", "_alpha_1")
        )
        np.testing.assert_allclose([quarter / half, whole / half], [[0.5] * 3, [2] * 3], rtol=1e-6)
        layers = [layer["label"] for layer in read_content(folder)["gallery"]["layers"]]
        assert {"TV", "GNC"} <= set(layers)

    def test_a_wrong_unit_is_noticed(self, simulated, prior, tmp_path):
        """The mean of the image follows from a whole turn of fans; half of what is right passes."""
        y = arrays(simulated)["sinogram"]
        for factor, fits in ((0.5, True), (0.02, True), (50.0, False), (1e-4, False)):
            arguments = {
                "prior": prior,
                "noise": 0.1,
                "device": "cpu",
                "settings": ["solver.steps=1"],
            }
            if fits:
                gnclightning.reconstruct(factor * y, GEOMETRY, **arguments)
                continue
            with pytest.raises(UserError, match="expected line integrals of an image"):
                gnclightning.reconstruct(factor * y, GEOMETRY, **arguments)

    @pytest.mark.parametrize(
        ("given", "part"),
        [
            (("geometry.beam=parallel",), "expected geometry.beam as"),
            (("geometry.source_distance=41",), "geometry.source_distance as"),
            (("geometry.detector_distance=0",), "geometry.detector_distance as"),
            (("geometry.find_offset=true",), "is for parallel beams, got geometry.beam=fan"),
        ],
    )
    def test_contradictions_are_named(self, simulated, prior, tmp_path, capsys, given, part):
        data = measured(simulated / "reconstructions.h5", "data.key=sinogram")
        arguments = settings(prior, tmp_path / "run", "geometry.angles=null", *given, data=data)
        refused_in_one_line(capsys, arguments, tmp_path / "run", (part,))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (("geometry.beam=fan",), "expected geometry.source_distance"),
        (("geometry.source_distance=40",), "settings of geometry.beam=fan, got parallel beams"),
        (("geometry.beam=fan", "geometry.source_distance=20"), "the source must not be within"),
        ((*FAN, "operator.backend=astra", "operator.kernel=strip"), "ASTRA's kernel line"),
    ],
)
def test_impossible_fans_are_refused(given, part, prior, tmp_path, capsys):
    arguments = settings(prior, tmp_path / "run", *given)
    refused_in_one_line(capsys, arguments, tmp_path / "run", (part,))


def test_angles_are_those_of_a_whole_turn():
    fan = GeometryConfig(beam="fan", angles=4, source_distance=100.0)
    assert fan.given_degrees == [0, 90, 180, 270]
    assert replace(fan, beam="parallel").given_degrees == [22.5, 67.5, 112.5, 157.5]
    assert replace(fan, arc=[10.0, 50.0]).given_degrees == [10, 20, 30, 40]
