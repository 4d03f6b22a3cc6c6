"""The comparison with what a user would pick instead."""

import csv
import json
from dataclasses import dataclass, field
from math import nan, sqrt
from statistics import fmean, stdev

import numpy as np
import pytest

from gnclightning.config.baselines import Baseline
from gnclightning.experiments.arms.results import ResultRow
from gnclightning.experiments.arms.settings import configure
from gnclightning.experiments.comparison import plan
from gnclightning.experiments.comparison.images import Duel, Entry, Trust, gain, mean_and_error
from gnclightning.experiments.comparison.plan import ComparisonConfig, arms, defaults
from gnclightning.experiments.comparison.program import comparison
from gnclightning.reconstruction import figures
from gnclightning.reconstruction.records import MetricsRow


def configured(config):
    chosen = arms(config)
    found = configure(chosen, config.settings, defaults(config))
    return {arm.name: settings for arm, settings in zip(chosen, found, strict=True)}


class TestPlan:
    def test_every_method_has_its_place_on_the_same_phantoms(self):
        config = ComparisonConfig()
        found = configured(config)
        assert len(found) == len(arms(config))
        table = {name: s for name, s in found.items() if name in MAIN}
        methods = [m for s in table.values() for m in (*s.methods, s.solver.name)]
        assert set(methods) == {*Baseline.__args__, "gnc_flow", "gradient_like", "preconditioned"}
        phantoms = [s for name, s in found.items() if name != plan.UNSEEN]
        for settings in phantoms:
            assert (settings.data.name, settings.data.split, settings.data.start) == (
                "ellipses", "test", 0,
            )  # fmt: skip
            assert (settings.seed, settings.noise.seed, settings.start_seed) == (0, None, None)
            assert settings.batch_size == 8
        counts = {name: s.data.count for name, s in found.items()}
        assert counts["gnc"] == counts["gnc_4"] == 100
        assert counts["gnc_40"] == 32
        assert counts[plan.UNSEEN] == 16
        assert {n for name, n in counts.items() if name not in (*MAIN, plan.UNSEEN)} == {8}

    def test_the_main_table_has_the_tuned_settings(self):
        found = configured(ComparisonConfig())
        for name in MAIN:
            for method in found[name].methods:
                assert getattr(found[name], method) == getattr(found["limited"], method)
        default = found["gnc"].solver.steps
        assert (found["gnc_4"].solver.steps, found["gnc_40"].solver.steps) == (4, 40)
        assert all(found[name].solver.steps == default for name in plan.CONDITIONS)

    def test_conditions_change_one_thing_each(self):
        found = configured(ComparisonConfig())
        usual = (60, None, 0.1)
        seen = {
            name: (s.geometry.angles, s.geometry.arc, s.noise.relative) for name, s in found.items()
        }
        changed = {name: values for name, values in seen.items() if values != usual}
        assert changed == {
            "angles_20": (20, None, 0.1), "angles_120": (120, None, 0.1),
            "noise_1": (60, None, 0.01), "noise_20": (60, None, 0.2),
            "limited": (60, [0.0, 90.0], 0.1),
        }  # fmt: skip
        # What follows the noise level by itself does so.
        assert found["noise_20"].solver.t_min == pytest.approx(20 * found["noise_1"].solver.t_min)

    def test_curves_have_their_steps(self):
        found = configured(ComparisonConfig())
        for name, steps in plan.CURVES.items():
            settings = found[name]
            assert [settings.solver.name, *settings.methods] == list(steps)
            for method, number in steps.items():
                section = getattr(settings, method, None) or settings.solver
                if method == settings.solver.name:
                    section = settings.solver
                key = "iterations" if method == "tv" else "steps"
                assert getattr(section, key) == number

    @pytest.mark.parametrize("given", ["data.count=3", "data.name=demo", "data.split=validation"])
    def test_other_images_are_refused(self, given, tmp_path, capsys):
        assert comparison([given, f"output={tmp_path / 'run'}"]) == 2
        message = capsys.readouterr().err
        assert given in message
        assert "images=" in message
        assert not (tmp_path / "run" / "arms").exists()

    def test_fewer_images_are_fewer_for_all(self):
        counts = {s.data.count for s in configured(ComparisonConfig(images=3, unseen=5)).values()}
        assert counts == {3, 5}


