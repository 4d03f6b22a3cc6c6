"""Measurement noise has the level asked for, and belongs to its image alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.data.ellipses import phantoms
from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D, Radon, add_noise, estimate_noise


def clean(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_level_is_relative_to_each_images_mean_magnitude():
    scale = torch.tensor([1.0, -3.0, 0.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    y_clean = (clean(3, 1, 60, 183) - 0.3) * scale
    y, sigma = add_noise(y_clean, relative=0.1, seeds=[0, 1, 2])
    assert sigma.dtype == torch.float64
    torch.testing.assert_close(sigma, 0.1 * y_clean.abs().mean((1, 2, 3)))
    noise = y - y_clean
    # 10,980 draws: the standard deviation is known to 0.7 %, the mean to 1 % of it.
    torch.testing.assert_close(noise.std((1, 2, 3)), sigma, rtol=0.03, atol=0)
    assert bool((noise.mean((1, 2, 3)).abs() <= 0.04 * sigma).all())
    assert torch.equal(y[2], y_clean[2])


def test_absolute_level():
    y_clean = clean(2, 1, 60, 183)
    y, sigma = add_noise(y_clean, absolute=2.5, seeds=[3, 4])
    assert sigma.tolist() == [2.5, 2.5]
    assert (y - y_clean)[0].std() == pytest.approx(2.5, rel=0.03)
    same, _ = add_noise(y_clean, absolute=0.0, seeds=[3, 4])
    assert torch.equal(same, y_clean)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4), st.integers(0, 3))
def test_noise_does_not_depend_on_the_batch(seeds, index):
    index %= len(seeds)
    y_clean = clean(len(seeds), 2, 5, 7)
    y, sigma = add_noise(y_clean, relative=0.2, seeds=seeds)
    alone, sigma_alone = add_noise(y_clean[index : index + 1], relative=0.2, seeds=[seeds[index]])
    assert torch.equal(y[index], alone[0])
    assert torch.equal(sigma[index], sigma_alone[0])
    backwards, _ = add_noise(y_clean.flip(0), relative=0.2, seeds=seeds[::-1])
    assert torch.equal(backwards.flip(0), y)


def test_seeds_give_unrelated_noise():
    zero = torch.zeros(3, 1, 60, 183, dtype=torch.float64)
    y, _ = add_noise(zero, absolute=1.0, seeds=[0, 1, 0])
    assert torch.equal(y[0], y[2])
    correlation = (y[0] * y[1]).mean()
    assert abs(correlation) < 4 / math.sqrt(y[0].numel())
    lag = (y[0, :, :, 1:] * y[0, :, :, :-1]).mean()
    assert abs(lag) < 4 / math.sqrt(y[0].numel())


def test_single_precision_draws_the_same_noise():
    y_clean = clean(1, 1, 6, 9)
    y, _ = add_noise(y_clean, relative=0.1, seeds=[5])
    single, sigma = add_noise(y_clean.float(), relative=0.1, seeds=[5])
    assert single.dtype == torch.float32
    assert sigma.dtype == torch.float64
    torch.testing.assert_close(single.double(), y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "levels",
    [{}, {"relative": 0.1, "absolute": 0.1}, {"relative": -0.1}, {"absolute": math.nan}],
)
def test_wrong_level_is_explained(levels):
    with pytest.raises(UserError, match="exactly one finite noise level >= 0, got relative="):
        add_noise(clean(1, 1, 2, 2), **levels, seeds=[0])


def test_wrong_seeds_are_explained():
    with pytest.raises(UserError, match="one seed per image, 2, got 1 seeds"):
        add_noise(clean(2, 1, 2, 2), absolute=1.0, seeds=[0])


class TestEstimate:
    def test_of_white_noise_on_smooth_projections(self):
        """Exact on average: fourth differences of a cubic vanish."""
        bins = torch.linspace(-1, 1, 183, dtype=torch.float64)
        y, sigma = add_noise(
            (3 - bins + 2 * bins**3).expand(4, 1, 60, 183), absolute=0.5, seeds=range(4)
        )
        torch.testing.assert_close(estimate_noise(y), sigma, rtol=0.04, atol=0)
        doubled = estimate_noise(2 * y)
        torch.testing.assert_close(doubled, 2 * estimate_noise(y), rtol=1e-12, atol=0)

    def test_of_phantoms(self):
        """Edges make it too large, the more so the less noise there is."""
        x = torch.from_numpy(phantoms(range(4), 0, "validation"))
        operator = Radon(ParallelBeam2D.for_image(128, 60))
        ratios = []
        for relative in (0.2, 0.1, 0.01):
            y, sigma = add_noise(operator(x), relative=relative, seeds=range(4))
            ratios.append((estimate_noise(y) / sigma).mean().item())
        assert ratios[0] == pytest.approx(1, abs=0.03)
        assert ratios[1] == pytest.approx(1, abs=0.05)
        assert 1 < ratios[2] < 1.6

    def test_bins_set_to_a_constant_do_not_count(self):
        y, sigma = add_noise(
            clean(2, 1, 60, 10).repeat_interleave(20, -1), absolute=1.0, seeds=[0, 1]
        )
        y[..., 60:] = 0
        torch.testing.assert_close(estimate_noise(y), sigma, rtol=0.1, atol=0)
        assert estimate_noise(torch.zeros(1, 1, 3, 9)).item() == 0

    def test_too_few_bins(self):
        with pytest.raises(UserError, match="at least 5 detector bins"):
            estimate_noise(torch.ones(1, 1, 60, 4))
