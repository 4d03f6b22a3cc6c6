"""Samples follow the density of an exact prior."""

import pytest
import torch

from gnclightning.priors import GaussianMixture
from gnclightning.sampling import denoise, draw_samples
from gnclightning.sde import VESDE, VPSDE

MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
COVARIANCES = torch.tensor([[[0.04, 0.01], [0.01, 0.02]], [[0.01, 0.0], [0.0, 0.01]]])
WEIGHTS = torch.tensor([0.3, 0.7])
SDES = [VPSDE(), VESDE(sigma_max=10.0)]


@pytest.mark.parametrize("sde", SDES, ids=["vp", "ve"])
def test_samples_have_the_weights_means_and_covariances_of_a_mixture(sde):
    prior = GaussianMixture(sde, MEANS, COVARIANCES, WEIGHTS)
    x = draw_samples(prior, sde, (2,), range(2000))
    first = x[:, 0] > 0
    assert first.float().mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 2000) ** 0.5)
    for part, mean, covariance in zip((x[first], x[~first]), MEANS, COVARIANCES, strict=True):
        deviation = (covariance.diagonal() / len(part)).sqrt()
        assert ((part.mean(0) - mean).abs() < 4 * deviation).all()
        torch.testing.assert_close(part.T.cov(), covariance, rtol=0.15, atol=2e-3)


def test_a_sample_depends_on_its_own_seed_only():
    prior = GaussianMixture(SDES[0], MEANS, COVARIANCES, WEIGHTS)
    together = draw_samples(prior, SDES[0], (2,), [5, 6, 7], steps=10)
    alone = [draw_samples(prior, SDES[0], (2,), [seed], steps=10) for seed in (5, 6, 7)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-6)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("sde", SDES, ids=["vp", "ve"])
def test_denoising_is_the_posterior_mean(sde):
    """Of a Gaussian, by linear regression of x_0 on x_t."""
    mean, covariance = MEANS[:1].double(), COVARIANCES[:1].double()
    prior = GaussianMixture(sde, mean, covariance)
    t = torch.tensor([0.1, 0.5], dtype=torch.float64)
    x = torch.tensor([[0.3, -0.2], [2.0, 1.0]], dtype=torch.float64)
    for row, time, found in zip(x, t, denoise(prior, sde, x, t), strict=True):
        gamma, nu = sde.mean_scale(time), sde.std(time)
        gain = (
            gamma
            * covariance[0]
            @ torch.linalg.inv(gamma**2 * covariance[0] + nu**2 * torch.eye(2, dtype=torch.float64))
        )
        torch.testing.assert_close(found, mean[0] + gain @ (row - gamma * mean[0]))