MAIN = (plan.DEFAULT, plan.SHORT, plan.LONG, plan.FLOW, plan.GRADIENT_LIKE)


@dataclass
class FakeResult:
    psnr: dict[str, float]
    solver: str = "tv"
    certificates: dict = field(default_factory=dict)

    def metrics(self, method):
        return [MetricsRow(n, method, p, 0.9, 1, 2, 3, 4.0, "ok") for n, p in self.psnr.items()]


def test_gain_is_of_the_shared_images():
    one = Entry("one", FakeResult({"a": 30.0, "b": 33.0, "c": 90.0}), "tv")
    other = Entry("other", FakeResult({"b": 32.0, "a": 29.5}), "tv")
    mean, error = gain(one, other)
    assert mean == pytest.approx(0.75)
    assert error == pytest.approx(stdev([0.5, 1.0]) / sqrt(2))
    assert np.isnan(mean_and_error([1.0])[1])
    assert one.mean("psnr", ["a", "b"]) == 31.5


class TestTrust:
    M = 60 * 183

    def test_the_truth_hardly_ever_warns_and_a_misfit_does(self):
        noise = np.random.default_rng(0).standard_normal((2000, self.M)).astype(np.float32)
        residuals = np.sqrt(np.square(noise).mean(1))
        warned = sum(Trust(True, float(r), self.M).warns for r in residuals)
        assert warned <= 12  # expected: 2.7
        assert Trust(True, 1.03, self.M).warns
        assert not Trust(True, 0.96, self.M).warns

    @pytest.mark.parametrize(("like", "residual"), [(False, 0.96), (True, nan), (True, np.inf)])
    def test_what_is_not_certified_warns(self, like, residual):
        assert Trust(like, residual, self.M).warns

    def test_fewer_measurements_need_a_larger_misfit(self):
        assert not Trust(True, 1.03, 1000).warns


def test_duel_is_with_the_best_in_the_mean():
    good, bad = Trust(True, 0.97, 100), Trust(True, 2.0, 100)
    one = Duel(
        {"FBP": [20.0, 40.0, 20.0], "TV": [30.0, 31.0, 32.0], "GNC": [31.0, 30.0, 31.0]},
        [good, bad, good],
    )
    assert one.best == "TV"
    assert one.gains == [1.0, -1.0, -1.0]
    assert one.warned(lambda g: g < 0) == (1, 2)
    assert one.warned(lambda g: g >= 0) == (0, 1)


def quick(prior, output):
    return ["--quick", f"prior.path={prior}", "data.size=32", "progress=false", f"output={output}"]


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory):
    """A run whose arms have no figures of their own, which would take most of its time."""
    output = tmp_path_factory.mktemp("comparison") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda results: {})
        assert comparison(quick(prior, output)) == 0
    return output


