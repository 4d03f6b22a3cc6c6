"""Baselines that use a diffusion prior, and Tikhonov's, against what is known in closed form."""

import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.baselines import (
    Denoiser,
    dds,
    diffpir,
    dps,
    nonmonotone_apg,
    plug_and_play,
    regularised_solve,
    tikhonov,
)
from gnclightning.errors import UserError
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import Matrix
from gnclightning.priors import GaussianMixture
from gnclightning.sde import VPSDE
from gnclightning.solvers import Armijo, FixedFirstStep, gradient_descent, solve
from gnclightning.symmetries import version
from gnclightning.tensors import squared_norm

F64 = torch.float64
N = 6
SDE = VPSDE()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


MEAN = 0.5 + 0.2 * random(N)
COVARIANCE = torch.diag(torch.linspace(0.02, 0.2, N, dtype=F64))
GAUSSIAN = GaussianMixture(SDE, MEAN[None], COVARIANCE[None])
TWO = GaussianMixture(
    SDE, torch.stack([MEAN, MEAN - 1]), 0.01 * torch.eye(N, dtype=F64).expand(2, N, N)
)
DENOISER = Denoiser(GAUSSIAN, SDE)
NOTHING = Matrix(torch.zeros(1, N, dtype=F64))
A = Matrix(random(4, N, seed=1))
SIGMA = torch.tensor([0.05, 0.2], dtype=F64)
Y = torch.stack([A(MEAN), A(MEAN + 0.3)]) + SIGMA[:, None] * random(2, 4, seed=2)


