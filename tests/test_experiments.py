"""The paper's tables and figures: files, orderings that theory demands, nothing done twice."""

import json
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from gnclightning import build_run
from gnclightning.cli import reconstruct
from gnclightning.config import ReconstructConfig, from_yaml_text, load_reconstruct_config
from gnclightning.experiments.alpha_study import alpha_study
from gnclightning.experiments.arms.results import ResultRow
from gnclightning.experiments.figure2 import convergence, figure2
from gnclightning.experiments.figure3 import figure3
from gnclightning.experiments.figure3_figure import busiest, emptiest_corner
from gnclightning.experiments.schedule_study import GROUPS, schedule_study
from gnclightning.experiments.table1 import table1
from gnclightning.experiments.table2 import table2
from gnclightning.reconstruction import figures
from gnclightning.reconstruction.records import TraceRow
from gnclightning.sde import VPSDE
from programs import check_program, imported
from run_folders import arrays, table
from wandb_files import Logged

PROGRAMS = {
    "table1": table1,
    "table2": table2,
    "figure2": figure2,
    "figure3": figure3,
    "schedule_study": schedule_study,
    "alpha_study": alpha_study,
}
ARMS = {
    "table1": ["gradient_descent-0", "gradient_descent-1", "gnc_flow-0", "gnc_flow-1"],
    "table2": ["constant", "adaptive", "preconditioned", "preconditioned-10"],
    "figure2": ["gnc_flow", "gradient_like", "preconditioned"],
    "figure3": ["preconditioned", "gnc_flow"],
    "schedule_study": ["default", *(f"{number:02d}-1" for number in range(1, 1 + len(GROUPS)))],
    "alpha_study": [
        *("factor-0.2", "factor-0.5", "factor-1"),
        *("gain-0", "gain-5", "discrepancy", "constant", "noise-scale-1", "noise-scale-2"),
    ],
}


def words(prior: Path, folder: Path, *more: str) -> list[str]:
    """Arguments of a quick run with an untrained prior."""
    small = ("--quick", "data.size=32", "geometry.angles=20", "device=cpu", "progress=false")
    return [*small, f"prior.path={prior}", f"output={folder}", *more]


