"""Samples of the posterior, against posteriors that are known in closed form."""

from collections.abc import Callable

import pytest
import torch

from gnclightning.baselines import Denoiser, diffpir, langevin
from gnclightning.operators import Matrix
from gnclightning.priors import GaussianMixture
from gnclightning.sde import VPSDE
from gnclightning.symmetries import version

F64 = torch.float64
N, M, COUNT = 6, 4, 10000
SDE = VPSDE()
SIGMAS = (0.05, 0.2)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


MEAN = 0.5 + 0.2 * random(N)
COVARIANCE = torch.diag(torch.linspace(0.02, 0.2, N, dtype=F64))
MATRIX = random(M, N, seed=1)
A = Matrix(MATRIX)
GAUSSIAN = [(MEAN, COVARIANCE)]
# Not Gaussian: tails and peak differ, and measurements decide between the two.
PEAKED = [(MEAN, 0.5 * COVARIANCE), (MEAN, 2 * COVARIANCE)]
Components = list[tuple[torch.Tensor, torch.Tensor]]


def measurement(sigma: float) -> torch.Tensor:
    return A(MEAN + 0.3) + sigma * random(M, seed=2)


def posterior(components: Components, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (N,) and covariance (N, N)."""
    means, covariances, log_weights = [], [], []
    for mean, covariance in components:
        gram = MATRIX @ covariance @ MATRIX.mT + sigma**2 * torch.eye(M, dtype=F64)
        gain = torch.linalg.solve(gram, MATRIX @ covariance).mT
        residual = measurement(sigma) - MATRIX @ mean
        means.append(mean + gain @ residual)
        covariances.append(covariance - gain @ MATRIX @ covariance)
        surprise = residual @ torch.linalg.solve(gram, residual) + torch.logdet(gram)
        log_weights.append(-0.5 * surprise)
    weights = torch.stack(log_weights).softmax(0)
    mean = weights @ torch.stack(means)
    spread = [c + torch.outer(m - mean, m - mean) for m, c in zip(means, covariances, strict=True)]
    return mean, torch.einsum("k,kij->ij", weights, torch.stack(spread))


def denoiser(components: Components) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Of an image that is `COUNT` points, each with this prior: one image, one generator."""
    means, covariances = zip(*components, strict=True)
    one = Denoiser(GaussianMixture(SDE, torch.stack(means), torch.stack(covariances)), SDE)

    def denoise(z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return one(z[0], sigma.expand(COUNT))[None]

    return denoise


def draw(method, components: Components, sigma: float, **settings) -> torch.Tensor:
    """(COUNT, N)."""
    y = measurement(sigma).expand(1, COUNT, M)
    level = torch.tensor([sigma], dtype=F64)
    return method(denoiser(components), A, y, level, [0], **settings).image[0]


def ratios(x: torch.Tensor, components: Components, sigma: float) -> tuple[float, torch.Tensor]:
    """How far the mean is off, in standard deviations, and variances over what they should be.

    The latter are those of the directions in which they differ least and most, and the sum of all.
    """
    mean, covariance = posterior(components, sigma)
    root = torch.linalg.cholesky(covariance)
    off = torch.linalg.solve_triangular(root, (x.mean(0) - mean)[:, None], upper=False)
    white = torch.linalg.solve_triangular(root, torch.cov(x.mT), upper=False)
    white = torch.linalg.solve_triangular(root, white.mT, upper=False)
    total = torch.cov(x.mT).trace() / covariance.trace()
    return float(off.norm()), torch.stack([*torch.linalg.eigvalsh(white)[[0, -1]], total])


@pytest.mark.parametrize("components", [GAUSSIAN, PEAKED], ids=["gaussian", "peaked"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_samples_have_the_mean_and_covariance_of_the_posterior(components, sigma):
    """To what docs/baselines.md states for the default number of steps."""
    off, (least, most, total) = ratios(draw(langevin, components, sigma), components, sigma)
    assert off < 0.3  # by chance 0.024
    assert 0.85 < least < most < 1.2
    assert 0.92 < total < 1.08


def test_the_error_falls_as_one_over_the_number_of_steps():
    """What is left is lag behind the falling noise."""
    few, many = (
        ratios(draw(langevin, GAUSSIAN, SIGMAS[0], steps=steps), GAUSSIAN, SIGMAS[0])
        for steps in (30, 240)
    )
    chance = (N / COUNT) ** 0.5
    assert few[0] > 0.3
    assert many[0] < few[0] / 8 + 3 * chance
    assert few[1][-1] > 1.1
    assert abs(many[1][-1] - 1) < (few[1][-1] - 1) / 8 + 0.02


@pytest.mark.parametrize("sigma", SIGMAS)
def test_diffpir_has_half_of_the_variance(sigma):
    """As docs/baselines.md states: with the statistical weight and fresh noise throughout."""
    found = draw(diffpir, GAUSSIAN, sigma, steps=60, weight=1.0, renoise=1.0)
    _, (_, most, total) = ratios(found, GAUSSIAN, sigma)
    assert most < 0.6
    assert 0.45 < total < 0.55


class TestSymmetry:
    IDENTITY = Matrix(torch.eye(3, dtype=F64))  # on each row of an image

    def draw(self, denoise, y: torch.Tensor, sigma: float, symmetric: bool) -> torch.Tensor:
        level = torch.tensor([sigma], dtype=F64)
        found = langevin(denoise, self.IDENTITY, y, level, [0], steps=64, symmetric=symmetric)
        return found.image

    def test_all_versions_are_seen_and_turned_back(self):
        seen: list[torch.Tensor] = []

        def denoise(z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            seen.append(z)
            return z / (1 + sigma**2)

        y = random(1, 1, 3, 3, seed=4)
        plain = self.draw(denoise, y, 0.3, symmetric=False)
        usual, seen[:] = [*seen], []
        assert torch.equal(self.draw(denoise, y, 0.3, symmetric=True), plain)
        for step, (z, other) in enumerate(zip(usual, seen, strict=True)):
            found = [k for k in range(8) if torch.equal(version(z, k), other)]
            assert found == [step % 8]

    def test_a_prior_that_prefers_a_side_no_longer_does(self):
        slope = torch.linspace(-1, 1, 3, dtype=F64)

        def denoise(z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return z + (slope - z) * sigma**2 / (1 + sigma**2)

        def tilt(symmetric: bool) -> float:
            x = self.draw(denoise, torch.zeros(1, 500, 3, 3, dtype=F64), 3.0, symmetric)
            return float((x.mean((0, 1, 2)) * slope).sum())

        assert tilt(False) > 1.5
        assert abs(tilt(True)) < 0.3