def posterior_mean(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Of the Gaussian prior, (B, N)."""
    matrix = A.matrix
    gram = matrix @ COVARIANCE @ matrix.mT + sigma[:, None, None] ** 2 * torch.eye(4, dtype=F64)
    residual = y - matrix @ MEAN
    return MEAN + (COVARIANCE @ matrix.mT @ torch.linalg.solve(gram, residual[..., None]))[..., 0]


def test_denoiser_is_the_posterior_mean():
    x, sigma = random(2, N, seed=3), torch.tensor([0.1, 3.0], dtype=F64)
    spread = COVARIANCE.diagonal()
    gain = spread / (spread + sigma[:, None] ** 2)
    torch.testing.assert_close(DENOISER(x, sigma), MEAN + gain * (x - MEAN))


def test_regularised_solve_is_exact_after_as_many_steps_as_unknowns():
    b, rho = random(2, N), torch.tensor([0.3, 2.0], dtype=F64)
    system = A.matrix.mT @ A.matrix + rho[:, None, None] * torch.eye(N, dtype=F64)
    expected = torch.linalg.solve(system, b[..., None])[..., 0]
    torch.testing.assert_close(regularised_solve(A, b, rho, N), expected)
    start = random(2, N, seed=5)
    torch.testing.assert_close(regularised_solve(A, b, rho, N, start), expected)
    torch.testing.assert_close(regularised_solve(A, b, rho, 3 * N), expected)  # stays there
    far = regularised_solve(A, b, rho, 1) - expected
    assert bool((squared_norm(far) > 1e-6).all())


def test_tikhonov_minimises_its_objective():
    weight = torch.tensor([0.1, 1.0], dtype=F64)
    found = tikhonov(A, Y, weight, N)
    system = A.matrix.mT @ A.matrix + weight[:, None, None] * torch.eye(N, dtype=F64)
    expected = torch.linalg.solve(system, A.adjoint(Y)[..., None])[..., 0]
    torch.testing.assert_close(found.image, expected)
    assert found.operator_evaluations == 1 + 2 * N
    with pytest.raises(UserError, match="a positive weight for each of 2 images"):
        tikhonov(A, Y, torch.tensor([0.1, 0.0]))
    with pytest.raises(UserError, match="a positive weight for each of 2 images"):
        tikhonov(A, Y, torch.tensor([0.1]))


@pytest.mark.parametrize("method", ["diffpir", "dds", "dps"])
def test_without_measurements_samples_are_those_of_the_prior(method):
    count = 2000
    y, sigma = torch.zeros(count, 1, dtype=F64), torch.ones(count, dtype=F64)
    if method == "diffpir":
        x = diffpir(DENOISER, NOTHING, y, sigma, range(count), steps=60, renoise=0.0).image
    elif method == "dds":
        # No A*A has a mean diagonal entry of 0; this one hardly sees anything.
        barely = Matrix(1e-8 * torch.ones(1, N, dtype=F64))
        x = dds(DENOISER, barely, y, range(count), steps=60, renoise=0.0, weight=1e-9).image
    else:
        barely = Matrix(1e-8 * torch.ones(1, N, dtype=F64))
        x = dps(DENOISER, barely, y, range(count), steps=150, weight=0.0).image
    spread = COVARIANCE.diagonal().sqrt()
    assert bool(((x.mean(0) - MEAN).abs() < 4 * spread / count**0.5 + 0.005).all())
    torch.testing.assert_close(x.std(0), spread, rtol=0.08, atol=0.01)


@pytest.mark.parametrize("method", ["diffpir", "dds", "dps", "plug_and_play"])
def test_measurements_bring_the_result_to_the_posterior_mean(method):
    """Nearer to it than the prior's mean, which knows no measurements, by more than half."""
    count = 200
    index = torch.arange(count) % 2
    y, sigma = Y[index], SIGMA[index]
    if method == "diffpir":
        x = diffpir(DENOISER, A, y, sigma, range(count), steps=60).image
    elif method == "dds":
        x = dds(DENOISER, A, y, range(count), steps=60, weight=5.0).image
    elif method == "dps":
        x = dps(DENOISER, A, y, range(count), steps=150, weight=0.1).image
    else:
        x = plug_and_play(DENOISER, A, y, sigma, torch.zeros(count, N, dtype=F64)).image
    expected = posterior_mean(Y, SIGMA)
    found = torch.stack([x[index == k].mean(0) for k in range(2)])
    missed = A(found - expected).norm(dim=1) / A(MEAN - expected).norm(dim=1)
    assert bool((missed < 0.5).all()), missed


class TestPlugAndPlay:
    """On each row of square images."""

    IDENTITY = Matrix(torch.eye(3, dtype=F64))
    Y = random(2, 1, 3, 3, seed=4)

    def record(self, **settings) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """The result, and what the denoiser was given and gave back."""
        given: list[torch.Tensor] = []
        back: list[torch.Tensor] = []

        def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            given.append(x)
            back.append(x / (1 + sigma.view(-1, 1, 1, 1) ** 2))
            return back[-1]

        start = random(2, 1, 3, 3, seed=5)
        found = plug_and_play(
            denoise,  # pyright: ignore[reportArgumentType]
            self.IDENTITY, self.Y, SIGMA, start, **settings,
        )  # fmt: skip
        return found.image, given, back

    def test_each_step_sees_another_version(self):
        plain, usual, _ = self.record(steps=10)
        same, seen, _ = self.record(steps=10, symmetric=True)
        torch.testing.assert_close(same, plain, rtol=0, atol=1e-14)  # turned back
        for step, (x, other) in enumerate(zip(usual, seen, strict=True)):
            close = [k for k in range(8) if torch.allclose(version(x, k), other, rtol=1e-12)]
            assert close == [step % 8]

    @pytest.mark.parametrize("averaged", [1, 3, 20])
    def test_the_result_is_the_mean_of_the_last_denoised(self, averaged):
        found, _, back = self.record(steps=6, averaged=averaged)
        torch.testing.assert_close(found, torch.stack(back[-averaged:]).mean(0))


@pytest.mark.parametrize("method", [diffpir, dds, dps])
def test_a_batch_is_its_images_one_by_one(method):
    more = {"sigma_y": SIGMA} if method is diffpir else {}
    together = method(DENOISER, A, Y, seeds=[3, 7], steps=8, **more).image
    again = method(DENOISER, A, Y, seeds=[3, 7], steps=8, **more).image
    assert torch.equal(together, again)
    assert not torch.equal(together, method(DENOISER, A, Y, seeds=[3, 8], steps=8, **more).image)
    for k, seed in enumerate([3, 7]):
        more = {"sigma_y": SIGMA[k : k + 1]} if method is diffpir else {}
        alone = method(DENOISER, A, Y[k : k + 1], seeds=[seed], steps=8, **more).image
        torch.testing.assert_close(alone[0], together[k], rtol=1e-10, atol=1e-10)


def objective(prior: GaussianMixture) -> GraduatedObjective:
    return GraduatedObjective(A, Y, prior, Alpha.constant(SDE, 0.05), 0.02)


STIFF = GaussianMixture(SDE, MEAN[None], torch.diag(torch.logspace(-4, -1, N, dtype=F64))[None])


def test_accelerated_gradient_finds_the_minimum_sooner_than_gradient_descent():
    """With as many evaluations, on a badly conditioned quadratic."""
    problem, start = objective(STIFF), torch.zeros(2, N, dtype=F64)
    found = nonmonotone_apg(problem, start, 60, step_size=0.1)
    plain = gradient_descent(
        0.02, int(found.evaluations.max()), search=Armijo(), first_step=FixedFirstStep(0.1)
    )
    other = solve(plain, problem, start).state.point
    missed, others = (p.gradient.norm(dim=1) for p in (found.point, other))
    assert bool((missed < 0.1 * others).all()), (missed, others)


def test_accelerated_gradient_starts_from_barzilai_borwein_steps_and_extrapolates():
    """The first two iterations, whose first trials are taken: a slight decrease is enough."""
    problem, start = objective(STIFF), torch.zeros(1, N, dtype=F64)
    problem = problem.select(torch.tensor([0]))
    evaluated = []
    evaluate = problem.evaluate

    def recorded(x: torch.Tensor):
        evaluated.append(evaluate(x))
        return evaluated[-1]

    problem.evaluate = recorded  # pyright: ignore[reportAttributeAccessIssue]
    nonmonotone_apg(problem, start, 3, step_size=1e-3, delta=1e-9)
    x1, y1, z2, y2, z3, y3, z4 = evaluated
    momentum = [1.0, (1 + 5**0.5) / 2]
    momentum.append((1 + (4 * momentum[1] ** 2 + 1) ** 0.5) / 2)
    torch.testing.assert_close(z2.x, x1.x - 1e-3 * y1.gradient)
    torch.testing.assert_close(y2.x, z2.x)
    for before, z, y, following in ((y1, z2, y2, z3), (y2, z3, y3, z4)):
        s, r = z.x - before.x, z.gradient - before.gradient
        step = (s * r).sum() / (r * r).sum()
        torch.testing.assert_close(following.x, y.x - step * y.gradient)
    inertia = (momentum[1] - 1) / momentum[2]
    torch.testing.assert_close(y3.x, z3.x + inertia * (z3.x - z2.x))


def test_accelerated_gradient_never_ends_above_its_start_and_counts():
    """With two modes f is not convex."""
    problem, start = objective(TWO), random(2, N, seed=9)
    calls = 0
    evaluate = problem.evaluate

    def counted(x: torch.Tensor):
        nonlocal calls
        calls += 1
        return evaluate(x)

    problem.evaluate = counted  # pyright: ignore[reportAttributeAccessIssue]
    begun = evaluate(start).value
    found = nonmonotone_apg(problem, start, 60, step_size=10.0)
    assert bool((found.point.value < begun).all())
    assert int(found.evaluations.max()) <= calls
    alone = nonmonotone_apg(objective(TWO).select(torch.tensor([1])), start[1:], 60, step_size=10.0)
    torch.testing.assert_close(alone.point.x[0], found.point.x[1], rtol=1e-8, atol=1e-8)
    assert int(alone.evaluations) == int(found.evaluations[1])
