"""Several weights of the regulariser in one run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batches import result
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.reconstruction.figures_alpha import draw_alpha
from gnclightning.reconstruction.records import BatchResult, label
from run_folders import arrays, column, measured, run

VALUES = (0.1, 4.0)
SETTINGS = ("methods=[fbp]", "batch_size=2")
SWEEP = f"alpha.sweep=[{VALUES[0]},{VALUES[1]}]"


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    return run(prior, tmp_path_factory.mktemp("sweep"), *SETTINGS, SWEEP)


@pytest.mark.parametrize("value", VALUES)
def test_each_is_what_a_run_with_that_value_gives(folder, prior, tmp_path, value):
    alone = run(prior, tmp_path, *SETTINGS, f"alpha.value={value}")
    name = f"preconditioned_alpha_{value:g}"
    assert np.array_equal(arrays(folder)[name], arrays(alone)["preconditioned"])
    for key in ("psnr", "residual", "alpha", "network_evaluations"):
        expected = column(alone / "metrics.csv", key, method="preconditioned")
        assert column(folder / "metrics.csv", key, method=name) == expected


def test_the_solver_s_own_result_does_not_depend_on_others(folder, prior, tmp_path):
    alone = run(prior, tmp_path, *SETTINGS)
    assert np.array_equal(arrays(folder)["preconditioned"], arrays(alone)["preconditioned"])
    for name in ("trace.csv", "certificate.json"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    assert (folder / "figures" / "alpha.png").read_bytes().startswith(b"\x89PNG")
    assert not (alone / "figures" / "alpha.png").exists()


def test_the_residual_is_that_of_the_image_over_the_noise(folder, prior):
    """For all methods; a larger weight leaves a larger one."""
    operator = Radon(ParallelBeam2D.for_image(32, 20))
    batches = measured(prior)
    y = torch.cat([batch.y for batch in batches]).double()
    sigma = torch.cat([batch.sigma_y for batch in batches]).numpy()
    found = {}
    for name in ("fbp", "preconditioned_alpha_0.1", "preconditioned", "preconditioned_alpha_4"):
        x = torch.from_numpy(arrays(folder)[name])[:, None]
        misfit = (operator(x).double() - y).flatten(1).norm(dim=1).numpy()
        found[name] = column(folder / "metrics.csv", "residual", method=name)
        expected = misfit / (sigma * y[0].numel() ** 0.5)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)
    _, small, own, large = map(np.array, found.values())
    assert (small < own).all()
    assert (own < large).all()


def test_only_rays_with_a_weight_count(prior):
    """Three of the rays have none: they are neither in the residual nor in its expectation."""
    (batch,) = measured(prior, "data.count=1")
    weights = torch.ones_like(batch.y)
    weights[..., :3] = 0
    expected = batch.noise_norm * (1 - 3 / batch.y.shape[-1]) ** 0.5
    torch.testing.assert_close(replace(batch, weights=weights).noise_norm, expected)


def made_up(*images: str, failed: tuple[str, float] | None = None) -> BatchResult:
    """A run with alpha 1 and, besides, with 4 and 0.25, whose PSNR and residual are formulas."""
    (own,) = result(*images).methods
    methods = []
    for alpha, name in ((4, "gnc_flow_alpha_2"), (0.25, "gnc_flow_alpha_0.1"), (1, "gnc_flow")):
        rows = [
            row._replace(
                method=name,
                alpha=float(alpha),
                psnr=np.nan if (row.image, alpha) == failed else 30 - alpha + len(row.image),
                residual=np.nan if (row.image, alpha) == failed else 0.8 * alpha**0.5,
            )
            for row in own.metrics
        ]
        methods.append(replace(own, method=name, metrics=rows))
    return replace(result(*images), methods=methods)


def test_the_figure_shows_the_table():
    """A curve for each image by weight, the mean, and a mark at the run's own weight."""
    figure = draw_alpha([made_up("a", "bbb", failed=("bbb", 4)), made_up("ccccc")])
    quality, residual = figure.axes
    curves = [line.get_xydata().tolist() for line in quality.lines]
    assert curves == [
        [[0.25, 30.75], [1, 30], [4, 27]],
        [[0.25, 34.75], [1, 34], [4, 31]],
        pytest.approx(np.array([[0.25, 32.75], [1, 32], [4, 29]])),
        pytest.approx(np.array([[1, 32]])),
    ]
    np.testing.assert_allclose(residual.lines[0].get_ydata(), [0.4, 0.8, 1.6])
    assert residual.lines[-1].get_ydata() == [1, 1]
    assert quality.get_legend_handles_labels()[1] == ["mean", "alpha of the run"]


def test_without_truth_there_is_the_residual_alone():
    found = made_up("a")
    rows = [[m.metrics[0]._replace(psnr=np.nan)] for m in found.methods]
    methods = [replace(m, metrics=row) for m, row in zip(found.methods, rows, strict=True)]
    (panel,) = draw_alpha([replace(found, methods=methods)]).axes
    assert panel.get_ylabel() == "|A x - y| / noise"


def test_without_other_weights_there_is_no_figure():
    assert draw_alpha([result("a")]) is None


def test_tables_name_the_weight():
    assert label("preconditioned_alpha_0.1") == "GNC alpha 0.1"
