"""A run leaves what it promises, and the numbers are those of the images beside them."""

import json
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.console import Console

from gnclightning.build_reconstruction import (
    build_baselines,
    build_geometry,
    build_images,
    build_method,
    build_prior,
    build_scanner,
)
from gnclightning.build_solver import build_alpha, build_solver
from gnclightning.config import from_yaml_text, load_reconstruct_config
from gnclightning.config.reconstruct import AlphaConfig, GeometryConfig, ReconstructConfig
from gnclightning.data.images import ImageSet
from gnclightning.diagnostics import inspect
from gnclightning.metrics import psnr, ssim
from gnclightning.networks import UNet, UNetConfig
from gnclightning.operators import ParallelBeam2D, Radon, fbp
from gnclightning.priors import NetworkEnergy, load_prior
from gnclightning.reconstruction.measurement import Stream, image_seed
from gnclightning.reconstruction.methods import Outcome, Step, random_start
from gnclightning.reconstruction.progress import ProgressBar
from gnclightning.reconstruction.records import BatchResult, MethodResult, MetricsRow
from gnclightning.reconstruction.runner import Observer
from gnclightning.reconstruction.runner import run as run_batches
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.writers import RunFolder
from gnclightning.sde import VPSDE
from gnclightning.solvers import Armijo, ConstantStep, FixedFirstStep, Safeguard
from run_folders import COUNT, STEPS, arrays, column, configure, run, table, tiny_prior

METHODS = ("fbp", "tv", "preconditioned")
NAMES = tuple(f"ellipses[{n}]" for n in range(COUNT))


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> Path:
    return tiny_prior(tmp_path_factory.mktemp("prior") / "tiny.safetensors")


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    """The run that most tests look at, in two batches."""
    return run(prior, tmp_path_factory.mktemp("run"), "batch_size=2")


@pytest.fixture
def without_figures(monkeypatch):
    """Figures take longer than these runs."""
    monkeypatch.setattr(RunFolder, "run_finished", Observer.run_finished)


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(array)[:, None]


