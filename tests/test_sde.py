"""Transition kernels against the SDEs that define them."""

import pytest
import torch

from gnclightning.errors import UserError
from gnclightning.sde import VESDE, VPSDE, ExponentialVESDE, from_dict

SDES = [VPSDE(), VPSDE(0.5, 5.0), VESDE(), VESDE(0.1, 3.0), ExponentialVESDE()]
TIMES = torch.tensor([1e-3, 0.05, 0.3, 0.7, 0.95], dtype=torch.float64)


@pytest.mark.parametrize("sde", SDES)
def test_mean_scale_solves_the_drift_equation(sde):
    h = 1e-6
    slope = (sde.mean_scale(TIMES + h) - sde.mean_scale(TIMES - h)) / (2 * h)
    expected = sde.drift_rate(TIMES) * sde.mean_scale(TIMES)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("sde", SDES)
def test_variance_solves_its_equation(sde):
    h = 1e-6
    slope = (sde.std(TIMES + h) ** 2 - sde.std(TIMES - h) ** 2) / (2 * h)
    expected = 2 * sde.drift_rate(TIMES) * sde.std(TIMES) ** 2 + sde.diffusion(TIMES) ** 2
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sde", [*SDES, VPSDE(1.0, 1.0)])
def test_the_time_of_a_ratio_is_where_the_ratio_is_reached(sde):
    torch.testing.assert_close(sde.time_of(sde.noise_to_signal(TIMES)), TIMES, rtol=1e-12, atol=0)


@pytest.mark.parametrize("sde", SDES)
def test_starts_at_the_data(sde):
    zero = torch.zeros(1, dtype=torch.float64)
    assert sde.std(zero).item() == 0
    assert sde.mean_scale(zero).item() == 1


@pytest.mark.parametrize("sde", [VPSDE(), ExponentialVESDE(3.0)])
def test_euler_maruyama_reaches_the_stated_moments(sde):
    generator = torch.Generator().manual_seed(0)
    count, steps, end = 40_000, 400, 0.6
    x = torch.full((count, 1), 1.5, dtype=torch.float64)
    dt = end / steps
    for k in range(steps):
        t = torch.full((count,), (k + 0.5) * dt, dtype=torch.float64)
        dw = dt**0.5 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
        x = x + sde.drift(x, t) * dt + sde.diffusion(t)[:, None] * dw
    mean, std = sde.marginal_prob(torch.full((1, 1), 1.5), torch.tensor([end]))
    assert abs(x.mean().item() - mean.item()) < 5 * std.item() / count**0.5 + 2e-3
    assert x.std().item() == pytest.approx(std.item(), rel=0.02)


def test_published_constants():
    vp = VPSDE(0.1, 20.0)
    t = torch.tensor([1e-3, 1.0], dtype=torch.float64)
    # 1 - exp(-(0.1 t + 9.95 t^2)), by hand
    torch.testing.assert_close(
        vp.std(t) ** 2,
        torch.tensor([1.09943955e-4, 0.9999568], dtype=torch.float64),
        rtol=1e-5,
        atol=0,
    )
    toy = ExponentialVESDE(10.0)
    assert toy.std(torch.ones(1)).item() == pytest.approx((99 / 4.605170186) ** 0.5, rel=1e-6)


def test_std_keeps_its_digits_at_small_times():
    t = torch.tensor([1e-5])
    exact = VPSDE().std(t.double())
    assert VPSDE().std(t).item() == pytest.approx(exact.item(), rel=1e-6)


def test_prior_sampling_has_the_limit_variance():
    sde = VESDE(0.01, 50.0)
    z = sde.prior_sampling((200, 1, 20, 20), torch.Generator().manual_seed(1))
    assert z.std().item() == pytest.approx(50.0, rel=0.02)


@pytest.mark.parametrize("sde", SDES)
def test_dictionary_round_trip(sde):
    assert from_dict(sde.to_dict()) == sde


def test_bad_constants_and_names_are_refused():
    with pytest.raises(UserError, match="beta_min <= beta_max"):
        VPSDE(3.0, 1.0)
    with pytest.raises(UserError, match="sigma_min < sigma_max"):
        VESDE(2.0, 1.0)
    with pytest.raises(UserError, match="sigma > 1"):
        ExponentialVESDE(0.5)
    with pytest.raises(UserError, match="exponential_ve"):
        from_dict({"name": "brownian"})
