"""What is checked and said before a run, and that a dry run writes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gnclightning.build_scan import with_white
from gnclightning.cli import reconstruct, train
from gnclightning.config import load_reconstruct_config
from gnclightning.diagnostics import GradientMismatch
from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator, Radon
from gnclightning.priors import RANGE, NetworkEnergy, PriorMetadata, save_pretrained
from gnclightning.reconstruction import preflight
from gnclightning.reconstruction.preflight import Probe, check_fits, duration
from gnclightning.sde import VPSDE
from run_folders import PHANTOMS, arrays, refused_in_one_line, run, settings, tiny_network

UNITS = ("geometry.pixel_size=0.5", "geometry.unit=mm")


@pytest.fixture(scope="module")
def simulated(prior, tmp_path_factory) -> Path:
    """A run with its centre of rotation 1.2 mm, so 3.4 bins, off the middle."""
    folder = tmp_path_factory.mktemp("run")
    more = ("geometry.detector_offset=1.2", "geometry.arc=[0,360]", "noise.relative=0.02")
    bins = ("geometry.detector_count=64", "geometry.detector_spacing=0.35")
    return run(prior, folder, "methods=[fbp]", "tv.iterations=1", *more, *bins, *UNITS)


def words(text: str) -> str:
    return " ".join(text.split())


class TestDryRun:
    def test_all_is_said_and_nothing_written(self, simulated, prior, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        path = simulated / "reconstructions.h5"
        data = ("data.name=sinogram", f"data.path={path}", "data.key=sinogram")
        more = ("geometry.angles=null", "geometry.find_offset=true")
        arguments = settings(prior, tmp_path / "output", *more, data=data)
        assert reconstruct([*arguments, "--dry-run"]) == 0
        out = words(capsys.readouterr().out)
        for part in (
            "sinograms 3 measured, 20 angles x 64 bins",
            "geometry 0 to 342 degrees; bins of 0.35 mm",
            "images 32x32 pixels of 0.5 mm",
            "1 is 1 per mm (data.white)",
            "(estimated)",
            "from 10 pairs of opposite projections",
            "operator norm",
            "regulariser",
            "GB with 3 images at a time",
        ):
            assert part in out
        offset = float(out.rpartition("rotation ")[2].partition(" bins")[0])
        assert offset == pytest.approx(1.2 / 0.35, abs=0.1)
        assert not list(tmp_path.iterdir())

    def test_what_was_found_is_kept(self, simulated, prior, tmp_path):
        """The run's settings give it again, without estimates and whatever the file says."""
        path = simulated / "reconstructions.h5"
        data = ("data.name=sinogram", f"data.path={path}", "data.key=sinogram", "data.count=1")
        more = ("geometry.angles=null", "geometry.find_offset=true", "methods=[fbp]")
        first = run(prior, tmp_path / "first", *more, data=data)
        config = load_reconstruct_config(first / "config.yaml")
        assert config.geometry.detector_offset == pytest.approx(1.2, abs=0.05)
        assert config.geometry.detector_offset != 1.2
        second = tmp_path / "second"
        command = ["--config", str(first / "config.yaml"), f"output={second}"]
        assert reconstruct(command) == 0
        for name, array in arrays(first).items():
            np.testing.assert_allclose(arrays(second)[name], array, atol=1e-5)

    def test_the_numbers_are_those_of_the_run(self, prior, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        seen: list[tuple[Probe, LinearOperator]] = []
        whole = preflight.probe

        def kept(operator, method, first):
            seen.append((whole(operator, method, first), operator))
            return seen[-1][0]

        monkeypatch.setattr("gnclightning.build_reconstruction.probe", kept)
        assert reconstruct([*settings(prior, tmp_path / "output"), "--dry-run"]) == 0
        (found, operator), out = seen[0], words(capsys.readouterr().out)
        assert isinstance(operator, Radon)
        matrix = operator(torch.eye(32 * 32).reshape(-1, 1, 32, 32)).flatten(1)
        exact = float(torch.linalg.matrix_norm(matrix.double(), 2))
        assert found.norm == pytest.approx(exact, rel=1e-3)
        assert f"norm {found.norm:.4g}" in out
        assert found.adjoint < 1e-7
        entries = int((matrix != 0).sum())
        # Of A and its transpose, an eighth of each: what symmetries give is not stored.
        assert 2 * entries * 8 / 8 <= found.shared_bytes < 2 * entries * 8 / 2
        assert found.step_seconds > 0

    def test_starts_and_other_weights_take_time_and_starts_memory(
        self, prior, tmp_path, capsys, monkeypatch
    ):
        """Three images, each begun 4 + 2 times, six steps of 100 s, four last ones of 50 s: 4 h."""
        whole = preflight.probe

        def slow(operator, method, first):
            return replace(whole(operator, method, first), step_seconds=100.0)

        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("gnclightning.build_reconstruction.probe", slow)
        more = ("starts=4", "alpha.sweep=[1,2]", "batch_size=64")
        assert reconstruct([*settings(prior, tmp_path / "output", *more), "--dry-run"]) == 0
        out = words(capsys.readouterr().out)
        assert "about 4.0 h" in out
        assert "with 12 starts at a time" in out

    def test_only_reconstructions_have_one(self, capsys):
        assert train(["--dry-run"]) == 2
        assert "--dry-run is for reconstructions" in capsys.readouterr().err

    def test_mistakes_are_errors(self, prior, tmp_path, capsys):
        path = tmp_path / "scan.npy"
        np.save(path, 1000 * np.random.default_rng(0).random((20, 47), dtype=np.float32))
        data = ("data.name=sinogram", f"data.path={path}")
        more = ("geometry.detector_spacing=0.1", "noise.relative=0.1")
        arguments = [*settings(prior, tmp_path / "o", *more, data=data), "--dry-run"]
        refused_in_one_line(capsys, arguments, tmp_path / "o", ("[0, 1]", "data.white=VALUE"))
        arguments += ["data.white=500"]
        parts = ("a detector as wide as the image", "sees 15%", "detector_spacing")
        refused_in_one_line(capsys, arguments, tmp_path / "o", parts)


class TestBeforeARun:
    def test_one_line_and_the_warnings(self, simulated, prior, tmp_path, capsys):
        """The line with progress only, warnings always."""
        y = arrays(simulated)["sinogram"]
        y[:, :, 30:32] = np.inf
        np.save(tmp_path / "scan.npy", np.exp(-0.05 * y))
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npy'}", "data.flat=1")
        more = (
            "data.white=0.05",
            "geometry.arc=[0,360]",
            "geometry.detector_spacing=0.35",
            "geometry.detector_offset=4",
            "methods=[fbp]",
            "noise.relative=0.1",
        )
        run(prior, tmp_path / "quiet", *more, *UNITS, data=data)
        quiet = capsys.readouterr().err
        assert "warning: a detector of 22.4 mm" in quiet
        assert "sees 90% of the diameter" in quiet
        assert f"warning: {3 * 20 * 2} pixels were raised to data.least_transmission" in quiet
        assert "dead pixels" not in quiet
        assert "|A|" not in quiet
        run(prior, tmp_path / "told", *more, *UNITS, "progress=true", data=data)
        assert "3 measured, 20 angles x 64 bins; |A| = " in capsys.readouterr().err

    def test_radians_that_are_taken_for_degrees(self, simulated, prior, tmp_path, capsys):
        """Half a turn of them; an arc of 7 degrees may be meant."""
        np.save(tmp_path / "scan.npy", arrays(simulated)["sinogram"])
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npy'}")
        more = ("geometry.detector_spacing=0.35", "methods=[fbp]", "noise.relative=0.1")
        warned = {}
        for arc in ("[0,3.14159]", "[0,7]"):
            output = tmp_path / arc
            run(prior, output, *more, *UNITS, f"geometry.arc={arc}", data=data)
            warned[arc] = "if they are in radians" in capsys.readouterr().err
        assert warned == {"[0,3.14159]": True, "[0,7]": False}

    @pytest.mark.parametrize(
        ("level", "warned"),
        [("noise.relative=10", True), ("noise.relative=1", False), ("noise.absolute=10", False)],
    )
    def test_noise_in_percent(self, level, warned, prior, tmp_path, capsys):
        assert reconstruct([*settings(prior, tmp_path / "run", level), "--dry-run"]) == 0
        text = (
            "warning: noise.relative=10 is noise of 10 times the mean |y|: if 10 percent are "
            "meant, give noise.relative=0.1"
        )
        assert (text in words(capsys.readouterr().out)) == warned

    def test_simulated_data_need_no_warning(self, prior, tmp_path, capsys):
        run(prior, tmp_path, "methods=[]", data=PHANTOMS)
        assert capsys.readouterr().err == ""


def a_probe(image_bytes: int, brightest: float = 1.0) -> Probe:
    none = torch.zeros(1)
    mismatch = GradientMismatch(none, none)
    return Probe(1.0, 0.0, mismatch, torch.tensor([brightest]), 0.1, 2, image_bytes, 1000)


def test_memory(monkeypatch):
    monkeypatch.setattr("gnclightning.reconstruction.preflight.total_memory", lambda: 10_000)
    cpu = torch.device("cpu")
    assert check_fits(a_probe(3000), 3, cpu) == 10_000
    with pytest.raises(UserError, match="give batch_size=2"):
        check_fits(a_probe(3001), 3, cpu)
    with pytest.raises(UserError, match="take fewer angles"):
        check_fits(a_probe(9001), 1, cpu)


def test_brightness():
    assert a_probe(1).warnings() == []
    for value in (0.01, 3.0):
        (warning,) = a_probe(1, value).warnings()
        assert f"have the mean {value:g}" in warning


def test_durations():
    times = {0.2: "1 s", 89.0: "89 s", 600.0: "10 min", 9000.0: "2.5 h"}
    assert {seconds: duration(seconds) for seconds in times} == times


class TestWater:
    def test_white_from_water_and_the_priors_range(self, tmp_path):
        """Of a prior from -1000 to 3000 HU, 1 is four times water; of others it is not known."""
        config = load_reconstruct_config(
            None, ["data.name=sinogram", "data.path=x.npy", "data.water=0.02"]
        )
        unit = "fraction of the range from -1000 to 3000 (HU)"
        metadata = PriorMetadata(
            (32, 32), (0.0, 1.0), intensity_unit=unit, training={RANGE: [-1000.0, 3000.0]}
        )
        assert with_white(config, metadata).data.white == pytest.approx(0.08)
        with pytest.raises(UserError, match=r"known in HU for data\.water"):
            with_white(config, PriorMetadata((32, 32), (0.0, 1.0)))

    def test_a_run(self, simulated, tmp_path):
        """Water at 0.02 per mm, and bone of 3000 HU as 1: the same image as without a unit."""
        path = tmp_path / "prior.safetensors"
        unit = "fraction of the range from -1000 to 3000 (HU)"
        metadata = PriorMetadata(
            (32, 32), (0.0, 1.0), intensity_unit=unit, training={RANGE: [-1000.0, 3000.0]}
        )
        save_pretrained(NetworkEnergy(VPSDE(), tiny_network()), metadata, path)
        np.save(tmp_path / "scan.npy", 0.08 * arrays(simulated)["sinogram"])
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npy'}", "data.water=0.02")
        more = ("geometry.arc=[0,360]", "geometry.detector_offset=1.2", "methods=[fbp]")
        bins = ("geometry.detector_spacing=0.35", "noise.relative=0.1")
        found = run(path, tmp_path / "run", *more, *bins, *UNITS, data=data)
        np.testing.assert_allclose(arrays(found)["fbp"], arrays(simulated)["fbp"], atol=1e-4)
        assert load_reconstruct_config(found / "config.yaml").data.white == pytest.approx(0.08)
