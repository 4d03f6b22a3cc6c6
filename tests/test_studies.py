"""Studies of the schedule and of alpha: what their arms must show."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from gnclightning.config import load_reconstruct_config
from gnclightning.experiments.schedule_study import GROUPS
from gnclightning.sde import VPSDE
from quick_experiments import summary
from run_folders import table


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
