"""The weighted data term: adjoint, gradient, parts of a batch, and what it is good for."""

import pytest
import torch

from gnclightning import metrics
from gnclightning.alpha import Alpha
from gnclightning.baselines import total_variation
from gnclightning.data.ellipses import phantoms
from gnclightning.diagnostics import gradient_mismatch
from gnclightning.errors import UserError
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import (
    Matrix,
    ParallelBeam2D,
    Radon,
    Weighted,
    dot_test,
    estimate_noise,
    mean_gain,
    mean_one,
    operator_norm,
    weighted,
)
from gnclightning.sde import VPSDE
from gnclightning.solvers import solve
from problems import T_MIN, gaussian_prior, random, solvers, start

F64 = torch.float64
GEOMETRY = ParallelBeam2D.for_image(12, 7)


def weights(batch: int, *shape: int, seed: int = 5) -> torch.Tensor:
    """Between 0 and 3, a few exactly 0."""
    w = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return torch.where(w < 0.1, 0.0, 3 * w)


class TestOperator:
    def test_the_adjoint_is_exact(self):
        operator = Weighted(Radon(GEOMETRY, F64), weights(3, 1, *GEOMETRY.range_shape))
        assert dot_test(operator) < 1e-14

    def test_it_is_the_diagonal_times_the_matrix(self):
        matrix, w = random(4, 6, seed=1), weights(2, 4)
        operator, x = Weighted(Matrix(matrix), w), random(2, 6, seed=2)
        dense = w.sqrt()[:, :, None] * matrix
        torch.testing.assert_close(operator(x), torch.einsum("bmn,bn->bm", dense, x))
        assert operator.norm() == pytest.approx(
            float(torch.linalg.matrix_norm(dense, 2).max()), rel=1e-3
        )
        mean = float((dense**2).sum((1, 2)).mean()) / 6
        assert mean_gain(operator, probes=4000) == pytest.approx(mean, rel=0.05)
        assert operator_norm(operator) == operator.norm()

    def test_parts_of_a_batch(self):
        operator = Weighted(Radon(GEOMETRY, F64), weights(3, 1, *GEOMETRY.range_shape))
        x, index = random(3, 1, 12, 12, seed=3), torch.tensor([2, 0])
        assert torch.equal(operator.select(index)(x[index]), operator(x)[index])

    def test_scaling_to_the_mean_of_one(self):
        w = weights(3, 1, 4, 5)
        found = mean_one(w)
        torch.testing.assert_close(found.mean((1, 2, 3)), torch.ones(3))
        ratio = w.sum((1, 2, 3), keepdim=True) / 20
        torch.testing.assert_close(found, (w / ratio).float())
        with pytest.raises(UserError, match="some weight above 0"):
            mean_one(torch.zeros(1, 1, 4, 5))

    def test_weights_that_are_none(self):
        for bad in (torch.nan, -1.0, torch.inf):
            with pytest.raises(UserError, match="finite weights >= 0"):
                Weighted(Matrix(random(4, 6, seed=1)), torch.full((2, 4), bad, dtype=F64))
        with pytest.raises(UserError, match="add a batch dimension"):
            Weighted(Matrix(random(4, 6, seed=1)), torch.ones(4, dtype=F64))
        with pytest.raises(UserError, match="some weight above 0"):
            mean_one(torch.zeros(1, 4))


def problem(batch: int = 4, index: slice = slice(None)) -> GraduatedObjective:
    """A weighted problem with a Gaussian prior."""
    sde = VPSDE()
    operator, y = Matrix(random(4, 6, seed=1)), random(batch, 4, seed=2)
    w = weights(batch, 4)
    return GraduatedObjective(
        *weighted(operator, y[index], w[index]),
        gaussian_prior(sde, 6),
        Alpha.noise_scale(sde, 0.3),
        T_MIN,
        cg_factor=0,
        cg_steps=6,
    )


