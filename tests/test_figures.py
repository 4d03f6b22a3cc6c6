"""What the figures of a run show."""

import dataclasses
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from batches import result
from gnclightning.reconstruction import figures
from gnclightning.reconstruction.records import BatchResult

FACTORS = {"psnr": 1, "objective": 2, "step_size": 3, "descent_condition": -1}


def traced(name: str, values: list[float]) -> BatchResult:
    """A result whose columns are the values, each times a factor of its own."""
    made = result(name, iterations=len(values) - 1)
    rows = [
        row._replace(**{column: factor * value for column, factor in FACTORS.items()})
        for row, value in zip(made.methods[0].trace, values, strict=True)
    ]
    return BatchResult(made.batch, [replace(made.methods[0], trace=rows)])


def test_many_images_and_strange_names():
    """The first ten are shown; names are no formulas, and a NaN image spoils nothing."""
    parts = [result(*(f"$a_{n}{m}$" for m in range(4))) for n in range(3)]
    parts[0].methods[0].x[0] = math.nan
    reconstructions, errors, convergence = figures.draw(parts).values()
    assert len(reconstructions.axes) == 10 * 2
    assert len(errors.axes) == 10 + 1
    assert reconstructions.axes[0].get_ylabel() == "$a_00$"
    for figure in (reconstructions, errors, convergence):
        figure.canvas.draw()
    (scale,) = {panel.images[0].get_clim() for panel in errors.axes[:10]}
    assert 0 == scale[0] < scale[1] <= 0.5
    assert plt.get_fignums() == []


def test_reconstructions_are_shown_from_0_to_1():
    (figure, _, _) = figures.draw([result("a")]).values()
    assert {panel.images[0].get_clim() for panel in figure.axes} == {(0, 1)}


@pytest.mark.parametrize(
    ("label", "column", "scale"),
    [
        ("PSNR (dB)", "psnr", "linear"),
        ("objective f", "objective", "log"),
        ("step size", "step_size", "log"),
        ("cosine of ∇f and direction", "descent_condition", "linear"),
    ],
)
def test_curves_are_those_of_the_trace(label, column, scale):
    """One per image, up to where it stopped, and the mean of those that are left."""
    long, short = traced("a", [0.5, 0.4, 0.3, 0.2]), traced("b", [0.1, 0.2])
    _, _, figure = figures.draw([long, short]).values()
    (panel,) = (p for p in figure.axes if p.get_ylabel() == label)
    assert panel.get_yscale() == scale
    first, second, mean = (line.get_ydata() for line in panel.lines[:3])
    factor = FACTORS[column]
    np.testing.assert_allclose(first, factor * np.array([0.5, 0.4, 0.3, 0.2]))
    np.testing.assert_allclose(second, factor * np.array([0.1, 0.2, math.nan, math.nan]))
    np.testing.assert_allclose(mean, factor * np.array([0.3, 0.3, 0.3, 0.2]))


def test_a_step_of_zero_is_left_out_of_a_logarithmic_axis():
    _, _, figure = figures.draw([traced("a", [0.5, 0.0, 0.3])]).values()
    panel = next(p for p in figure.axes if p.get_ylabel() == "step size")
    np.testing.assert_array_equal(np.isnan(panel.lines[0].get_ydata()), [False, True, False])


def test_an_objective_known_up_to_a_constant_is_shown_above_the_least_of_each_image():
    """As f is that is integrated from a score."""
    _, _, figure = figures.draw([traced("a", [2.0, -0.5, -1.0]), traced("b", [3.0, 1.0])]).values()
    panel = next(p for p in figure.axes if p.get_ylabel() == "objective f above its least")
    first, second = (line.get_ydata() for line in panel.lines[:2])
    np.testing.assert_allclose(first, [6.0, 1.0, math.nan])
    np.testing.assert_allclose(second, [4.0, math.nan, math.nan])
    assert panel.get_yscale() == "log"


