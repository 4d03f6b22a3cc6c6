"""The paper's tables and figures: files, and orderings that theory demands."""

import json
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
from matplotlib.image import imread

from gnclightning.cli import reconstruct
from gnclightning.config import ReconstructConfig, from_yaml_text
from gnclightning.experiments.arms.results import ResultRow
from gnclightning.experiments.figure2 import convergence
from gnclightning.experiments.figure3_figure import busiest, emptiest_corner
from gnclightning.experiments.table2 import table2
from gnclightning.reconstruction.records import TraceRow
from programs import check_program, imported
from quick_experiments import ARMS, PROGRAMS, summary
from run_folders import arrays, table
from wandb_files import Logged


@pytest.mark.parametrize("name", PROGRAMS)
class TestFiles:
    def test_results_are_those_of_the_arms(self, name, runs):
        rows = table(runs[name] / "results.csv")
        assert tuple(rows[0]) == ResultRow._fields
        assert list(dict.fromkeys(row["arm"] for row in rows)) == ARMS[name]
        for row in rows:
            arm = runs[name] / "arms" / row["arm"]
            own = [r for r in table(arm / "metrics.csv") if r["method"] == row["method"]]
            assert int(row["images"]) == len(own) > 0
            for key in ("psnr", "ssim"):
                values = [float(r[key]) for r in own]
                assert float(row[key]) == pytest.approx(fmean(values), rel=1e-12)
                assert float(row[f"{key}_std"]) == pytest.approx(pstdev(values), abs=1e-12)
            for key in ResultRow._fields[7:12]:
                assert float(row[key]) == pytest.approx(fmean(float(r[key]) for r in own))
            certificate = json.loads((arm / "certificate.json").read_text())
            if row["method"] in certificate:
                images = certificate[row["method"]]["images"]
                assert int(row["gradient_like"]) == sum(i["gradient_like"] for i in images)
            else:
                assert row["gradient_like"] == ""

    def test_the_page_and_the_summary_say_the_same(self, name, runs):
        page, found = (
            (runs[name] / "results.md").read_text(),
            summary(runs[name]),
        )
        command = found["command"]
        assert command.startswith(f"python -m gnclightning.experiments.{name} --quick data.size=32")
        assert f"`{command}`" in page
        environment = summary(runs[name] / "arms" / ARMS[name][0])["environment"]
        assert f"Measured {environment['date']} on {environment['hardware']}" in page
        for row in found["tables"][0]["rows"]:
            assert f"| {' | '.join(row)} |" in page
        csv_rows = table(runs[name] / "results.csv")
        assert [row["psnr"] for row in found["results"]] == [float(r["psnr"]) for r in csv_rows]
        assert f"]({name}.png)" in page

    def test_the_figure_is_not_blank(self, name, runs):
        pixels = (255 * imread(runs[name] / f"{name}.png")[..., :3]).astype(np.uint8)
        assert min(pixels.shape[:2]) > 200
        for part in np.array_split(pixels, 3, axis=1):
            assert len(np.unique(part.reshape(-1, 3), axis=0)) > 20


class TestOrderings:
    """What theory demands, read from the arms' traces."""

    def steps(self, folder: Path, arm: str) -> list[dict[str, str]]:
        rows = table(folder / "arms" / arm / "trace.csv")
        assert len(rows) > 4
        return rows

    @pytest.mark.parametrize("arm", ["gradient_like", "preconditioned"])
    def test_gradient_like_directions_descend_and_f_never_rises(self, arm, runs):
        rows = self.steps(runs["figure2"], arm)
        assert all(float(row["descent_condition"]) < 0 for row in rows[1:])
        values = [float(row["objective"]) for row in rows]
        assert all(after <= before for before, after in pairwise(values))
        found = summary(runs["figure2"])["convergence"][arm]
        assert (found["descent_share"], found["monotone"]) == (1.0, True)
        assert found["largest_cosine"] < 0

    def test_all_algorithms_begin_at_the_same_point(self, runs):
        first = [self.steps(runs["figure2"], arm)[0] for arm in ARMS["figure2"]]
        assert len({row["data_fidelity"] for row in first}) == 1

    def test_a_rise_of_f_and_a_climbing_direction_are_told(self):
        """As Algorithm 1 may have them."""

        def row(image: str, iteration: int, objective: float, cosine: float) -> TraceRow:
            return TraceRow(image, "gnc_flow", iteration, 0.1, objective, 1, 1, 1, 2, cosine, 1, 20)

        found = convergence(
            [
                *(row("a", 0, 5.0, nan), row("b", 0, 9.0, nan)),
                *(row("a", 1, 4.0, -0.5), row("b", 1, 8.0, -0.5)),
                *(row("a", 2, 4.25, 0.125), row("b", 2, 7.0, -0.5)),
            ]
        )
        assert found == {
            "descent_share": 0.75,
            "largest_cosine": 0.125,
            "largest_rise_of_f": 0.25,
            "monotone": False,
            "mean_trials": 2,
        }

    def test_an_adaptive_step_lowers_f(self, runs):
        values = [float(r["objective"]) for r in self.steps(runs["table2"], "adaptive")]
        assert all(after <= before for before, after in pairwise(values))