class TestSolvers:
    def test_the_data_term_and_its_gradient(self):
        objective, x = problem(), start(4)
        operator, y = Matrix(random(4, 6, seed=1)), random(4, 4, seed=2)
        expected = 0.5 * (weights(4, 4) * (operator(x) - y) ** 2).sum(1)
        torch.testing.assert_close(objective.evaluate(x).fidelity, expected)
        assert float(gradient_mismatch(objective, x).fidelity.max()) < 1e-7

    @pytest.mark.parametrize("name", solvers())
    def test_batch_is_one_by_one(self, name):
        solver, x = solvers(40)[name], start(4)
        together = solve(solver, problem(), x).x
        for n in range(4):
            part = slice(n, n + 1)
            alone = solve(solver, problem(index=part), x[part]).x
            torch.testing.assert_close(together[part], alone, rtol=1e-9, atol=1e-9)

    def test_the_minimiser_is_that_of_weighted_least_squares(self):
        """Where its gradient vanishes; solvers come near."""
        objective = problem()
        t = torch.full((4,), T_MIN, dtype=F64)
        curvature = objective.alpha(t) / _variance(objective)
        matrix, y, w = random(4, 6, seed=1), random(4, 4, seed=2), weights(4, 4)
        mean = 0.5 * objective.prior.mean_scale(t)[0]
        normal = matrix.T @ torch.diag_embed(w) @ matrix
        normal = normal + curvature[:, None, None] * torch.eye(6, dtype=F64)
        expected = torch.linalg.solve(normal, (w * y) @ matrix + curvature[:, None] * mean)
        assert float(objective.evaluate(expected).gradient.abs().max()) < 1e-12
        values = [solve(solvers(60)["preconditioned"], objective, start(4)).state.point.value]
        values += [objective.evaluate(x).value for x in (start(4), expected)]
        assert bool((values[0] - values[2] < 1e-3 * (values[1] - values[2])).all())


def _variance(objective: GraduatedObjective) -> torch.Tensor:
    """Of the smoothed Gaussian prior of variance 1 at t_min."""
    sde = objective.alpha.sde
    t = torch.full((1,), T_MIN, dtype=F64)
    return sde.mean_scale(t) ** 2 + sde.std(t) ** 2


def heteroscedastic(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Radon]:
    """Phantoms, sinograms whose noise differs 30-fold from ray to ray, and the right weights."""
    x = torch.from_numpy(phantoms(range(4), 0, "test", 32)).reshape(4, 1, 32, 32)
    operator = Radon(ParallelBeam2D.for_image(32, 40))
    clean = operator(x)
    generator = torch.Generator().manual_seed(seed)
    deviation = 10 ** (1.5 * torch.rand(clean.shape, generator=generator) - 1)
    y = clean + deviation * torch.randn(clean.shape, generator=generator)
    return x, y, mean_one(deviation**-2), operator


def test_weights_beat_none_where_the_noise_differs():
    """Total variation, either with the best of nine of its own weights, mean PSNR of phantoms."""
    x, y, w, operator = heteroscedastic(seed=0)
    best = {}
    for name, pair in (("plain", (operator, y)), ("weighted", weighted(operator, y, w))):
        results = [total_variation(*pair, 0.05 * 2**n, 150).image for n in range(9)]
        best[name] = max(float(metrics.psnr(image, x).mean()) for image in results)
    assert best["weighted"] > best["plain"] + 2


def test_the_noise_at_weight_one():
    """Of heteroscedastic noise on a smooth sinogram; rays of weight 0 do not count."""
    generator = torch.Generator().manual_seed(0)
    w = mean_one(weights(2, 1, 40, 60, seed=1))
    deviation = 0.05 * w.clamp(min=1e-12).rsqrt()
    noise = deviation * torch.randn(w.shape, generator=generator)
    y = torch.linspace(0, 3, 60).sin() + noise
    assert estimate_noise(y, w).tolist() == pytest.approx([0.05, 0.05], rel=0.06)
