"""Operators of inverse problems other than projections, and their direct reconstructions."""

import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.config import load_reconstruct_config
from gnclightning.errors import UserError
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import (
    LinearOperator,
    add_noise,
    direct_reconstruction,
    dot_test,
    image_operator,
)
from gnclightning.priors import from_pretrained
from gnclightning.problem import Ray

SETTINGS = {
    "identity": {},
    "mask": {"share": 0.4, "seed": 1},
    "blur": {"kernel": "gaussian", "width": 1.5, "boundary": "zero"},
    "super_resolution": {"factor": 4},
    "fourier": {"acceleration": 3.0, "centre": 0.1, "seed": 2},
}
SHAPE = (20, 24)
problems = pytest.mark.parametrize("name", SETTINGS)


def operator_of(name: str, **changes: object) -> LinearOperator:
    return image_operator(name, SHAPE, **SETTINGS[name] | changes)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class TestOperators:
    @problems
    def test_the_adjoint_is_the_transpose(self, name):
        assert dot_test(operator_of(name), batch=2) < 1e-7

    @problems
    def test_what_is_not_observed_is_zero_and_all_else_is_seen(self, name):
        operator = operator_of(name)
        y = operator(random(50, *SHAPE)).abs().amax(0)
        observed = operator.observed
        if observed is None:
            assert bool((y > 0).all())
            return
        assert bool((y[~observed] == 0).all())
        silent = observed & (y < 1e-6)  # imaginary parts of coefficients that are real
        assert int(silent.sum()) <= (4 if name == "fourier" else 0)

    @problems
    def test_a_batch_s_ray_is_that_of_each_image(self, name, prior):
        """Its image is A d, for measurements with more dimensions than images, too."""
        operator = operator_of(name)
        loaded, _ = from_pretrained(prior)
        x, t = random(3, 1, *SHAPE), torch.full((3,), 0.1)
        alpha = Alpha.constant(loaded.sde, 0.1)

        def ray(x: torch.Tensor) -> Ray:
            y = torch.zeros_like(operator(x))
            problem = GraduatedObjective(operator, y, loaded, alpha, 0.01)
            return problem.preconditioned_ray(x, t[: len(x)])

        batch = ray(x)
        image = operator(batch.direction)
        torch.testing.assert_close(batch.image, image, rtol=0, atol=1e-5)
        torch.testing.assert_close(batch.normal, operator.adjoint(image), rtol=0, atol=1e-5)
        torch.testing.assert_close(batch.direction[1:2], ray(x[1:2]).direction, rtol=0, atol=1e-6)

    def test_as_many_pixels_as_the_share_says_others_with_another_seed(self):
        one, other = (operator_of("mask", seed=seed).observed for seed in (1, 2))
        assert int(one.sum()) == int(other.sum()) == round(0.4 * 20 * 24)
        assert not torch.equal(one, other)
        assert torch.equal(one, operator_of("mask").observed)

    def test_columns_of_the_lowest_frequencies_are_known(self):
        known = operator_of("fourier", centre=0.2, seed=9).observed[0]
        columns = known[0]
        assert torch.equal(known, columns.expand(SHAPE))
        assert int(columns.sum()) == 24 // 3
        assert bool(columns[[0, 1, 2, -1, -2]].all())

    @pytest.mark.parametrize(
        ("boundary", "inner"), [("zero", slice(3, -3)), ("periodic", slice(None))]
    )
    def test_blur_keeps_what_is_even(self, boundary, inner):
        operator = operator_of("blur", kernel="uniform", width=5, boundary=boundary)
        blurred = operator(torch.ones(SHAPE))
        torch.testing.assert_close(blurred[inner, inner], torch.ones_like(blurred[inner, inner]))
        impulse = torch.zeros(SHAPE)
        impulse[10, 12] = 1
        expected = torch.zeros(SHAPE)
        expected[8:13, 10:15] = 1 / 25
        torch.testing.assert_close(operator(impulse), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("setting", ["operator.width=9", "operator.kernel=gaussian"])
    def test_a_kernel_larger_than_the_image_is_refused(self, setting):
        config = load_reconstruct_config(None, ["operator.name=blur", "operator.width=9", setting])
        with pytest.raises(UserError, match=r"no larger than the image, 20x24.*operator.width=9"):
            operator_of("blur", width=config.operator.width)

    def test_another_problem_is_refused(self):
        with pytest.raises(UserError, match=r"among \['identity', 'mask'.*got 'radon'"):
            image_operator("radon", SHAPE)


class TestDirectReconstruction:
    def test_means_over_blocks_of_a_plane_come_back(self):
        """Away from the edges; half a pixel off they would not."""
        rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
        plane = (0.3 + 0.02 * rows - 0.01 * columns)[None, None]
        operator = operator_of("super_resolution")
        found = direct_reconstruction(operator, operator(plane))
        torch.testing.assert_close(found[..., 8:-8, 8:-8], plane[..., 8:-8, 8:-8])

    @pytest.mark.parametrize(
        ("name", "changes"),
        [("identity", {}), ("mask", {"share": 1.0}), ("fourier", {"acceleration": 1.0})],
    )
    def test_where_all_is_known_it_is_the_image(self, name, changes):
        operator, x = operator_of(name, **changes), random(2, 1, *SHAPE)
        found = direct_reconstruction(operator, operator(x))
        torch.testing.assert_close(found, x, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("name", ["mask", "fourier"])
    def test_zero_filled_keeps_what_was_measured_and_nothing_else(self, name):
        operator, x = operator_of(name), random(2, 1, *SHAPE)
        found = direct_reconstruction(operator, operator(x))
        assert float(found.norm()) < float(x.norm())
        if name == "mask":
            torch.testing.assert_close(found, x * operator.observed)


def test_noise_is_there_where_something_is_measured_and_counts_there_alone():
    operator = operator_of("mask")
    clean = operator(random(2, 1, *SHAPE))
    y, sigma = add_noise(clean, relative=0.5, seeds=[3, 4], observed=operator.observed)
    assert bool((y[..., ~operator.observed] == 0).all())
    means = clean[..., operator.observed].double().mean((1, 2))
    torch.testing.assert_close(sigma, 0.5 * means)
    spread = (y - clean)[..., operator.observed].double().std((1, 2))
    torch.testing.assert_close(spread, sigma, rtol=0.2, atol=0)
