"""Denoising score matching, its times and its excess noise."""

import math

import pytest
import torch

from gnclightning.losses import (
    LognormalTimes,
    LogUniformTimes,
    PowerTimes,
    denoising_score_matching,
    excess_noise,
    min_snr_weight,
)
from gnclightning.priors import (
    GaussianMixture,
    NetworkEnergy,
    NetworkScore,
)
from gnclightning.sde import VESDE, VPSDE
from tiny_priors import tiny_network


@pytest.mark.parametrize("kind", [NetworkScore, NetworkEnergy])
def test_training_gradient_matches_finite_differences(kind):
    """For the energy this needs the second derivative of every layer."""
    sde = VPSDE()
    prior = kind(sde, tiny_network())
    g = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 8, 8, generator=g, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=g, dtype=torch.float64)
    t = torch.tensor([0.05, 0.5], dtype=torch.float64)

    def loss():
        return denoising_score_matching(prior, sde, x, t, noise).mean()

    parameters = list(prior.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    h = 1e-5
    for parameter, gradient in zip(parameters, gradients, strict=True):
        probe = torch.randn(parameter.shape, generator=g, dtype=torch.float64)
        with torch.no_grad():
            parameter.add_(h * probe)
            up = loss()
            parameter.sub_(2 * h * probe)
            down = loss()
            parameter.add_(h * probe)
        expected = ((up - down) / (2 * h)).item()
        assert (gradient * probe).sum().item() == pytest.approx(expected, rel=2e-4, abs=1e-6)


def test_the_exact_score_minimises_the_loss():
    """For data N(m, s^2 I) the least mean loss is gamma^2 s^2 / (gamma^2 s^2 + nu^2)."""
    sde = VPSDE()
    s, count = 0.3, 20_000
    g = torch.Generator().manual_seed(0)
    prior = GaussianMixture(
        sde, torch.ones(1, 2, dtype=torch.float64), s**2 * torch.eye(2, dtype=torch.float64)[None]
    )
    x = 1 + s * torch.randn(count, 2, generator=g, dtype=torch.float64)
    noise = torch.randn(count, 2, generator=g, dtype=torch.float64)
    t = torch.full((count,), 0.2, dtype=torch.float64)
    signal, nu2 = (s * sde.mean_scale(t[:1])) ** 2, sde.std(t[:1]) ** 2
    loss = denoising_score_matching(prior, sde, x, t, noise).mean().item()
    assert loss == pytest.approx((signal / (signal + nu2)).item(), rel=0.02)


def test_excess_noise_is_to_be_predicted_whole():
    """-log p_t of a single point is |x - gamma m|^2 / (2 nu^2): no loss, however large s is."""
    sde, mean = VPSDE(), torch.ones(1, 2, dtype=torch.float64)
    prior = GaussianMixture(sde, mean, torch.zeros(1, 2, 2, dtype=torch.float64))
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    t, s = torch.full((50,), 0.01).double(), torch.linspace(1, 20, 50).double()
    x = mean.expand(50, 2)
    assert denoising_score_matching(prior, sde, x, t, noise, s).max() < 1e-20

    class Blind:
        """A prior that knows only noise of level t: it predicts what s = 1 would give."""

        def score(self, x, t):
            return prior.score(x, t) / s[:, None]

    losses = denoising_score_matching(Blind(), sde, x, t, noise, s)
    expected = (1 - 1 / s) ** 2 * noise.square().mean(1)
    torch.testing.assert_close(losses, expected)


def test_excess_noise_reaches_from_the_level_to_the_start():
    sde, t = VPSDE(), torch.full((20_000,), 1e-3)
    s = excess_noise(sde, t, 0.3, torch.Generator().manual_seed(0))
    exceeding = s[s > 1]
    assert len(exceeding) / len(s) == pytest.approx(0.3, abs=0.01)
    logs = exceeding.log() / -sde.std(t[:1]).log()
    assert logs.min() < 0.01
    assert 0.99 < logs.max() <= 1
    assert logs.mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(excess_noise(sde, t, 0.0), torch.ones(20_000))


def test_times_hold_one_draw_of_each_stratum():
    sde = VPSDE()
    t = PowerTimes(1e-3, 1.0)(sde, 64, torch.Generator().manual_seed(0))
    strata = ((t - 1e-3) / (1 - 1e-3) * 64).floor().sort().values
    assert torch.equal(strata, torch.arange(64.0))
    skewed = PowerTimes(1e-5, 3.0)(sde, 4096, torch.Generator().manual_seed(0))
    assert skewed.min() >= 1e-5
    assert skewed.median().item() == pytest.approx(0.125, abs=0.01)


@pytest.mark.parametrize("sde", [VPSDE(), VESDE()])
def test_loguniform_times_visit_each_part_of_the_levels_once(sde):
    t = LogUniformTimes(1e-3)(sde, 256, torch.Generator().manual_seed(0))
    logs = sde.noise_to_signal(t.double()).log()
    low, high = sde.noise_to_signal(torch.tensor([1e-3, 1.0], dtype=torch.float64)).log()
    strata = (256 * (logs - low) / (high - low)).sort().values
    # float32 times resolve a stratum's end to a thousandth of it
    offset = strata - torch.arange(256)
    assert offset.min() > -1e-2
    assert offset.max() < 1 + 1e-2
    assert t.dtype == torch.float32


def test_min_snr_weighs_the_denoised_image_by_at_most_five():
    """The error of D = (x + nu^2 score) / gamma is (nu / gamma)^2 times that of the noise."""
    sde = VPSDE()
    t = torch.tensor([1e-3, 0.1, 0.3, 1.0], dtype=torch.float64)
    snr = (sde.mean_scale(t) / sde.std(t)) ** 2
    weight_of_image = min_snr_weight(sde, t) * snr
    torch.testing.assert_close(weight_of_image, snr.clamp(max=5.0))
    assert (snr[0] > 5) & (snr[-1] < 5)


@pytest.mark.parametrize("sde", [VPSDE(), VESDE()])
def test_lognormal_times_have_lognormal_noise_to_signal_ratios(sde):
    times = LognormalTimes(0.2, 0.7, 1e-6)
    t = times(sde, 4096, torch.Generator().manual_seed(0))
    assert t.dtype == torch.float32
    assert not torch.equal(t, t.sort().values)
    logs = sde.noise_to_signal(t.double()).log()
    assert logs.mean().item() == pytest.approx(math.log(0.2), abs=1e-3)
    assert logs.std().item() == pytest.approx(0.7, rel=0.01)
    # one of each stratum: the k-th smallest lies between the k-th quantiles
    strata = torch.special.ndtr((logs - math.log(0.2)) / 0.7) * 4096
    offset = strata.sort().values - torch.arange(4096)
    assert offset.min() > -0.1
    assert offset.max() < 1.1
    late = LognormalTimes(1e6, 0.1, 0.3)(sde, 8)
    early = LognormalTimes(1e-6, 0.1, 0.3)(sde, 8)
    assert torch.equal(late, torch.ones(8))
    assert torch.equal(early, torch.full((8,), 0.3))