def test_a_panel_without_values_says_why():
    (_, _, figure) = figures.draw([traced("a", [0.0, 0.0])]).values()
    texts = {p.get_ylabel(): [t.get_text() for t in p.texts] for p in figure.axes}
    assert texts["step size"] == ["no values to show"]
    assert texts["PSNR (dB)"] == []
    measured = result("a", psnr=math.nan)
    measured = dataclasses.replace(measured, batch=dataclasses.replace(measured.batch, truth=None))
    drawn = figures.draw([measured])
    assert list(drawn) == ["reconstructions.png", "convergence.png"]
    texts = {p.get_ylabel(): [t.get_text() for t in p.texts] for p in drawn["convergence.png"].axes}
    assert texts["PSNR (dB)"] == ["no ground truth"]
    assert texts["objective f"] == []
    assert [axes.get_title() for axes in drawn["reconstructions.png"].axes] == ["GNC"]


def test_reconstructions_stand_beside_the_truth_with_their_numbers():
    (shown, _, _) = figures.draw([one := result("a", psnr=31.234)]).values()
    truth, reconstruction = shown.axes
    np.testing.assert_array_equal(truth.images[0].get_array(), one.batch.truth[0, 0])
    np.testing.assert_array_equal(reconstruction.images[0].get_array(), one.methods[0].x[0, 0])
    assert (truth.get_title(), reconstruction.get_title()) == ("ground truth", "GNC")
    assert reconstruction.get_xlabel() == "31.23 dB / 0.900"


def test_errors_are_absolute_and_their_scale_is_the_best_method_s():
    """Two methods, one ten times worse: its errors end at the last colour."""
    one = result("a")
    truth = one.batch.truth
    good = replace(one.methods[0], x=truth - 0.1 * truth)
    bad = replace(one.methods[0], method="fbp", x=truth + truth)
    (_, errors, _) = figures.draw([BatchResult(one.batch, [bad, good])]).values()
    first, second = errors.axes[:2]
    np.testing.assert_allclose(first.images[0].get_array(), truth[0, 0])
    np.testing.assert_allclose(second.images[0].get_array(), 0.1 * truth[0, 0], atol=1e-6)
    largest = 0.1 * np.percentile(truth, 99.5)
    for panel in (first, second):
        np.testing.assert_allclose(panel.images[0].get_clim(), (0, largest), rtol=1e-5)


@pytest.mark.parametrize("known", [True, False])
def test_starts_are_shown_each_on_its_own_scale(known):
    """The residual in units of the noise, with its root mean square."""
    one = result("a", "b")
    batch = one.batch if known else replace(one.batch, truth=None)
    spread = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    residual = 2.0 * one.batch.sigma_y[:, None, None, None] * torch.ones_like(one.batch.y)
    method = replace(one.methods[0], maps={"std": 1e-3 * spread, "residual": residual})
    figure = figures.draw([BatchResult(batch, [method])])["starts.png"]
    figure.canvas.draw()
    panels = [panel for panel in figure.axes if panel.images]
    columns = 4 if known else 3
    assert len(panels) == 2 * columns
    headings = [panel.get_title() for panel in panels[:columns]]
    error = ["|mean - truth|"] if known else []
    assert headings == ["mean of the starts", "standard deviation", *error, "(A x - y) / noise"]
    np.testing.assert_array_equal(panels[1].images[0].get_array(), 1e-3 * spread[0, 0].numpy())
    low, high = panels[1].images[0].get_clim()
    assert (low, panels[1 + columns].images[0].get_clim()) == (0, (low, high))
    assert 0 < high <= 1e-3
    np.testing.assert_allclose(panels[columns - 1].images[0].get_array(), 2.0, rtol=1e-5)
    assert panels[columns - 1].get_xlabel() == "RMS 2.00"
    if known:
        difference = (one.methods[0].x[1, 0] - one.batch.truth[1, 0]).abs()
        np.testing.assert_allclose(panels[columns + 2].images[0].get_array(), difference)
