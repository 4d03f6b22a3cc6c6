"""What the figures draw, and under which names: each number has its place."""

from statistics import fmean

import numpy as np
import pytest

from fabricated_arms import IMAGES, ITERATIONS, FabricatedLaboratory, made_up
from gnclightning.experiments import alpha_study, figure2, figure3, schedule_study, table1
from gnclightning.experiments.alpha_study_figure import draw as draw_alpha_study
from gnclightning.experiments.arms.arm import Arm


@pytest.fixture
def laboratory(tmp_path):
    return FabricatedLaboratory(tmp_path)


def lines_of(panel) -> dict[str, np.ndarray]:
    """The lines of a panel by name, as rows (x, y)."""
    return {line.get_label(): np.array(line.get_xydata(), float) for line in panel.lines}


def test_figure_2_has_a_quantity_of_the_trace_in_each_panel(laboratory):
    found = figure2.conduct(figure2.Figure2Config(), laboratory).figures["figure2"]
    columns = {
        "PSNR (dB)": "psnr",
        "objective f": "objective",
        "cosine of ∇f and direction": "descent_condition",
        "step size": "step_size",
    }
    assert [panel.get_ylabel() for panel in found.axes] == list(columns)
    for panel, column in zip(found.axes, columns.values(), strict=True):
        lines = lines_of(panel)
        for arm in figure2.ARMS:
            expected = [
                (n, fmean(made_up(arm.name, image, n, column) for image in IMAGES))
                for n in range(ITERATIONS)
            ]
            np.testing.assert_allclose(lines[arm.title], expected)


def test_figure_3_shows_each_method_under_its_name(laboratory):
    findings = figure3.conduct(figure3.Figure3Config(), laboratory)
    preconditioned, gnc_flow = findings.results
    sources = {
        "FBP": (preconditioned, "fbp"),
        "TV": (preconditioned, "tv"),
        "Algorithm 1": (gnc_flow, "gnc_flow"),
        "preconditioned": (preconditioned, "preconditioned"),
    }
    panels = [axes for axes in findings.figures["figure3"].axes if axes.get_subplotspec()]
    rows = [panels[k : k + 5] for k in range(0, len(panels), 5)]
    assert len(rows) == len(IMAGES)
    assert [panel.get_title() for panel in rows[0]] == ["ground truth", *sources]
    for number, (truth, *others) in enumerate(rows):
        np.testing.assert_array_equal(
            truth.images[0].get_array(), preconditioned.arrays("ground_truth")[number]
        )
        for panel, (result, method) in zip(others, sources.values(), strict=True):
            np.testing.assert_array_equal(
                panel.images[0].get_array(), result.arrays(method)[number]
            )
            row = result.metrics(method)[number]
            assert panel.get_xlabel() == f"{row.psnr:.2f} dB / {row.ssim:.3f}"


def test_the_figure_of_table_1_has_a_mark_for_each_start(laboratory):
    findings = table1.conduct(table1.Table1Config(starts=2), laboratory)
    (panel,) = findings.figures["table1"].axes
    drawn = [np.array(line.get_xydata()) for line in panel.lines]
    expected = [[row.psnr for row in result.metrics()] for result in findings.results]
    np.testing.assert_allclose([line[:, 1] for line in drawn], expected)
    descent, algorithm_1 = drawn[0][:, 0], drawn[-1][:, 0]
    assert (descent < algorithm_1).all()  # beside each other, in this order
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["gradient descent on f", "Algorithm 1"]


def test_the_schedule_study_draws_psnr_over_evaluations_by_group(laboratory):
    findings = schedule_study.conduct(schedule_study.ScheduleStudyConfig(), laboratory)
    (panel,) = findings.figures["schedule_study"].axes
    lines = lines_of(panel)
    by_name = {result.arm.name: result for result in findings.results}
    assert list(lines) == ["default", *schedule_study.GROUPS]
    for group, names in findings.values["groups"].items():
        members = [by_name[name] for name in names]
        points = sorted((r.mean("network_evaluations"), r.mean("psnr")) for r in members)
        np.testing.assert_allclose(lines[group], points)


def test_the_alpha_study_draws_psnr_over_alpha(laboratory):
    sweep = laboratory.run(alpha_study.sweep(alpha_study.AlphaStudyConfig()))
    rules = laboratory.run([*alpha_study.RULES, Arm("own", "a fourth")])
    (panel,) = draw_alpha_study(sweep, rules, [40.0, 42.0]).axes
    lines = lines_of(panel)
    assert set(lines["oracle"][:, 1]) == {41.0}
    points = [(r.mean("alpha"), r.mean("psnr")) for r in sweep]
    np.testing.assert_allclose(lines["sweep"], points)
    for rule in rules:
        assert lines[rule.arm.title][0] == pytest.approx((rule.mean("alpha"), rule.mean("psnr")))