class TestContract:
    def test_files(self, folder):
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        figures = {"reconstructions.png", "errors.png", "convergence.png"}
        tables = {"config.yaml", "metrics.csv", "trace.csv", "reconstructions.h5", "summary.json"}
        tables |= {"certificate.json"}
        assert found == tables | {f"figures/{name}" for name in figures}

    def test_config_is_that_of_the_run(self, folder, prior):
        saved = from_yaml_text((folder / "config.yaml").read_text(), ReconstructConfig)
        assert saved == configure(prior, folder, "batch_size=2")

    def test_metrics_columns_and_rows(self, folder):
        header = (folder / "metrics.csv").read_text().partition("\n")[0]
        assert header == (
            "image,method,psnr,ssim,iterations,network_evaluations,operator_evaluations,"
            "seconds,status"
        )
        rows = table(folder / "metrics.csv")
        assert [(r["image"], r["method"]) for r in rows] == [(n, m) for n in NAMES for m in METHODS]
        assert all(float(row["seconds"]) > 0 for row in rows)
        counts = ("iterations", "network_evaluations", "operator_evaluations", "status")
        found = [tuple(row[name] for name in counts) for row in rows[:3]]
        # At first: f and its gradient; then 6 iterations of 15 A's and 15 A*'s, two passes of the
        # network each, but the last one, at t_min, needs no gradient of its own.
        assert found == [
            ("0", "0", "1", "direct"),
            ("10", "0", "20", "budget spent"),
            (str(STEPS), str(2 * STEPS), str(30 * STEPS + 2), "budget spent"),
        ]

    def test_trace_columns_and_rows(self, folder):
        header = (folder / "trace.csv").read_text().partition("\n")[0]
        assert header == (
            "image,method,iteration,t,objective,data_fidelity,regulariser,step_size,"
            "line_search_trials,descent_condition,gradient_norm,psnr"
        )
        rows = table(folder / "trace.csv")
        assert len(rows) == COUNT * (STEPS + 1)
        for name in NAMES:
            mine = [row for row in rows if row["image"] == name]
            assert [row["iteration"] for row in mine] == [str(n) for n in range(STEPS + 1)]
            assert {row["method"] for row in mine} == {"preconditioned"}
            start, *others = mine
            stepless = ("t", "step_size", "line_search_trials", "descent_condition")
            assert [start[key] for key in stepless] == [""] * 4
            assert all(np.isfinite(float(row[key])) for row in others for key in list(row)[3:])
            assert all(row["line_search_trials"].isdigit() for row in others)
            assert float(others[0]["t"]) == 1
            assert float(others[-1]["t"]) == 1e-3

    def test_data_sets_and_attributes(self, folder, prior):
        shapes = {name: array.shape for name, array in arrays(folder).items()}
        sinogram, image = (COUNT, 20, 47), (COUNT, 32, 32)
        assert shapes == {"sinogram": sinogram} | dict.fromkeys(("ground_truth", *METHODS), image)
        with h5py.File(folder / "reconstructions.h5") as file:
            attributes = dict(file.attrs)
            units = {name: file[name].attrs["unit"] for name in file}
        assert tuple(attributes["image_names"]) == NAMES
        assert attributes["version"] == "0.1.0"
        assert attributes["angle_unit"] == "radian"
        geometry = ParallelBeam2D.for_image(32, 20)
        entries = {
            key.removeprefix("geometry_"): value
            for key, value in attributes.items()
            if key.startswith("geometry_")
        }
        assert ParallelBeam2D.from_dict(entries) == geometry
        assert ParallelBeam2D.from_dict(json.loads(attributes["geometry"])) == geometry
        assert set(units.values()) == {units["fbp"], f"{units['fbp']} * pixel"}
        assert units["sinogram"] == f"{units['ground_truth']} * pixel"
        clean = Radon(geometry)(tensor(arrays(folder)["ground_truth"]))
        sigma = 0.1 * clean.double().abs().mean((1, 2, 3))
        np.testing.assert_allclose(attributes["sigma_y"], sigma, rtol=1e-6)

    def test_summary(self, folder):
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["finished"], summary["images"]) == (True, COUNT)
        assert list(summary["methods"]) == list(METHODS)
        names = ("psnr", "ssim", "seconds", "iterations", "network_evaluations")
        for method, values in summary["methods"].items():
            for name in names:
                numbers = column(folder / "metrics.csv", name, method=method)
                assert values[name]["mean"] == pytest.approx(np.mean(numbers), rel=1e-12)
                assert values[name]["std"] == pytest.approx(np.std(numbers), rel=1e-9, abs=1e-12)
        solver = summary["methods"]["preconditioned"]
        assert solver["statuses"] == {"budget spent": COUNT}
        assert solver["network_evaluations_per_iteration"] == 2
        cosines = np.array(column(folder / "trace.csv", "descent_condition", iteration="1"))
        assert (cosines < 0).all()
        assert summary["environment"]["device"] == "cpu"
        assert summary["environment"]["torch"] == torch.__version__
        measured = sum(column(folder / "metrics.csv", "seconds"))
        assert summary["wall_seconds"] > measured

    def test_certificate_is_that_of_the_trace(self, folder):
        certificate = json.loads((folder / "summary.json").read_text())["methods"][
            "preconditioned"
        ]["certificate"]
        trace = folder / "trace.csv"
        values = [column(trace, "objective", image=name) for name in NAMES]
        norms = [column(trace, "gradient_norm", image=name) for name in NAMES]
        steps = [row for row in table(trace) if row["iteration"] != "0"]
        descents = [float(row["descent_condition"]) < 0 for row in steps]
        assert certificate["descent_share"] == np.mean(descents)
        falling = [all(b <= a for a, b in pairwise(v)) for v in values]
        assert certificate["monotone"] == sum(falling)
        failures = [float(row["step_size"]) == 0 for row in steps]
        assert certificate["failures"] == sum(failures)
        assert certificate["relative_stationarity"] == pytest.approx(
            np.mean([n[-1] / n[0] for n in norms]), rel=1e-12
        )
        assert (certificate["armijo_share"], certificate["gradient_like"]) == (1, COUNT)

    def test_a_full_certificate_inspects_the_prior(self, prior, tmp_path, monkeypatch):
        """Its numbers are those of the diagnostics at the reconstructions."""
        monkeypatch.setattr(RunFolder, "run_finished", Observer.run_finished)
        run(prior, tmp_path, "certificate.level=full", "solver.steps=2", "methods=[]")
        rows = json.loads((tmp_path / "certificate.json").read_text())["preconditioned"]["images"]
        energy, _ = load_prior(prior)
        x = torch.from_numpy(arrays(tmp_path)["preconditioned"])[:, None]
        expected = inspect(energy.requires_grad_(False), x, 1e-3)
        for name in ("smallest_curvature", "largest_curvature"):
            found = [row[name] for row in rows]
            assert found == pytest.approx(getattr(expected, name).tolist(), rel=1e-3)
        assert all(row["asymmetry"] < 1e-2 for row in rows)
        assert all(row["largest_curvature"] > row["smallest_curvature"] for row in rows)

    @pytest.mark.parametrize("name", ["reconstructions", "errors", "convergence"])
    def test_figures_show_something(self, folder, name):
        pixels = imread(folder / "figures" / f"{name}.png")
        assert min(pixels.shape[:2]) > 300
        assert len(np.unique(pixels[..., 0])) > 50