def test_table_1_is_the_spread_over_starts(runs):
    found = summary(runs["table1"])["methods"]
    for method in ("gradient_descent", "gnc_flow"):
        folders = [runs["table1"] / "arms" / f"{method}-{start}" for start in (0, 1)]
        starts = [table(folder / "metrics.csv") for folder in folders]
        for key in ("psnr", "ssim"):
            (a, b), (c, d) = ([float(row[key]) for row in rows] for rows in starts)
            assert a != c
            assert found[method][key] == pytest.approx((a + b + c + d) / 4, rel=1e-12)
            spread = (abs(a - c) + abs(b - d)) / 2 / 2**0.5
            assert found[method][f"{key}_std"] == pytest.approx(spread, rel=1e-9)
        first, second = (arrays(folder)["sinogram"] for folder in folders)
        assert (first == second).all()


def test_table_2_has_the_best_of_the_steps_tried_on_a_validation_image(runs):
    found = summary(runs["table2"])
    tried = {float(step): psnr for step, psnr in found["steps_tried"].items()}
    assert len(tried) == 2
    assert tried[found["constant_step"]] == max(tried.values())
    for step, psnr in tried.items():
        arm = runs["table2"] / "arms" / f"step-{step:g}"
        config = from_yaml_text((arm / "config.yaml").read_text(), ReconstructConfig)
        assert (config.data.split, config.data.count) == ("validation", 1)
        assert config.solver.constant_step == step
        assert [float(row["psnr"]) for row in table(arm / "metrics.csv")] == [psnr]
    row = table(runs["table2"] / "results.csv")[0]
    assert f"solver.constant_step={found['constant_step']:g}" in row["settings"]


def test_results_are_tracked(runs):
    names = {key.partition(".")[0] for row in Logged(runs["table1"]).history for key in row}
    assert {"table1/results", "table1/table", "table1/table1"} <= names


class TestInsets:
    def test_the_busiest_square_is_found(self):
        image = np.zeros((20, 24), np.float32)
        image[11:14, 15:18] = np.indices((3, 3)).sum(0) % 2
        row, column = busiest(image, 5)
        assert (row, column) == (10, 14)
        assert busiest(np.zeros((9, 9), np.float32), 3) == (0, 0)

    def test_the_inset_hides_least(self):
        image = np.zeros((20, 20), np.float32)
        image[2, 2], image[2, 17], image[17, 17] = 1, 2, 0.5
        assert emptiest_corner(image, (9, 9), 2) == (True, False)
        image[16, 3] = 0.25
        assert emptiest_corner(image, (9, 9), 2) == (True, False)
        assert emptiest_corner(image, (15, 2), 3) == (True, True)


def test_modules_are_programs_that_answer_without_heavy_imports(tmp_path, capsys):
    arguments = ["--print-config", "data.count=3", "--quick"]
    code = f"from gnclightning.experiments.table2 import table2\nassert table2({arguments}) == 0"
    assert imported(code, "torch", "numpy", "matplotlib", "wandb") == []
    assert table2(arguments) == 0
    out = capsys.readouterr().out
    assert "quick: true" in out
    assert "- data.count=3" in out
    check_program("gnclightning.experiments.table1", "starts=10", tmp_path)


def test_quick_is_for_experiments(capsys):
    assert reconstruct(["--quick"]) == 2
    assert capsys.readouterr().err == (
        "error: --quick is for experiments, this program has none: leave it out\n"
    )
