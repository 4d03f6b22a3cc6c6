"""Objectives: gradients by finite differences, moves along rays, the posterior mean, alpha."""

import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.errors import UserError
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import ScaledEnergy
from gnclightning.sde import VPSDE
from gnclightning.symmetries import order, original, version
from gnclightning.tensors import expand, inner, norm
from problems import T_MIN, problem, random, start


class WeightedPrior:
    """Energy 1/2 |w (x - 1)|^2 of any t, as if the noise had unit size; counts images."""

    def __init__(self, weights):
        self.square = weights**2
        self.evaluations = 0

    def energy_and_score(self, x, t):
        self.evaluations += len(x)
        energy = 0.5 * (self.square * (x - 1) ** 2).sum((1, 2, 3))
        return energy, -self.square * (x - 1)

    def energy(self, x, t):
        return self.energy_and_score(x, t)[0]

    def score(self, x, t):
        return self.energy_and_score(x, t)[1]

    def curvature(self, t):
        return torch.ones_like(t)

    def mean_scale(self, t):
        return torch.ones_like(t)


def graduated_value(objective, x, t):
    residual = objective.operator(x) - objective.y
    return 0.5 * residual.square().sum(1) + objective.alpha(t) * objective.prior.energy(x, t)


def test_gradient_of_f_matches_finite_differences():
    objective, x = problem(), start()
    d, h = random(5, 6, seed=9), 1e-6
    up, down = objective.evaluate(x + h * d).value, objective.evaluate(x - h * d).value
    point = objective.evaluate(x)
    torch.testing.assert_close(
        (up - down) / (2 * h), inner(point.gradient, d), rtol=1e-7, atol=1e-7
    )
    torch.testing.assert_close(
        point.value, graduated_value(objective, x, torch.full((5,), T_MIN).double())
    )


def test_gradient_of_the_graduated_objective_matches_finite_differences():
    objective, x = problem(), start()
    t = torch.tensor([0.01, 0.1, 0.3, 0.7, 1.0], dtype=torch.float64)
    d, h = random(5, 6, seed=9), 1e-6
    slope = (
        graduated_value(objective, x + h * d, t) - graduated_value(objective, x - h * d, t)
    ) / (2 * h)
    gradient = objective.gradient(objective.evaluate(x), t)
    torch.testing.assert_close(slope, inner(gradient, d), rtol=1e-7, atol=1e-7)


def test_at_t_min_the_family_is_f():
    objective, x = problem(), start()
    point = objective.evaluate(x)
    gradient = objective.gradient(point, torch.full((5,), T_MIN).double())
    torch.testing.assert_close(gradient, point.gradient)


@pytest.mark.parametrize("of_scaled_images", [False, True])
def test_the_posterior_mean_of_a_gaussian_is_exact(of_scaled_images):
    """E[x_0 | x_t] = m + gamma S (gamma^2 S + nu^2)^-1 (x_t - gamma m), x_t = x or gamma x."""
    objective, x = problem(gaussian=True), start()
    sde, t = objective.alpha.sde, torch.tensor([T_MIN], dtype=torch.float64)
    gamma, nu, mean, variance = sde.mean_scale(t), sde.std(t), 0.5, 1.0
    noisy = x
    if of_scaled_images:
        objective.prior, noisy = ScaledEnergy(objective.prior, sde), gamma * x
    gain = gamma * variance / (gamma**2 * variance + nu**2)
    expected = mean + gain * (noisy - gamma * mean)
    torch.testing.assert_close(objective.posterior_mean(objective.evaluate(x))[0], expected)


@pytest.mark.parametrize("of_scaled_images", [False, True])
@pytest.mark.parametrize("t_min", [0.1, 0.3])
def test_steps_lead_to_the_posterior_mean_of_a_gaussian_given_y(t_min, of_scaled_images):
    """(A*A / s^2 + I)^-1 (A*y / s^2 + m) for each image's s, whatever t_min, alpha and start."""
    base, x = problem(gaussian=True), start()
    sigma = torch.linspace(0.5, 2.0, len(x)).double()
    prior, sde = base.prior, base.alpha.sde
    if of_scaled_images:
        prior = ScaledEnergy(prior, sde)
    alpha = Alpha.constant(sde, 0.3)
    objective = GraduatedObjective(base.operator, base.y, prior, alpha, t_min, sigma_y=sigma)
    columns = base.operator(torch.eye(6).double())  # rows are the columns of A
    precision = columns @ columns.T / sigma[:, None, None] ** 2 + torch.eye(6).double()
    pull = base.operator.adjoint(base.y) / sigma[:, None] ** 2 + 0.5
    expected = torch.linalg.solve(precision, pull)
    errors = [
        norm(objective.posterior_mean(objective.evaluate(x), steps=steps)[0] - expected)
        for steps in (0, 1, 1000)
    ]
    assert (errors[1] < errors[0]).all()
    assert (errors[2] < 1e-8 * norm(expected)).all()
    rows = torch.tensor([3, 1])
    point = objective.select(rows).evaluate(x[rows])
    some, _ = objective.select(rows).posterior_mean(point, steps=1000)
    torch.testing.assert_close(some, expected[rows])