@pytest.mark.usefixtures("without_figures")
class TestNumbers:
    def test_metrics_are_those_of_the_saved_images(self, folder):
        saved = arrays(folder)
        truth = tensor(saved["ground_truth"])
        for method in METHODS:
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                found = column(folder / "metrics.csv", name, method=method)
                np.testing.assert_allclose(found, metric(tensor(saved[method]), truth), rtol=1e-12)

    def test_last_row_of_the_trace_is_the_saved_image(self, folder):
        last = column(folder / "trace.csv", "psnr", iteration=str(STEPS))
        assert last == column(folder / "metrics.csv", "psnr", method="preconditioned")

    def test_objective_is_f_of_the_saved_image(self, folder, prior):
        saved = {name: tensor(array) for name, array in arrays(folder).items()}
        with h5py.File(folder / "reconstructions.h5") as file:
            sigma = torch.from_numpy(file.attrs["sigma_y"])
        energy, _ = load_prior(prior)
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
        expected = fbp(tensor(saved["sinogram"]), ParallelBeam2D.for_image(32, 20))
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

    def test_images_that_are_not_square(self, tmp_path):
        prior = tiny_prior(tmp_path / "wide.safetensors", (24, 32))
        wide = np.random.default_rng(0).random((2, 24, 32), dtype=np.float32)
        np.save(tmp_path / "wide.npy", wide)
        data = ("data.name=folder", f"data.path={tmp_path / 'wide.npy'}")
        saved = arrays(run(prior, tmp_path / "out", "methods=[]", data=data))
        np.testing.assert_array_equal(saved["ground_truth"], wide)
        assert saved["preconditioned"].shape == wide.shape


def measured(prior: Path, *overrides: str) -> list:
    """The measured batches of a run."""
    config = configure(prior, Path("unused"), *overrides)
    images = build_images(config)
    operator = Radon(build_geometry(config.geometry, images))
    return list(build_scanner(config, operator).batches(images, config.batch_size))


def noise(batches: list) -> torch.Tensor:
    return torch.cat([b.y for b in batches])


def starts(batches: list) -> torch.Tensor:
    return torch.cat([random_start(b) for b in batches])


