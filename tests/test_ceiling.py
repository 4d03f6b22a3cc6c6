"""What samples of the posterior say of the best PSNR: the estimator, and the experiment."""

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest

from gnclightning.experiments.ceiling import ceiling
from gnclightning.experiments.ceiling_estimate import estimate, reliability, standard_error
from gnclightning.reconstruction import figures
from run_folders import arrays, table

RANDOM = np.random.default_rng(0)
BIAS, STD, SIDE = 0.1, np.array([0.2, 0.4]), 100


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of two images, whose mean is off by `BIAS`, and the truth."""
    truth = RANDOM.random((2, SIDE, SIDE))
    noise = RANDOM.standard_normal((number, 2, SIDE, SIDE))
    return truth + BIAS + STD[:, None, None] * noise, truth


class TestEstimate:
    def test_error_and_variance_are_found_from_few_samples(self):
        found = estimate(*drawn(3))
        np.testing.assert_allclose(found.variance, STD**2, rtol=0.04)
        np.testing.assert_allclose(found.error, BIAS**2, atol=0.003)
        assert found.calibration == pytest.approx(2 * BIAS**2 / (STD**2).sum(), abs=0.03)

    def test_it_says_what_one_sample_and_what_the_mean_of_all_have(self):
        """Both exactly: the mean squared error over the samples, and that of their mean."""
        samples, truth = drawn(5)
        found = estimate(samples, truth)
        single = ((samples - truth) ** 2).mean((0, 2, 3))
        together = ((samples.mean(0) - truth) ** 2).mean((1, 2))
        np.testing.assert_allclose(found.psnr(1), -10 * np.log10(single))
        np.testing.assert_allclose(found.psnr(5), -10 * np.log10(together))

    def test_more_samples_are_better_and_infinitely_many_best(self):
        found = estimate(*drawn(4))
        curve = np.stack([found.psnr(number) for number in (1, 2, 8, 32, 1e6, inf)])
        assert (np.diff(curve, axis=0) > 0).all()
        assert (found.psnr() == found.psnr(inf)).all()

    def test_a_truth_that_is_a_sample_itself_is_calibrated(self):
        *samples, truth = RANDOM.standard_normal((9, 2, SIDE, SIDE)) * STD[:, None, None]
        assert estimate(np.stack(samples), truth).calibration == pytest.approx(1, abs=0.05)

    def test_an_error_below_chance_is_no_number_that_breaks(self):
        samples, _ = drawn(2)
        assert (estimate(samples, samples.mean(0)).psnr() == inf).all()


def test_the_standard_error_is_the_spread_over_other_samples():
    truth = RANDOM.random((2, 8, 8))
    noise = 0.1 * STD[:, None, None] * RANDOM.standard_normal((300, 8, 2, 8, 8))
    trials = truth + BIAS + noise
    spread = np.std([estimate(samples, truth).psnr().mean() for samples in trials])
    errors = [standard_error(samples, truth) for samples in trials]
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


def test_reliability_sorts_pixels_by_their_variance():
    std = np.repeat([0.1, 0.5], SIDE * SIDE // 2).reshape(1, SIDE, SIDE)
    samples = std * RANDOM.standard_normal((20, 1, SIDE, SIDE))
    spread, missed = reliability(samples, 2 * std * RANDOM.standard_normal(std.shape), bins=2)
    np.testing.assert_allclose(spread, (0.1, 0.5), rtol=0.02)
    np.testing.assert_allclose(missed, (0.2, 1.0), rtol=0.04)


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    """A quick run on two images."""
    found = tmp_path_factory.mktemp("experiment") / "ceiling"
    small = ("data.size=32", "geometry.angles=20", "data.count=2", "samples=3")
    given = (*small, "device=cpu", "progress=false", f"prior.path={prior}", f"output={found}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda results: {})
        assert ceiling(["--quick", *given]) == 0
    return found


@pytest.fixture(scope="module")
def summary(folder) -> dict:
    return json.loads((folder / "summary.json").read_text())


class TestExperiment:
    def squared_errors(self, folder: Path, method: str) -> np.ndarray:
        """Of each sample and image, from PSNR in the arms' own tables."""
        arms = [folder / "arms" / f"sample-{n}" for n in (1, 2, 3)]
        psnr = [[float(row["psnr"]) for row in table(arm / "metrics.csv")
                 if row["method"] == method] for arm in arms]  # fmt: skip
        return 10 ** (-np.array(psnr) / 10)

    def test_error_and_variance_are_those_of_the_arms(self, folder, summary):
        samples = np.stack(
            [arrays(folder / "arms" / f"sample-{n}")["langevin"] for n in (1, 2, 3)]
        ).astype(np.float64)
        variance = np.array(summary["variance"])
        np.testing.assert_allclose(variance, samples.var(0, ddof=1).mean((1, 2)), rtol=1e-6)
        assert (variance > 1e-6).all()
        single = self.squared_errors(folder, "langevin").mean(0)
        np.testing.assert_allclose(np.array(summary["error"]) + variance, single, rtol=1e-4)
        ratio = sum(summary["error"]) / sum(summary["variance"])
        assert summary["calibration"] == pytest.approx(ratio, rel=1e-12)

    def test_the_ceiling_is_above_the_mean_of_samples(self, summary):
        best, together, single = (float(row[1]) for row in summary["tables"][0]["rows"][:3])
        assert best > together > single - 0.01
        assert list(summary["psnr_of_mean"]) == ["1", "2", "3"]
        assert summary["psnr_of_mean"]["3"] == pytest.approx(together, abs=0.006)
        expected = [float(row[2]) for row in summary["tables"][1]["rows"]]
        assert expected == sorted(expected)
        assert expected[-1] == best

    def test_methods_are_set_against_it(self, folder, summary):
        rows = {row[0]: row for row in summary["tables"][0]["rows"]}
        titles = ("mean of infinitely many samples", "mean of 3 samples", "one sample")
        methods = ("GNC, mean of 3 starts", "GNC", "DiffPIR", "plug-and-play", "TV", "FBP")
        assert tuple(rows) == (*titles, *methods)
        metrics = table(folder / "arms" / "beside" / "metrics.csv")
        for name, title in (("preconditioned", "GNC"), ("tv", "TV")):
            psnr = [float(row["psnr"]) for row in metrics if row["method"] == name]
            assert float(rows[title][1]) == pytest.approx(np.mean(psnr), abs=0.006)
            ceilings = -10 * np.log10(summary["error"])
            difference = float(rows[title][3].partition(" ±")[0])
            assert difference == pytest.approx(np.mean(psnr - ceilings), abs=0.006)

    def test_samples_share_the_measurements_and_nothing_else(self, folder):
        beside, one, two = (
            arrays(folder / "arms" / name) for name in ("beside", "sample-1", "sample-2")
        )
        assert (one["sinogram"] == beside["sinogram"]).all()
        assert (one["sinogram"] == two["sinogram"]).all()
        assert (one["langevin"] != two["langevin"]).mean() > 0.99
