"""Total variation finds the minimiser, the one known in closed form included."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnclightning.baselines import total_variation, tv_weight
from gnclightning.errors import UserError
from gnclightning.operators import Identity, ParallelBeam2D, Radon, add_noise

F64 = torch.float64
GEOMETRY = ParallelBeam2D.for_image(32, 20)


def phantoms() -> torch.Tensor:
    """Two piecewise constant images (2, 1, 32, 32) in [0, 1]."""
    axis = torch.linspace(-1, 1, 32, dtype=F64)
    x, y = axis, axis[:, None]
    disc = (torch.hypot(x - 0.1, y + 0.2) < 0.6).double()
    box = ((x - 0.3).abs() < 0.3) & ((y + 0.1).abs() < 0.5)
    return torch.stack([disc - 0.4 * (torch.hypot(x, y) < 0.3), 0.5 * disc + 0.5 * box])[:, None]


def measured(relative: float = 0.05) -> tuple[Radon, torch.Tensor, torch.Tensor]:
    operator = Radon(GEOMETRY, F64)
    return operator, *add_noise(operator(phantoms()), relative=relative, seeds=[0, 1])


def value(operator: Radon, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The objective in its plainest form."""
    down = torch.cat([x[..., 1:, :], x[..., -1:, :]], -2) - x
    right = torch.cat([x[..., 1:], x[..., -1:]], -1) - x
    variation = torch.hypot(down, right).sum((1, 2, 3))
    return (operator(x) - y).square().sum((1, 2, 3)) / 2 + weight * variation


@given(st.integers(2, 6), st.floats(0, 1), st.floats(0.2, 1))
@settings(max_examples=6)
def test_step_edge_has_its_closed_form(half, low, height):
    """Of two flat halves, each moves towards the other by weight times edge length over area."""
    n = 2 * half
    y = torch.full((1, 1, n, n), low, dtype=F64)
    y[..., half:] += height
    shift = 0.1 * height
    result = total_variation(Identity((n, n)).double(), y, weight=shift * half, iterations=200)
    expected = y + shift * torch.where(y > low, -1.0, 1.0)
    torch.testing.assert_close(result.image, expected, rtol=0, atol=2e-3)
    minimum = n * half * shift**2 + shift * half * n * (height - 2 * shift)
    assert float(result.objective[0]) == pytest.approx(minimum, rel=2e-3)


def test_extreme_weights():
    y = torch.randn(1, 2, 9, 7, generator=torch.Generator().manual_seed(0), dtype=F64) + 0.5
    identity = Identity((9, 7)).double()
    none = total_variation(identity, y, 0.0, iterations=300)
    torch.testing.assert_close(none.image, y.clamp(min=0), rtol=0, atol=1e-5)
    flat = total_variation(identity, y, 10.0, iterations=300)
    mean = y.mean((2, 3), keepdim=True).expand_as(y)
    torch.testing.assert_close(flat.image, mean, rtol=0, atol=1e-3)


def test_objective_falls_to_a_minimum_that_fits_the_noise():
    operator, y, sigma = measured()
    weight = tv_weight(sigma, 20)
    values: list[torch.Tensor] = []

    def record(iteration: int, image: torch.Tensor) -> None:
        if iteration in (10, 40, 160):
            values.append(value(operator, image, y, weight))

    best = total_variation(operator, y, weight, iterations=400, callback=record)
    for earlier, later in pairwise(values):
        assert bool((later < earlier).all())
    assert bool(((values[-1] - best.objective).abs() < 1e-3 * best.objective).all())
    torch.testing.assert_close(value(operator, best.image, y, weight), best.objective)
    assert best.image.min() >= 0
    residual = (operator(best.image) - y).square().mean((1, 2, 3)).sqrt()
    assert (residual / sigma).tolist() == pytest.approx([1, 1], abs=0.2)

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(best.image.shape, generator=generator, dtype=F64)
    for direction in (noise, phantoms() - best.image, best.image):
        for scale in (-1e-1, -1e-2, 1e-2, 1e-1):
            near = (best.image + scale * direction).clamp(min=0)
            assert bool((value(operator, near, y, weight) > best.objective).all())


def test_weight_rule_is_near_the_best():
    operator, y, sigma = measured(relative=0.1)
    weights = torch.cat([factor * tv_weight(sigma, 20) for factor in (1 / 16, 1, 16)])
    result = total_variation(operator, y.repeat(3, 1, 1, 1), weights, iterations=150)
    error = (result.image - phantoms().repeat(3, 1, 1, 1)).square().mean((1, 2, 3))
    weak, ruled, strong = error.reshape(3, 2)
    assert bool((ruled < 0.6 * weak).all())
    assert bool((ruled < 0.6 * strong).all())
    assert tv_weight(sigma, 80).tolist() == pytest.approx((2 * tv_weight(sigma, 20)).tolist())


def test_batch_equals_one_by_one():
    operator, y, _ = measured()
    weights = torch.tensor([1.0, 3.0], dtype=F64)
    both = total_variation(operator, y, weights, iterations=60)
    for i in range(2):
        one = total_variation(operator, y[i : i + 1], float(weights[i]), iterations=60)
        torch.testing.assert_close(one.image[0], both.image[i], rtol=0, atol=1e-10)
        torch.testing.assert_close(one.objective[0], both.objective[i], rtol=1e-10, atol=0)


def test_moving_and_scaling_the_image():
    y = torch.zeros(1, 1, 24, 24, dtype=F64)
    y[..., 5:11, 4:12] = 1
    identity = Identity((24, 24)).double()
    image = total_variation(identity, y, 0.1, iterations=300).image
    moved = total_variation(identity, y.roll((6, 5), (2, 3)), 0.1, iterations=300).image
    assert (moved - image.roll((6, 5), (2, 3))).norm() < 1e-2 * image.norm()
    brighter = total_variation(identity, 7 * y, 7 * 0.1, iterations=300).image
    torch.testing.assert_close(brighter, 7 * image, rtol=0, atol=1e-10)


def test_tolerance_stops_and_freezes_each_image():
    operator, y, sigma = measured()
    y[1] = 0  # solved at once
    trace: list[torch.Tensor] = []
    result = total_variation(
        operator,
        y,
        tv_weight(sigma, 20),
        tolerance=1e-3,
        callback=lambda iteration, image: trace.append(image.clone()),
    )
    first, second = result.iterations.tolist()
    assert second == 1
    assert 1 < first < 400
    assert len(trace) == first
    assert torch.equal(result.image, trace[-1])
    assert torch.equal(result.image[1], trace[0][1])
    changes = [float((b[0] - a[0]).norm() / b[0].norm()) for a, b in pairwise(trace)]
    assert changes[-1] <= 1e-3 < min(changes[:-1])


def test_all_iterations_are_spent_without_tolerance():
    operator, y, _ = measured()
    seen: list[int] = []
    result = total_variation(
        operator, y, 1.0, iterations=7, callback=lambda iteration, image: seen.append(iteration)
    )
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert result.iterations.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": -1.0}, "expected finite weights >= 0, got -1.0"),
        ({"weight": torch.ones(3)}, r"one for each of 2 images, got shape \(3,\)"),
        ({"weight": 1.0, "iterations": 0}, "expected iterations of at least 1, got 0"),
        ({"weight": 1.0, "tolerance": 0.0}, "expected a positive tolerance, got 0.0"),
    ],
)
def test_wrong_arguments_are_explained(values, message):
    operator, y, _ = measured()
    with pytest.raises(UserError, match=message):
        total_variation(operator, y, **values)