class TestRandomness:
    def test_noise_depends_on_its_own_seed_only(self, prior):
        reference = noise(measured(prior))
        for same in ("start_seed=5", "batch_size=1", "solver.name=gnc_flow", "noise.seed=0"):
            torch.testing.assert_close(noise(measured(prior, same)), reference, atol=1e-5, rtol=0)
        for other in ("seed=1", "noise.seed=1"):
            assert (noise(measured(prior, other)) - reference).abs().max() > 0.1

    def test_starts_depend_on_their_own_seed_only(self, prior):
        reference = starts(measured(prior))
        for same in ("noise.seed=5", "batch_size=1", "noise.relative=0.5", "start_seed=0"):
            assert torch.equal(starts(measured(prior, same)), reference)
        for other in ("seed=1", "start_seed=1"):
            assert (starts(measured(prior, other)) - reference).abs().min(0).values.max() > 0.1

    def test_an_image_keeps_its_numbers_among_other_images(self, prior):
        """Phantoms 1 and 2 of a run of three, and of a run that begins with phantom 1."""
        whole, part = measured(prior), measured(prior, "data.start=1", "data.count=2")
        torch.testing.assert_close(noise(part), noise(whole)[1:], atol=1e-5, rtol=0)
        assert torch.equal(starts(part), starts(whole)[1:])

    def test_starts_are_standard_normal(self, prior):
        x = starts(measured(prior)).double()
        assert x.mean().abs() < 4 / x.numel() ** 0.5
        assert abs(x.var() - 1) < 4 * (2 / x.numel()) ** 0.5
        correlation = torch.corrcoef(x.flatten(1)) - torch.eye(COUNT)
        assert correlation.abs().max() < 4 / x[0].numel() ** 0.5

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32), st.integers(0, 2**32))
    def test_streams_differ(self, seed, image, other):
        seeds = {image_seed(seed, stream, n) for stream in Stream for n in (image, other)}
        assert len(seeds) == 2 * len({image, other})
        assert all(0 <= n < 2**64 for n in seeds)


class TestBuilding:
    @pytest.mark.parametrize(
        ("settings", "count", "spacing"),
        [
            ({}, 47, 32 * 2**0.5 / 47),
            ({"detector_count": 30}, 30, 32 * 2**0.5 / 30),
            ({"detector_spacing": 0.5}, 91, 0.5),
            ({"detector_count": 10, "detector_spacing": 2.0}, 10, 2.0),
            ({"pixel_size": 2.0}, 47, 64 * 2**0.5 / 47),
            ({"pixel_size": 2.0, "detector_spacing": 1.0}, 91, 1.0),
        ],
    )
    def test_detector_covers_the_diagonal_unless_told(self, settings, count, spacing):
        images = ImageSet(torch.eye(32)[None, None], ("eye",), (0,))
        geometry = build_geometry(GeometryConfig(angles=7, unit="mm", **settings), images)
        assert (geometry.detector_count, geometry.unit) == (count, "mm")
        assert geometry.detector_spacing == pytest.approx(spacing, rel=1e-12)
        assert len(geometry.angles) == 7

    def test_alpha_rules(self):
        sde, sigma = VPSDE(), torch.tensor([2.0, 3.0], dtype=torch.float64)
        prior = NetworkEnergy(sde, UNet(UNetConfig(channels=8, multipliers=[1], blocks=[1])))
        t = torch.tensor([1e-3, 1e-3], dtype=torch.float64)
        ratio = sde.noise_to_signal(t)
        auto = build_alpha(AlphaConfig(value=0.7), prior, 1e-3)(sigma)
        torch.testing.assert_close(auto(t), 0.7 * sigma**2)
        torch.testing.assert_close(
            auto(t + 0.5) / auto(t), (sde.noise_to_signal(t + 0.5) / ratio).sqrt()
        )
        constant = build_alpha(AlphaConfig(rule="constant", value=0.7), prior, 1e-3)(sigma)
        torch.testing.assert_close(constant(t), torch.full_like(t, 0.7))
        scaled = build_alpha(AlphaConfig(rule="noise_scale", value=0.7), prior, 1e-3)(sigma)
        torch.testing.assert_close(scaled(t), 0.7 * ratio)

    def test_solver_settings_arrive(self):
        overrides = ["solver.nonmonotone=2", "solver.gradient_tolerance=0.1", "solver.t_max=0.5"]
        line = ["solver.armijo=0.2", "solver.shrink=0.3", "solver.max_trials=4"]
        config = load_reconstruct_config(None, [*overrides, *line, "solver.schedule=linear"])
        solver = build_solver(config.solver)
        assert (solver.memory, solver.tolerance, solver.steps) == (3, 0.1, 40)
        assert solver.search == Armijo(0.2, 0.3, 4)
        expected = torch.linspace(0.5, 1e-3, 40, dtype=torch.float64)
        torch.testing.assert_close(solver.schedule, expected)

    def test_constant_steps(self):
        overrides = ["solver.name=gnc_flow", "solver.step_rule=constant"]
        solver = build_solver(load_reconstruct_config(None, overrides).solver)
        assert solver.search == ConstantStep()
        assert solver.first_step == FixedFirstStep(5e-4)

    def test_final_steps_and_safeguard_arrive(self):
        overrides = ["solver.steps=10", "solver.final_steps=4", "solver.kappa_1=0.01"]
        config = load_reconstruct_config(None, [*overrides, "solver.kappa_2=7"])
        solver = build_solver(config.solver)
        assert (solver.steps, len(solver.schedule), solver.schedule[-1]) == (10, 7, 1e-3)
        assert solver.safeguard == Safeguard(0.01, 7)

    def test_scaled_prior_is_evaluated_at_the_scaled_image(self, prior, tmp_path):
        config = configure(prior, tmp_path, "prior.evaluate_at=scaled", "solver.t_min=0.1")
        images = build_images(config)
        energy, _ = build_prior(config, images)
        operator = Radon(build_geometry(config.geometry, images))
        (batch,) = build_scanner(config, operator).batches(images, 8)
        solver = build_method(config, operator, energy)
        objective = solver.objective(batch)
        gamma = float(energy.sde.mean_scale(torch.tensor([0.1])))
        found = objective.evaluate(batch.truth).regulariser
        t = torch.full((COUNT,), 0.1)
        expected = AlphaConfig().weight * batch.sigma_y**2 * energy.energy(gamma * batch.truth, t)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        unscaled = AlphaConfig().weight * batch.sigma_y**2 * energy.energy(batch.truth, t)
        assert (found / unscaled - 1).abs().min() > 1e-3


