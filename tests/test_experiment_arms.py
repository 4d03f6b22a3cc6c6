"""What each arm of the experiments runs with, once all defaults are filled in."""

from dataclasses import asdict

import pytest

from gnclightning.config import ReconstructConfig, load_reconstruct_config
from gnclightning.experiments import alpha_study, figure2, figure3, schedule_study, table1, table2
from gnclightning.experiments.arms.arm import Arm, key_of
from gnclightning.experiments.arms.settings import configure


def flat(config: ReconstructConfig) -> dict[str, object]:
    """All settings by key."""
    found: dict[str, object] = {}
    for key, value in asdict(config).items():
        inner = value if isinstance(value, dict) else {}
        found |= {f"{key}.{name}": setting for name, setting in inner.items()} or {key: value}
    return found


def differences(arm: Arm, base: ReconstructConfig) -> dict[str, object]:
    """The settings of an arm that are not those of the base."""
    (config,) = configure([arm], [])
    before = flat(base)
    return {key: value for key, value in flat(config).items() if before.get(key) != value}


def each(arms: list[Arm]) -> dict[str, ReconstructConfig]:
    return {arm.name: c for arm, c in zip(arms, configure(arms, []), strict=True)}


class TestScheduleStudy:
    ARMS = schedule_study.arms(schedule_study.ScheduleStudyConfig())

    def test_the_first_arm_has_the_defaults(self):
        (default,) = self.ARMS["default"]
        base = load_reconstruct_config(None, ["data.name=ellipses", "methods=[]"])
        assert set(differences(default, base)) <= {"logger.mode"}
        assert default.settings == ()

    @pytest.mark.parametrize("group", schedule_study.GROUPS)
    def test_each_arm_changes_all_that_it_names(self, group):
        """A setting that is what it was anyway would be an arm about nothing."""
        (base,) = configure(self.ARMS["default"], [])
        for arm in self.ARMS[group]:
            changed = set(differences(arm, base))
            assert changed
            assert arm.keys - {"solver.steps"} <= changed  # a curve may pass through the default

    def test_the_arms_do_what_their_group_is_about(self):
        def values(group: str) -> list[dict[str, str]]:
            words = [arm.settings for arm in self.ARMS[group]]
            return [{key_of(w): w.partition("=")[2] for w in settings} for settings in words]

        (off,) = configure(self.ARMS["adaptive smoothing off"], [])
        assert off.solver.descent_from >= off.solver.steps  # so no direction has to descend
        (search,) = configure(self.ARMS["nonmonotone search"], [])
        assert search.solver.nonmonotone > 0
        (spacing,) = configure(self.ARMS["spacing"], [])
        assert spacing.solver.schedule == "linear"
        fbp = configure(self.ARMS["from the filtered back-projection"], [])
        assert {(c.start, c.solver.t_max) for c in fbp} == {("fbp", 0.2)}
        assert [c.solver.steps for c in fbp] == [2, 3, 4, 6, 10]
        assert [v["solver.mean_steps"] for v in values("last denoising")] == ["0", "1", "2", "8"]


def test_rules_for_alpha():
    found = each(list(alpha_study.RULES))
    assert {name: (c.alpha.rule, c.alpha.gain) for name, c in found.items()} == {
        "gain-0": ("auto", 0.0),
        "gain-5": ("auto", 5.0),
        "discrepancy": ("discrepancy", None),
    }
    sweep = each(alpha_study.sweep(alpha_study.AlphaStudyConfig()))
    assert [c.alpha.value for c in sweep.values()] == list(alpha_study.FACTORS)
    assert {(c.alpha.rule, c.alpha.gain) for c in sweep.values()} == {("auto", None)}
    usual = each([Arm("usual", "usual")])["usual"].alpha.weight
    assert usual == alpha_study.DEFAULT


def test_rows_of_table_2():
    found = each(table2.arms(table2.Table2Config(), 2e-3))
    algorithm_1 = {name: found[name].solver for name in ("constant", "adaptive")}
    assert {(s.name, s.step_rule, s.steps) for s in algorithm_1.values()} == {
        ("gnc_flow", "constant", 1200),
        ("gnc_flow", "armijo", 300),
    }
    assert algorithm_1["constant"].constant_step == 2e-3
    for name, steps in (("preconditioned", 40), ("preconditioned-10", 10)):
        assert (found[name].solver.name, found[name].solver.steps) == ("preconditioned", steps)


def test_rows_of_table_1():
    found = each(table1.arms(table1.Table1Config(starts=3)))
    assert [(c.solver.name, c.start, c.start_seed, c.solver.steps) for c in found.values()] == [
        (method, "random", start, 300)
        for method in ("gradient_descent", "gnc_flow")
        for start in (0, 1, 2)
    ]


def test_arms_of_the_figures():
    for arm, config in zip(figure2.ARMS, configure(figure2.ARMS, []), strict=True):
        assert (config.solver.name, config.methods) == (arm.name, [])
    found = each(list(figure3.ARMS))
    assert {name: (c.solver.name, c.methods) for name, c in found.items()} == {
        "gnc_flow": ("gnc_flow", []),
        "preconditioned": ("preconditioned", ["fbp", "tv"]),
    }
