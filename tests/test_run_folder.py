"""A whole small reconstruction: the contract of its run folder."""

import json
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from gnclightning import cli
from gnclightning.config import from_yaml_text
from gnclightning.config.reconstruct import ReconstructConfig
from gnclightning.diagnostics import inspect_fully
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import from_pretrained
from gnclightning.reconstruction.writers import RunFolder
from run_folders import COUNT, METHODS, NAMES, STEPS, arrays, column, configure, run, table, tensor

SETTINGS = ("batch_size=2", "solver.cg_factor=0", "solver.cg_steps=15")
"""Two batches; as many conjugate-gradient steps whatever the noise, so that they are known."""


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    """The run that most tests look at."""
    return run(prior, tmp_path_factory.mktemp("run"), *SETTINGS)


class TestContract:
    def test_files(self, folder):
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        figures = {"reconstructions.png", "errors.png", "convergence.png"}
        tables = {"config.yaml", "metrics.csv", "trace.csv", "reconstructions.h5", "summary.json"}
        tables |= {"certificate.json", "report.html", ".lock"}
        assert found == tables | {f"figures/{name}" for name in figures}

    def test_config_is_that_of_the_run(self, folder, prior):
        saved = from_yaml_text((folder / "config.yaml").read_text(), ReconstructConfig)
        filled = ("alpha.value=0.5", "alpha.gain=1", "operator.backend=native")
        detector = ("geometry.detector_count=47", f"geometry.detector_spacing={32 * 2**0.5 / 47}")
        assert saved == configure(prior, folder, *SETTINGS, *filled, *detector)

    def test_the_saved_config_gives_the_run_again(self, folder, tmp_path, without_figures):
        output = tmp_path / "again"
        assert cli.reconstruct(["--config", f"{folder / 'config.yaml'}", f"output={output}"]) == 0
        again = arrays(output)
        for name, array in arrays(folder).items():
            np.testing.assert_array_equal(again[name], array)

    def test_metrics_columns_and_rows(self, folder):
        header = (folder / "metrics.csv").read_text().partition("\n")[0]
        assert header == (
            "image,method,psnr,ssim,iterations,network_evaluations,operator_evaluations,"
            "seconds,status,residual,alpha,cpu_seconds"
        )
        rows = table(folder / "metrics.csv")
        assert [(r["image"], r["method"]) for r in rows] == [(n, m) for n in NAMES for m in METHODS]
        assert all(float(row["seconds"]) > 0 for row in rows)
        assert all(float(row["cpu_seconds"]) > 0 for row in rows)
        counts = ("iterations", "network_evaluations", "operator_evaluations", "status")
        found = [tuple(row[name] for name in counts) for row in rows[:3]]
        # At first: f and its gradient; then 6 iterations of 15 A's and 15 A*'s, two passes of the
        # network each, but the last one, at t_min, needs no gradient of its own; then four steps
        # towards the mean.
        assert found == [
            ("0", "0", "1", "direct"),
            ("10", "0", "20", "budget spent"),
            (str(STEPS), str(2 * STEPS + 4), str(30 * STEPS + 2 + 4 * 32), "budget spent"),
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
        names = ("psnr", "ssim", "seconds", "cpu_seconds", "iterations", "network_evaluations")
        for method, values in summary["methods"].items():
            for name in names:
                numbers = column(folder / "metrics.csv", name, method=method)
                assert values[name]["mean"] == pytest.approx(np.mean(numbers), rel=1e-12)
                assert values[name]["std"] == pytest.approx(np.std(numbers), rel=1e-9, abs=1e-12)
        solver = summary["methods"]["preconditioned"]
        assert solver["statuses"] == {"budget spent": COUNT}
        assert solver["network_evaluations_per_iteration"] == (2 * STEPS + 4) / STEPS
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
        """Its numbers are those of the diagnostics at the last iterates."""
        monkeypatch.setattr(RunFolder, "_draw", lambda self: None)
        short = ["solver.steps=2", "solver.final_denoising=false", "methods=[]"]
        run(prior, tmp_path, "certificate.level=full", *short)
        rows = json.loads((tmp_path / "certificate.json").read_text())["preconditioned"]["images"]
        energy, _ = from_pretrained(prior)
        x = torch.from_numpy(arrays(tmp_path)["preconditioned"])[:, None]
        expected = inspect_fully(energy.requires_grad_(False), x, 1e-3)
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