@pytest.mark.parametrize("solver", ["preconditioned", "gradient_like"])
@pytest.mark.parametrize("noise", [1.0, None])
def test_a_run_does_not_depend_on_the_unit_of_length(solver, noise, prior, tmp_path):
    """Reconstructions and traces are the same; sinograms and their noise are in the unit asked."""
    found = []
    for size, unit in ((1.0, "pixel"), (100.0, "um")):
        path = tmp_path / unit
        level = [] if noise is None else [f"noise.absolute={noise * size}"]
        lengths = [f"geometry.pixel_size={size}", f"geometry.unit={unit}"]
        run(prior, path, f"solver.name={solver}", *lengths, *level)
        found.append((arrays(path), table(path / "trace.csv")))
    (pixels, trace), (micrometres, other) = found
    for name in ("fbp", "tv", solver):
        np.testing.assert_allclose(micrometres[name], pixels[name], rtol=0, atol=1e-4)
    np.testing.assert_allclose(micrometres["sinogram"], 100 * pixels["sinogram"], rtol=1e-4)
    objectives = [[float(row["objective"]) for row in rows] for rows in (trace, other)]
    np.testing.assert_allclose(*objectives, rtol=1e-4)


class Fake:
    """A method that makes what it is told, and calls back once."""

    name = "fake"

    def __init__(self, x: torch.Tensor, status: str = "not finite"):
        self.x, self.status = x, status

    def __call__(self, measured, callback) -> Outcome:
        n = len(self.x)
        callback(Step(0, self.x, torch.ones(n).bool(), torch.zeros(n, 8, dtype=torch.float64)))
        none = torch.zeros(n, dtype=torch.int64)
        return Outcome(self.x, [self.status] * n, none, none, none)


class Recorder(Observer):
    def __init__(self, pause: float = 0.0):
        self.pause, self.calls, self.results = pause, [], []

    def batch_started(self, batch):
        self.calls.append("batch started")

    def method_started(self, name):
        self.calls.append(name)

    def iterated(self, iteration):
        time.sleep(self.pause)
        self.calls.append(iteration.number)

    def batch_finished(self, result):
        self.results.append(result)
        self.calls.append("batch finished")

    def run_finished(self):
        self.calls.append("run finished")

    def close(self):
        self.calls.append("closed")