@pytest.fixture(scope="module", autouse=True)
def plain_arms():
    """Arms without figures of their own, which take most of a small run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda results: {})
        yield


@pytest.fixture(scope="module")
def runs(prior, tmp_path_factory) -> dict[str, Path]:
    """A quick run of each experiment; that of Table 1 has two images and is tracked."""
    root = tmp_path_factory.mktemp("experiments")
    more = {"table1": ("data.count=2", "logger.mode=offline")}
    for name, program in PROGRAMS.items():
        assert program(words(prior, root / name, *more.get(name, ()))) == 0
    return {name: root / name for name in PROGRAMS}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


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
        page, found = (runs[name] / "results.md").read_text(), summary(runs[name])
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


def arm_of(study: Path, group: str) -> Path:
    """The arm of a quick study that is about something."""
    (name,) = summary(study)["groups"][group]
    return study / "arms" / name


class TestScheduleStudy:
    def test_each_step_towards_the_mean_is_one_evaluation_after_the_same_iterations(self, runs):
        found = [arm_of(runs["schedule_study"], group) for group in ("default", "last denoising")]
        (usual,), (without,) = (table(arm / "metrics.csv") for arm in found)
        assert int(usual["network_evaluations"]) - int(without["network_evaluations"]) == 4
        first, second = (table(arm / "trace.csv") for arm in found)
        assert [row["objective"] for row in first] == [row["objective"] for row in second]
        assert usual["psnr"] != without["psnr"]

    def test_directions_that_must_descend_do_and_a_monotone_search_lowers_f(self, runs):
        for group in ("default", "number of steps", "preconditioner", "without preconditioner"):
            rows = table(arm_of(runs["schedule_study"], group) / "trace.csv")
            assert all(float(row["descent_condition"]) < 0 for row in rows[1:])
            values = [float(row["objective"]) for row in rows]
            assert all(after <= before for before, after in pairwise(values))

    def test_the_table_states_changes_against_the_defaults(self, runs):
        found = summary(runs["schedule_study"])
        psnr = {row["arm"]: row["psnr"] for row in found["results"]}
        expected = [f"{value - psnr['default']:+.2f}" for value in psnr.values()]
        assert [row[3] for row in found["tables"][0]["rows"]] == expected
        assert [row[0] for row in found["tables"][0]["rows"]] == ["default", *GROUPS]


class TestAlphaStudy:
    def test_the_oracle_is_the_best_of_the_sweep(self, runs):
        found = summary(runs["alpha_study"])
        psnr = {row["arm"]: row["psnr"] for row in found["results"]}
        sweep = [value for arm, value in psnr.items() if arm.startswith("factor-")]
        assert found["oracle_psnr"] == [max(sweep)]
        for arm, value in psnr.items():
            assert found["shortfall"][arm] == pytest.approx(max(sweep) - value, abs=1e-12)

    def test_the_more_alpha_the_worse_x_fits_the_measurements(self, runs):
        def last(arm: str) -> tuple[float, float]:
            folder = runs["alpha_study"] / "arms" / arm
            row, (metrics,) = table(folder / "trace.csv")[-1], table(folder / "metrics.csv")
            return float(metrics["alpha"]), float(row["data_fidelity"])

        found = [last(f"factor-{factor}") for factor in ("0.2", "0.5", "1")]
        alphas, misfits = zip(*found, strict=True)
        np.testing.assert_allclose(np.array(alphas) / alphas[2], (0.2, 0.5, 1), rtol=1e-6)
        assert misfits[0] < misfits[1] < misfits[2]
        assert last("constant")[0] == pytest.approx(alphas[1], rel=1e-5)

    def test_the_paper_s_rule_has_multiples_of_the_default_at_t_min(self, runs):
        arms = runs["alpha_study"] / "arms"
        default, one, two = (
            float(table(arms / name / "metrics.csv")[0]["alpha"])
            for name in ("factor-0.5", "noise-scale-1", "noise-scale-2")
        )
        assert (one, two) == pytest.approx((default, 2 * default), rel=1e-5)
        config = load_reconstruct_config(arms / "noise-scale-1" / "config.yaml")
        assert config.alpha.rule == "noise_scale"
        t_min = torch.tensor(config.solver.t_min, dtype=torch.float64)
        ratio = float(VPSDE().noise_to_signal(t_min))
        assert config.alpha.value * ratio == pytest.approx(default, rel=1e-5)


def test_results_are_tracked(runs):
    names = {key.partition(".")[0] for row in Logged(runs["table1"]).history for key in row}
    assert {"table1/results", "table1/table", "table1/table1"} <= names


class TestFolder:
    """Nothing is done twice, and what does not belong together is refused."""

    @pytest.fixture
    def worked(self, monkeypatch) -> list[int]:
        """An entry for each time that the runner was started; interrupted at `self.stop_at`."""
        calls: list[int] = []
        real = build_run.run

        def run(*arguments):
            calls.append(1)
            if len(calls) == self.stop_at:
                raise KeyboardInterrupt
            return real(*arguments)

        self.stop_at = 0
        monkeypatch.setattr(build_run, "run", run)
        return calls

    def test_an_interrupted_experiment_goes_on(self, prior, tmp_path, runs, worked, capsys):
        self.stop_at = 2
        arguments = words(prior, tmp_path / "run")
        assert figure3(arguments) == 130
        assert capsys.readouterr().err.endswith("to go on from there\n")
        assert not (tmp_path / "run/results.csv").exists()
        assert figure3(arguments) == 0
        assert len(worked) == 3  # the first arm was not done again
        found, expected = (table(f / "results.csv") for f in (tmp_path / "run", runs["figure3"]))
        times = {"seconds": "", "cpu_seconds": ""}
        assert [row | times for row in found] == [row | times for row in expected]

    def test_a_finished_one_is_shown_again(self, prior, runs, worked):
        """Settings that do not change any number may differ."""
        before = (runs["figure3"] / "results.csv").read_bytes()
        assert figure3(words(prior, runs["figure3"], "live_table=true")) == 0
        assert worked == []
        assert (runs["figure3"] / "results.csv").read_bytes() == before

    def test_other_settings_are_refused(self, prior, runs, worked, capsys):
        before = (runs["figure3"] / "results.csv").read_bytes()
        assert figure3(words(prior, runs["figure3"], "seed=1", "zoom=4")) == 2
        message = capsys.readouterr().err
        assert "expected the settings that the run in" in message
        assert "zoom=4.0 (before: 3.0)" in message
        assert "seed=1 (before: null)" in message
        assert worked == []
        assert (runs["figure3"] / "results.csv").read_bytes() == before

    def test_another_experiment_or_a_run_is_refused(self, prior, runs, worked, capsys):
        run = runs["figure3"] / "arms/gnc_flow"
        for program, folder in ((figure2, runs["figure3"]), (figure3, run)):
            before = (folder / "config.yaml").read_bytes()
            assert program(words(prior, folder)) == 2
            assert "expected the settings of this experiment" in capsys.readouterr().err
            assert (folder / "config.yaml").read_bytes() == before
        assert worked == []

    def test_overwriting_begins_anew(self, prior, tmp_path, worked):
        arguments = words(prior, tmp_path / "run")
        assert figure3(arguments) == 0
        self.stop_at = 4
        assert figure3([*arguments, "seed=1", "overwrite=true"]) == 130
        assert figure3([*arguments, "seed=1"]) == 0
        assert len(worked) == 5

    @pytest.mark.parametrize(
        ("mistake", "message"),
        [
            ("solver.cg_steps=0", "solver.cg_steps: expected >= 1, got 0"),
            ("solver.armjo=0.1", "unknown setting solver.armjo: did you mean solver.armijo?"),
            ("imgaes=3", "unknown setting imgaes"),
            ("solver.steps=9", "which it sets itself: leave it out"),
            ("settings=[seed=1]", "leave settings= out"),
        ],
    )
    def test_mistakes_are_told_before_any_work(self, mistake, message, prior, tmp_path, capsys):
        """Also those that concern arms which come late."""
        assert table2([*words(prior, tmp_path / "run"), mistake]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_a_mistake_that_only_the_prior_tells_can_be_mended(self, prior, tmp_path, capsys):
        mistaken = words(prior, tmp_path / "run", "data.size=36")
        assert figure3(mistaken) == 2
        assert "expected images of 32x32 pixels" in capsys.readouterr().err
        assert figure3(words(prior, tmp_path / "run")) == 0


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
