"""Diagnostics agree with closed forms, and find what is planted."""

import dataclasses

import pytest
import torch
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.diagnostics import (
    asymmetry,
    check_gradient,
    convex_from,
    curvature,
    gradient_mismatch,
)
from gnclightning.errors import UserError
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import Form, GaussianMixture, NetworkEnergy, NetworkScore
from gnclightning.sde import VPSDE
from problems import Counting, gaussian_prior, mixture_prior, problem, random, start
from run_folders import tiny_network

SDE = VPSDE()


def times(count: int, t: float) -> Tensor:
    return torch.full((count,), t, dtype=torch.float64)


class TestGradientTest:
    def test_passes_where_the_gradient_is_right(self):
        found = gradient_mismatch(problem(), start())
        assert (found.fidelity < 1e-8).all()
        assert (found.regulariser < 1e-4).all()
        check_gradient(problem(), start())

    @pytest.mark.parametrize("form", list(Form))
    def test_passes_in_float32_with_a_network_and_noise_as_start(self, form):
        objective, x = self.network_problem(form)
        check_gradient(objective, x)

    def network_problem(self, form=Form.PAPER, operator=None):
        operator = operator or Radon(ParallelBeam2D.for_image(32, 20))
        prior = NetworkEnergy(SDE, tiny_network(), form).requires_grad_(False)
        x = random(2, 1, 32, 32, seed=3).float()
        y = operator(random(2, 1, 32, 32, seed=4).float().abs())
        alpha = Alpha.from_noise_level(SDE, torch.full((2,), 0.3), 1e-3, operator.mean_gain())
        return GraduatedObjective(operator, y, prior, alpha, 1e-3), x

    def test_a_regulariser_in_the_rounding_of_the_data_term_passes(self):
        """Noise of 1e-5 makes alpha so small that float32 loses grad R in grad f at the start."""
        objective, x = self.network_problem()
        objective.alpha = Alpha.from_noise_level(SDE, torch.full((2,), 1e-5), 1e-3, 1.0)
        point = objective.evaluate(x)
        lost = point.gradient - point.data_gradient
        exact = objective.alpha(times(2, 1e-3))[0] * objective.prior.score(
            x, times(2, 1e-3).float()
        )
        assert (lost + exact).norm() > 0.1 * exact.norm()
        check_gradient(objective, x)

    def test_an_unmatched_adjoint_is_found(self):
        """Back-projection along angles wrong by a degree."""
        right = ParallelBeam2D.for_image(32, 20)
        turned = tuple(angle + 0.02 for angle in right.angles)
        wrong = Radon(dataclasses.replace(right, angles=turned))

        class Unmatched(Radon):
            def _rmatvec(self, y):
                return wrong._rmatvec(y)

        objective, x = self.network_problem(operator=Unmatched(right))
        with pytest.raises(UserError, match=r"the data term to agree .* adjoint is its transpose"):
            check_gradient(objective, x)

    def test_a_score_that_is_not_the_gradient_is_found(self):
        objective, x = problem(), start()

        class Scaled(Counting):
            def energy_and_score(self, x, t):
                energy, score = self.prior.energy_and_score(x, t)
                return energy, score / 1.02

        objective.prior = Scaled(objective.prior)
        found = gradient_mismatch(objective, x)
        assert found.regulariser.max() > 0.01
        with pytest.raises(UserError, match=r"the regulariser to agree .* energy's gradient"):
            check_gradient(objective, x)

    def test_a_value_that_is_not_finite_is_found(self):
        objective, x = problem(), start()
        x[1, 0] = torch.inf
        with pytest.raises(UserError):
            check_gradient(objective, x)


class TestAsymmetry:
    def test_energies_are_conservative(self):
        x = random(3, 1, 8, 8, seed=1)
        energy = NetworkEnergy(SDE, tiny_network().double())
        assert (asymmetry(energy, x, times(3, 0.1)) < 1e-10).all()
        mixture = mixture_prior(SDE, 6)
        assert (asymmetry(mixture, start(), times(5, 0.05)) < 1e-10).all()

    def test_a_score_network_is_not(self):
        x = random(3, 1, 8, 8, seed=1)
        score = NetworkScore(SDE, tiny_network().double())
        assert (asymmetry(score, x, times(3, 0.1)) > 1e-3).all()

    def test_a_known_rotation(self):
        """Score (-x + c y, -y - c x): |(J - J^T) v| / |J v| = 2c / sqrt(1 + c^2)."""

        class Swirl:
            def score(self, x, t):
                matrix = torch.tensor([[-1.0, 0.5], [-0.5, -1.0]], dtype=x.dtype)
                return x @ matrix.mT

        found = asymmetry(Swirl(), random(4, 2, seed=2), times(4, 0.1))
        torch.testing.assert_close(found, times(4, 1.0) / (1.25**0.5))