class TestRunner:
    def test_observers_are_told_in_order(self, prior):
        batches = measured(prior, "batch_size=2")
        recorder = Recorder()
        run_batches(batches[1:], [Fake(batches[1].truth)], [recorder])
        assert recorder.calls == [
            *("batch started", "fake", 0, "batch finished", "run finished", "closed")
        ]

    def test_an_image_that_is_not_finite_does_not_hurt_the_others(self, prior):
        (batch,) = measured(prior)
        x = 0.9 * batch.truth
        x[1] = torch.nan
        recorder = Recorder()
        run_batches([batch], [Fake(x)], [recorder])
        rows = recorder.results[0].metrics
        assert [row.status for row in rows] == ["not finite"] * COUNT
        assert [np.isnan(row.psnr) for row in rows] == [False, True, False]
        alone = psnr(x[::2], batch.truth[::2]).tolist()
        assert [rows[0].psnr, rows[2].psnr] == alone
        assert rows[2].ssim == pytest.approx(ssim(x[2:], batch.truth[2:]).item(), rel=1e-12)

    def test_the_time_of_observers_is_not_the_method_s(self, prior):
        (batch,) = measured(prior)
        recorder = Recorder(pause=0.3)
        run_batches([batch], [Fake(batch.truth)], [recorder])
        assert recorder.results[0].metrics[0].seconds < 0.1

    def test_all_are_closed_whatever_happens(self, prior):
        class Failing(Recorder):
            def iterated(self, iteration):
                raise KeyboardInterrupt

            def close(self):
                raise OSError("close")

        (batch,) = measured(prior)
        last = Recorder()
        with pytest.raises(OSError, match="close") as caught:
            run_batches([batch], [Fake(batch.truth)], [Failing(), last])
        assert isinstance(caught.value.__context__, KeyboardInterrupt)
        assert last.calls[-1] == "closed"
        assert "batch finished" not in last.calls


def rows(image: str, **changes) -> list[MetricsRow]:
    row = MetricsRow(image, "fbp", 20.0, 0.5, 0, 0, 1, 0.25, "direct")
    solver = MetricsRow(image, "preconditioned", 33.21, 0.935, 40, 80, 402, 2.5, "budget spent")
    return [row, solver._replace(**changes)]


class TestScreen:
    def print_table(self, images: list[list[MetricsRow]]) -> list[str]:
        console = Console(width=80, file=(file := StringIO()))
        observer = FinalTable(Path("runs/try"), console)
        columns = zip(*images, strict=True)
        methods = [MethodResult("", None, list(column), [], None) for column in columns]
        observer.batch_finished(BatchResult(None, methods))
        observer.close()
        return [line.rstrip() for line in file.getvalue().splitlines()]

    def test_table(self):
        lines = self.print_table(
            [rows("a"), rows("b", psnr=35.21, status="converged", iterations=39)]
        )
        found = [line.split() for line in lines if line.strip()]
        assert found[3] == ["a", "FBP", "20.00", "0.500", "0", "0", "0.25", "direct"]
        assert found[4] == ["GNC", "33.21", "0.935", "40", "80", "2.50", "budget", "spent"]
        assert found[7][:3] == ["mean", "of", "2"]
        mean = ["GNC", "34.21", "0.935", "39.5", "80", "2.50", "1", "budget", "spent,", "1"]
        assert found[8] == mean
        assert lines[-1] == "run folder: runs/try"

    def test_long_table_is_cut_but_its_mean_is_not(self):
        lines = self.print_table([rows(f"image {n}", psnr=float(n)) for n in range(101)])
        text = "\n".join(lines)
        assert "image 19" in text
        assert "image 20" not in text
        assert "81 more" in text
        assert "mean of 101" in text
        assert " 50.00" in text

    def test_names_are_no_markup(self):
        text = "\n".join(self.print_table([rows("a[red]b"), rows("[/c]")]))
        assert "a[red]b" in text
        assert "[/c]" in text

    def test_progress(self, prior, tmp_path, capsys):
        console = Console(width=100, force_terminal=True, file=(file := StringIO()))
        batches = measured(prior, "batch_size=2")
        bar = ProgressBar(COUNT, STEPS, console)
        config = configure(prior, tmp_path)
        images = build_images(config)
        operator = Radon(ParallelBeam2D.for_image(32, 20))
        solver = build_method(config, operator, build_prior(config, images)[0])
        methods = [*build_baselines(config, operator), solver]
        run_batches(batches, methods, [bar])
        text = file.getvalue()
        assert "3/3 images, done" in text
        assert f"{STEPS}/{STEPS}" in text
        assert "PSNR" in text