def test_steps_towards_the_mean_need_the_noise_level():
    objective = problem(gaussian=True)
    with pytest.raises(UserError, match="expected sigma_y"):
        objective.posterior_mean(objective.evaluate(start()), steps=1)


@pytest.mark.parametrize(("shape", "versions"), [((6, 6), 8), ((4, 6), 4)])
def test_steps_see_another_version_each_and_end_with_the_mean_of_the_last_eight(shape, versions):
    """By linear algebra, for energies 1/2 |w (x - 1)|^2: a turned image is one with turned w."""
    weights, sigma, steps = 0.8 * random(1, 1, *shape, seed=3), 1.5, 11
    operator = Radon(ParallelBeam2D.for_image(shape, 5), dtype=torch.float64)
    prior, alpha = WeightedPrior(weights), Alpha.constant(VPSDE(), 3.0)
    y, x = operator(random(2, 1, *shape, seed=2)), random(2, 1, *shape, seed=1)
    noise = torch.full((2,), sigma, dtype=torch.float64)
    objective = GraduatedObjective(
        operator, y, prior, alpha, T_MIN, cg_factor=0, cg_steps=80, sigma_y=noise
    )
    pixels = torch.eye(x[0].numel()).double().reshape(-1, 1, *shape)
    columns = operator(pixels).flatten(1)
    inverse = torch.linalg.inv(columns @ columns.T + sigma**2 * torch.eye(len(columns)))
    group = [(turn, flip) for flip in (False, True) for turn in range(0, 4, 8 // versions)]
    expected, iterate, denoised = [], x, x - weights**2 * (x - 1)
    for step in range(1, steps + 1):
        pull = (denoised - iterate).flatten(1)
        mismatch = (operator(denoised) - y).flatten(1) @ columns.T - sigma**2 * pull
        iterate = iterate - (mismatch @ inverse).reshape(x.shape)
        turn, flip = group[step % versions]
        turned_back = torch.rot90(weights**2, -turn, (-2, -1))
        turned_back = turned_back.flip(-1) if flip else turned_back
        denoised = iterate - turned_back * (iterate - 1)
        expected.append(denoised)
    point = objective.evaluate(x)
    before = prior.evaluations
    found, projections = objective.posterior_mean(point, symmetric=True, steps=steps)
    torch.testing.assert_close(found, torch.stack(expected[-8:]).mean(0))
    assert prior.evaluations - before == 2 * steps
    assert projections.tolist() == [steps * (2 + 2 * 80)] * 2
    once, _ = objective.posterior_mean(point, symmetric=True, steps=1)
    torch.testing.assert_close(once, expected[0])
    plain, none = objective.posterior_mean(point, symmetric=True)
    torch.testing.assert_close(plain, x - weights**2 * (x - 1))
    assert none.tolist() == [0, 0]


@pytest.mark.parametrize(("shape", "versions"), [((3, 3), 8), ((2, 3), 4)])
def test_versions_are_all_flips_and_turns_and_can_be_undone(shape, versions):
    image = random(1, 1, *shape, seed=0)
    assert order(image) == versions
    turned = [version(image, number) for number in range(versions)]
    assert turned[0].equal(image)
    assert all(v.shape == image.shape for v in turned)
    assert len({tuple(v.flatten().tolist()) for v in turned}) == versions
    assert version(image, versions + 1).equal(turned[1])
    assert all(original(v, number).equal(image) for number, v in enumerate(turned))


def test_moving_along_a_ray_equals_evaluating_there():
    objective, x = problem(), start()
    point = objective.evaluate(x)
    ray = objective.ray(random(5, 6, seed=4))
    step = torch.tensor([0.1, 0.5, 1.0, 2.0, 0.0], dtype=torch.float64)
    moved = objective.move(point, ray, step)
    there = objective.evaluate(x + step[:, None] * ray.direction)
    for name in ("x", "residual", "data_gradient", "gradient", "fidelity", "regulariser"):
        torch.testing.assert_close(getattr(moved, name), getattr(there, name))


def test_alpha_rules():
    sde = VPSDE()
    t = torch.tensor([1e-3, 0.1, 1.0], dtype=torch.float64)
    ratio = sde.noise_to_signal(t)
    torch.testing.assert_close(Alpha.constant(sde, 2.0)(t), torch.full((3,), 2.0).double())
    torch.testing.assert_close(Alpha.noise_scale(sde, 2.0)(t), 2 * ratio)
    sigma = torch.tensor([1.0, 2.0, 3.0])
    auto = Alpha.from_noise_level(sde, sigma, t_min=1e-3, gain=3.0, factor=0.5)
    at_end = auto(torch.full((3,), 1e-3, dtype=torch.float64))
    torch.testing.assert_close(at_end, 0.5 * sigma.double() ** 2)
    growth = 3 * (sde.std(t) ** 2 - sde.std(t[:1]) ** 2)
    torch.testing.assert_close(auto(t), 0.5 * (sigma.double() ** 2 + growth))
    torch.testing.assert_close(auto.select(torch.tensor([2]))(t[2:]), auto(t)[2:])


def test_automatic_alpha_keeps_its_curvature_however_exact_the_measurements():
    """alpha_t / nu_t^2, on which preconditioner and steps live, is factor times gain or more."""
    sde, gain, factor = VPSDE(), 45.0, 0.5
    sigma = torch.tensor([1.0, 1e-2, 1e-4])
    auto = Alpha.from_noise_level(sde, sigma, 1e-3, gain, factor)
    for t in torch.logspace(-1.5, 0, 9).double():
        curvature = auto(t.expand(3)) / sde.std(t) ** 2
        assert (curvature >= 0.98 * factor * gain).all()
        assert curvature[0] > curvature[1] > curvature[2]


def test_moved_residuals_do_not_drift_in_float32():
    """After 400 moves without a projection, A x - y and A*(A x - y) are those of a fresh start."""
    operator = Radon(ParallelBeam2D.for_image(32, 20))
    truth = random(2, 1, 32, 32, seed=1).float()
    prior = WeightedPrior(torch.zeros(()))  # one that knows nothing
    alpha = Alpha.constant(VPSDE(), 1.0)
    objective = GraduatedObjective(operator, operator(truth), prior, alpha, T_MIN)
    point = objective.evaluate(torch.zeros_like(truth))
    step = torch.full((2,), 0.5 / operator.norm() ** 2)
    for _ in range(400):
        point = objective.move(point, objective.ray(-point.gradient), step)
    fresh = objective.evaluate(point.x)
    scale = norm(objective.y)
    assert (norm(point.residual - fresh.residual) < 3e-6 * scale).all()
    drift = norm(point.data_gradient - fresh.data_gradient)
    assert (drift < 3e-6 * operator.norm() * scale).all()


def test_select_is_the_objective_of_those_images():
    objective = problem()
    rows = torch.tensor([3, 1])
    x = start()
    part = objective.select(rows).evaluate(x[rows])
    torch.testing.assert_close(part.value, objective.evaluate(x).value[rows])


def test_a_batch_of_noise_levels_weights_each_image_alone():
    sde = VPSDE()
    base = problem(batch=2)
    alpha = Alpha.from_noise_level(sde, torch.tensor([1.0, 2.0]), T_MIN, gain=2.0)
    objective = GraduatedObjective(base.operator, base.y, base.prior, alpha, T_MIN)
    x = start(2)
    second = objective.select(torch.tensor([1])).evaluate(x[1:])
    torch.testing.assert_close(second.value, objective.evaluate(x).value[1:])
    assert expand(alpha.scale, x).shape == (2, 1)


def test_measurements_that_do_not_fit_are_refused():
    """Broadcasting would make a plausible objective of them."""
    base = problem()

    def objective(y, scale=1):
        alpha = Alpha(base.alpha.sde, torch.ones(scale).double(), 0.0)
        return GraduatedObjective(base.operator, y, base.prior, alpha, T_MIN)

    with pytest.raises(
        UserError, match=r"expected measurement of shape \(\.\.\., 4\), got \(5, 1\)"
    ):
        objective(base.y[:, :1])
    with pytest.raises(UserError, match="finite measurements"):
        objective(base.y.index_fill(0, torch.tensor([2]), torch.nan))
    with pytest.raises(UserError, match="each of the 5 images, got 3"):
        objective(base.y, 3)
    with pytest.raises(UserError, match="expected 5 images x, as many as y, got 1"):
        objective(base.y).evaluate(start(1))


def test_t_min_must_be_positive():
    base = problem()
    with pytest.raises(UserError, match="t_min must be positive"):
        GraduatedObjective(base.operator, base.y, base.prior, base.alpha, 0.0)