@pytest.mark.slow
class TestProgram:
    """`--quick` with an untrained prior: orderings by data hold, those of methods need not."""

    def rows(self, folder):
        with (folder / "results.csv").open() as file:
            return {(row["arm"], row["method"]): row for row in csv.DictReader(file)}

    def test_files(self, folder):
        rows = self.rows(folder)
        assert tuple(next(iter(rows.values()))) == ResultRow._fields
        assert {"results.md", "summary.json", "curves.png", "conditions.png"} <= {
            path.name for path in folder.iterdir()
        }
        summary = json.loads((folder / "summary.json").read_text())
        main, conditions, curves = summary["tables"]
        assert [row[0] for row in main["rows"]] == [
            "FBP", "Tikhonov", "TV", "plug-and-play", "DiffPIR", "DDS", "DPS", "nmAPG",
            "gradient descent", "GNC, Algorithm 1", "GNC, Algorithm 2", "GNC, 4 steps from FBP",
            "GNC",
        ]  # fmt: skip
        assert len(conditions["rows"]) == 1 + len(plan.CONDITIONS) + 4
        assert {row[0] for row in curves["rows"]} >= {"TV", "DPS", "GNC"}
        assert all(len(row) == len(t["columns"]) for t in summary["tables"] for row in t["rows"])
        for text in ("--quick", "data.size=32", "Shepp-Logan", "real CT slices"):
            assert text in (folder / "results.md").read_text()

    def test_orderings(self, folder):
        rows = self.rows(folder)

        def psnr(arm, method="fbp"):
            return float(rows[arm, method]["psnr"])

        assert psnr("angles_20") < psnr("gnc") < psnr("angles_120")
        assert psnr("noise_20") < psnr("gnc") < psnr("noise_1")
        assert psnr("limited") < psnr("gnc") - 3
        # All directions descend, so that the algorithms do the same.
        for column in ("psnr", "network_evaluations"):
            assert rows["gnc_flow", "gnc_flow"][column] == pytest.approx(
                rows["gradient_like", "gradient_like"][column]
            )
        cost = {m: float(row["network_evaluations"]) for (_, m), row in rows.items()}
        assert (cost["fbp"], cost["tv"], cost["tikhonov"]) == (0, 0, 0)
        assert cost["plug_and_play"] == cost["diffpir"] == cost["dds"] == 4
        assert cost["dps"] == 3 * 4

    def test_tables_say_what_the_runs_wrote(self, folder):
        summary = json.loads((folder / "summary.json").read_text())
        psnr, residual = {}, {}
        for name in ("gnc", "gnc_40", "unseen"):
            with (folder / "arms" / name / "metrics.csv").open() as file:
                for row in csv.DictReader(file):
                    psnr[name, row["method"], row["image"]] = float(row["psnr"])
                    residual[name, row["method"], row["image"]] = float(row["residual"])
        main = {row[0]: row for row in summary["tables"][0]["rows"]}
        images = ["ellipses[0]", "ellipses[1]"]
        gains = [psnr["gnc", "preconditioned", i] - psnr["gnc_40", "dds", i] for i in images]
        error = stdev(gains) / sqrt(2)
        assert main["DDS"][4] == f"{fmean(gains):+.2f} ± {error:.2f}"
        conditions = {row[0]: row for row in summary["tables"][1]["rows"]}
        slices = [f"ct[{n}]" for n in range(3)]
        values = [psnr["unseen", "preconditioned", name] for name in slices]
        assert conditions["real CT slices"][6] == f"{fmean(values):.2f}"
        misfits = [residual["unseen", "preconditioned", name] for name in slices]
        assert f"{fmean(misfits):.3f}" in conditions["real CT slices"]
        warned = [r > 1 + 3 / sqrt(2 * 60 * 46) for r in misfits]
        kept = summary["conditions"]["real CT slices"]
        assert [t["residual"] for t in kept["trusts"]] == pytest.approx(misfits)
        lost, won = (text.split(" of ") for text in conditions["real CT slices"][-2:])
        assert int(lost[0]) + int(won[0]) == sum(warned)
        assert int(lost[1]) + int(won[1]) == 3

    def test_finished_arms_are_not_run_again(self, folder, prior, capsys):
        before = {p: p.stat().st_mtime_ns for p in (folder / "arms").glob("*/summary.json")}
        assert comparison(quick(prior, folder)) == 0
        assert before == {p: p.stat().st_mtime_ns for p in (folder / "arms").glob("*/summary.json")}
        assert "finished before" in capsys.readouterr().err