class TestCurvature:
    def test_extremes_of_a_gaussian(self):
        """The Hessian of -log p_t is the inverse of gamma^2 S + nu^2 I."""
        roots = random(1, 6, 6, seed=5)
        covariance = roots @ roots.mT
        prior = GaussianMixture(SDE, random(1, 6, seed=6), covariance)
        t = times(3, 0.2)
        scale, nu = SDE.mean_scale(t[:1]), SDE.std(t[:1])
        values = 1 / (scale**2 * torch.linalg.eigvalsh(covariance[0]) + nu**2)
        found = curvature(prior, random(3, 6, seed=7), t, steps=6)
        torch.testing.assert_close(found.largest, values.max().expand(3), rtol=1e-6, atol=0)
        torch.testing.assert_close(found.smallest, values.min().expand(3), rtol=1e-6, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_hessian_with_fewer_eigenvalues_than_steps(self, dtype):
        """Krylov spaces end early: what rounding would add must not count as curvature."""
        spread = torch.ones(30, dtype=torch.float64)
        for diagonal in (spread, torch.cat([spread[:20], 3 * spread[:10]])):
            covariance = torch.diag(diagonal)[None].to(dtype)
            prior = GaussianMixture(SDE, torch.zeros(1, 30, dtype=dtype), covariance)
            t = times(2, 0.2)
            variances = SDE.mean_scale(t[:1]) ** 2 * diagonal + SDE.std(t[:1]) ** 2
            found = curvature(prior, random(2, 30, seed=7).to(dtype), t.to(dtype), steps=20)
            smallest, largest = (1 / variances.max()).expand(2), (1 / variances.min()).expand(2)
            torch.testing.assert_close(found.smallest, smallest, rtol=1e-4, atol=0)
            torch.testing.assert_close(found.largest, largest, rtol=1e-4, atol=0)

    def test_a_saddle_of_a_mixture_has_negative_curvature(self):
        """Half way between two narrow Gaussians at +-1: 1/v - 1/v^2 along, 1/v across."""
        means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
        prior = GaussianMixture(SDE, means, 0.1 * torch.eye(2).double().expand(2, 2, 2))
        t = times(1, 1e-3)
        gamma, nu = SDE.mean_scale(t), SDE.std(t)
        v = gamma**2 * 0.1 + nu**2
        found = curvature(prior, torch.zeros(1, 2).double(), t, steps=2)
        torch.testing.assert_close(found.smallest, 1 / v - (gamma / v) ** 2)
        torch.testing.assert_close(found.largest, 1 / v)

    def test_a_network_against_its_full_hessian(self):
        prior = NetworkEnergy(SDE, tiny_network().double()).requires_grad_(False)
        x, t = random(1, 1, 4, 4, seed=8), times(1, 0.3)
        full = torch.autograd.functional.hessian(lambda z: prior.energy(z, t).sum(), x)
        values = torch.linalg.eigvalsh(full.reshape(16, 16))
        found = curvature(prior, x, t, steps=16)
        torch.testing.assert_close(found.smallest[0], values[0], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(found.largest[0], values[-1], rtol=1e-5, atol=1e-7)

    def test_the_time_from_which_on_a_mixture_is_convex(self):
        """At the saddle: convex once v >= gamma^2, a condition in closed form."""
        means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
        prior = GaussianMixture(SDE, means, 0.1 * torch.eye(2).double().expand(2, 2, 2))
        grid = torch.logspace(-3, 0, 40).double()
        v = SDE.mean_scale(grid) ** 2 * 0.1 + SDE.std(grid) ** 2
        expected = grid[v >= SDE.mean_scale(grid) ** 2].min()
        found = convex_from(prior, torch.zeros(2, 2).double(), grid.tolist(), steps=2)
        torch.testing.assert_close(found, expected.expand(2))
        convex = convex_from(gaussian_prior(SDE, 2), torch.zeros(2, 2).double(), [0.01, 0.1])
        torch.testing.assert_close(convex, times(2, 0.01))
        never = convex_from(prior, torch.zeros(1, 2).double(), [1e-3])
        assert never.isnan().all()
