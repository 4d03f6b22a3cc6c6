"""Blur, down-sampling and Fourier coefficients, and operators made of operators."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.errors import UserError
from gnclightning.operators import (
    Blur,
    Composition,
    Downsampling,
    Identity,
    LinearOperator,
    Mask,
    Matrix,
    PeriodicBlur,
    Scaled,
    Stack,
    Sum,
    UndersampledFourier,
    Weighted,
    add_noise,
    dot_test,
    gaussian_kernel,
)

F64 = torch.float64
SIZES = st.integers(1, 9)
ODD = st.sampled_from([1, 3, 5, 7])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def random_mask(*shape: int) -> torch.Tensor:
    return random(*shape, seed=3) > 0


def dense(operator: LinearOperator) -> torch.Tensor:
    """The matrix of an operator, one column per pixel."""
    size = int(torch.tensor(operator.domain_shape).prod())
    unit = torch.eye(size, dtype=F64).reshape(size, *operator.domain_shape)
    return operator(unit).flatten(1).mT


def check(operator: LinearOperator) -> None:
    """The transpose is exact, for single images and for batches with channels."""
    assert operator.dtype == F64
    assert dot_test(operator, batch=2) < 1e-14
    x, y = random(2, 3, *operator.domain_shape), random(2, 3, *operator.range_shape, seed=1)
    result, back = operator(x), operator.adjoint(y)
    assert result.shape == y.shape
    assert back.shape == x.shape
    torch.testing.assert_close(operator(x[1, 2]), result[1, 2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.adjoint(y[1, 2]), back[1, 2], rtol=1e-12, atol=1e-12)


@given(SIZES, SIZES, ODD, ODD)
def test_adjoint_of_blur(rows, columns, height, width):
    kernel = random(height, width, seed=2)
    check(Blur((rows, columns), kernel))
    if height <= rows and width <= columns:
        check(PeriodicBlur((rows, columns), kernel))


@given(SIZES, SIZES, st.integers(1, 3))
def test_adjoint_of_downsampling(rows, columns, factor):
    check(Downsampling((rows * factor, columns * factor), factor).to(F64))


@given(SIZES, SIZES)
def test_adjoint_of_fourier_coefficients(rows, columns):
    check(UndersampledFourier(random_mask(rows, columns)).to(F64))


@pytest.mark.parametrize("kind", [Blur, PeriodicBlur])
def test_a_point_becomes_the_kernel(kind):
    kernel, image = random(3, 5), torch.zeros(9, 11, dtype=F64)
    image[4, 6] = 2
    expected = torch.zeros_like(image)
    expected[3:6, 4:9] = 2 * kernel
    torch.testing.assert_close(kind((9, 11), kernel)(image), expected)


def test_blurs_differ_at_the_border():
    kernel, image = random(3, 3), torch.zeros(6, 6, dtype=F64)
    image[0, 0] = 1
    cut, wrapped = Blur((6, 6), kernel)(image), PeriodicBlur((6, 6), kernel)(image)
    torch.testing.assert_close(cut[:2, :2], kernel[1:, 1:])
    assert cut.count_nonzero() == 4
    torch.testing.assert_close(wrapped.roll((1, 1), (0, 1))[:3, :3], kernel)


def test_gaussian_kernel_has_its_moments():
    kernel = gaussian_kernel(1.7, F64)
    offsets = torch.arange(len(kernel), dtype=F64) - len(kernel) // 2
    assert float(kernel.sum()) == pytest.approx(1)
    variance = float((kernel * offsets[:, None] ** 2).sum())
    assert variance == pytest.approx(1.7**2, rel=2e-3)  # the tails are cut off
    torch.testing.assert_close(kernel, kernel.flip(0, 1))


def test_downsampling_takes_means():
    image = torch.arange(24, dtype=F64).reshape(4, 6)
    expected = torch.tensor([[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]], dtype=F64)
    torch.testing.assert_close(Downsampling((4, 6), 2)(image), expected)


def test_fourier_coefficients_are_those_of_the_definition():
    rows, columns, x = 3, 4, random(3, 4)
    operator = UndersampledFourier(torch.ones(rows, columns, dtype=torch.bool)).to(F64)
    real, imaginary = operator(x)
    k, j = 2, 3
    m, n = torch.arange(rows, dtype=F64)[:, None], torch.arange(columns, dtype=F64)
    phase = -2 * torch.pi * (k * m / rows + j * n / columns)
    scale = (rows * columns) ** 0.5
    assert float(real[k, j]) == pytest.approx(float((x * phase.cos()).sum()) / scale)
    assert float(imaginary[k, j]) == pytest.approx(float((x * phase.sin()).sum()) / scale)
    # Orthonormal: with all coefficients the adjoint is the inverse.
    torch.testing.assert_close(operator.adjoint(operator(x)), x)
    half = UndersampledFourier(torch.arange(columns).expand(rows, columns) < 2).to(F64)
    assert half(x)[..., 2:].count_nonzero() == 0
    assert half.norm() == pytest.approx(1, rel=1e-3)


def test_algebra_is_that_of_matrices():
    one, other = Matrix(random(4, 5)), Matrix(random(4, 5, seed=1))
    inner = Matrix(random(5, 3, seed=2))
    a, b, c = (dense(operator) for operator in (one, other, inner))
    cases = [
        (Composition(one, inner), a @ c),
        (Scaled(one, -2.5), -2.5 * a),
        (Sum([one, other, one]), 2 * a + b),
        (Stack([one, inner_of(other)]), torch.cat([a, b])),
    ]
    for operator, expected in cases:
        torch.testing.assert_close(dense(operator), expected)
        check(operator)


def inner_of(operator: LinearOperator) -> LinearOperator:
    """The same operator with measurements of another shape, as a stack may hold."""
    return Composition(_Reshape(), operator)


class _Reshape(LinearOperator):
    """Vectors of four as 2 x 2 matrices."""

    def __init__(self) -> None:
        super().__init__((4,), (2, 2), F64)

    def _matvec(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:-1], 2, 2)

    def _rmatvec(self, y: torch.Tensor) -> torch.Tensor:
        return y.flatten(-2)


def test_a_stack_gives_each_operator_its_measurements():
    shape = (4, 6)
    parts = [Mask(random_mask(*shape)).to(F64), Downsampling(shape, 2).to(F64)]
    stack, x = Stack(parts), random(2, 1, *shape)
    for part, measured in zip(parts, stack.split(stack(x)), strict=True):
        torch.testing.assert_close(measured, part(x))
    check(stack)


def test_composed_operators_follow_to_and_have_derivatives():
    shape = (4, 4)
    operator = Composition(Downsampling(shape, 2), Blur(shape, gaussian_kernel(0.5)))
    operator = operator.to(F64)
    check(operator)
    x, weights = random(*shape).requires_grad_(), random(2, 2, seed=1)
    (gradient,) = torch.autograd.grad((operator(x) * weights).sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(weights))


@pytest.mark.parametrize(
    "build",
    [
        lambda a: Scaled(a, 3.0),
        lambda a: Sum([a, a]),
        lambda a: Composition(a, a),
        lambda a: Stack([a]),
    ],
)
def test_parts_follow_the_images_that_stay(build):
    """Weights belong to the images of a batch."""
    operator = build(Weighted(Identity((2, 3)).to(F64), random(4, 1, 2, 3).square()))
    x, kept = random(4, 1, 2, 3, seed=1), torch.tensor([2, 0])
    part = operator.select(kept)
    whole = operator(x).reshape(4, -1)
    torch.testing.assert_close(part(x[kept]).reshape(2, -1), whole[kept])


@pytest.mark.parametrize(
    "operator",
    [
        Blur((6, 5), gaussian_kernel(0.5)),
        PeriodicBlur((8, 9), gaussian_kernel(0.5)),
        Matrix(random(7, 9).float()),
        Composition(Downsampling((6, 6), 2), Blur((6, 6), gaussian_kernel(0.5))),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_mixed_precision_passes_operators_by(operator):
    """A rounded A* is no transpose of a rounded A: derivatives, too, stay as they are."""
    x = random(2, 1, *operator.domain_shape).float().requires_grad_()
    y = random(2, 1, *operator.range_shape).float()

    def found() -> list[torch.Tensor]:
        seen = operator(x)
        (gradient,) = torch.autograd.grad((seen - y).square().sum(), x)
        return [seen, operator.adjoint(y), gradient]

    expected = found()
    with torch.autocast("cpu", torch.bfloat16):
        assert dot_test(operator, batch=2) < 1e-7
        for one, other in zip(found(), expected, strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda mask: Scaled(mask, 3.0),
        lambda mask: Composition(mask, Identity((4, 6)).to(F64)),
        lambda mask: Stack([mask, Identity((4, 6)).to(F64), mask]),
        lambda mask: Sum([mask, Mask(torch.arange(6).expand(4, 6) < 2).to(F64)]),
        lambda mask: Weighted(mask, torch.ones(3, 1, 4, 6, dtype=F64)),
        lambda mask: Sum([mask, Identity((4, 6)).to(F64)]),
    ],
)
def test_what_is_not_measured_has_no_noise_and_does_not_count(build):
    """It is what is 0 whatever the image, in operators made of operators, too."""
    operator = build(Mask(random_mask(4, 6)).to(F64))
    clean = operator(random(3, 1, *operator.domain_shape[-2:])).reshape(3, 1, -1)
    measured = clean.ne(0).any(0).expand_as(clean)
    observed = operator.observed
    if observed is None:
        assert bool(measured.all())
        return
    assert observed.shape == operator.range_shape
    if isinstance(operator, Weighted):
        observed = observed[0]
    assert torch.equal(observed.flatten(), measured[0, 0])
    y, sigma = add_noise(clean, relative=0.5, seeds=[1, 2, 3], observed=observed.flatten())
    assert bool((y == clean)[~measured].all())
    expected = 0.5 * clean.abs().sum(-1) / measured.sum(-1)
    torch.testing.assert_close(sigma, expected[:, 0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Blur((4, 4), torch.ones(2, 3)), r"kernel \(odd, odd\), got shape \(2, 3\)"),
        (lambda: Blur((4, 4), torch.ones(3)), r"kernel \(odd, odd\), got shape \(3,\)"),
        (lambda: PeriodicBlur((3, 9), torch.ones(5, 5)), r"no larger than the image \(3, 9\)"),
        (lambda: gaussian_kernel(0.0), "positive standard deviation"),
        (lambda: Downsampling((4, 6), 4), r"multiples of the factor, got \(4, 6\) and 4"),
        (lambda: Downsampling((4, 6), 0), "multiples of the factor"),
        (lambda: UndersampledFourier(torch.ones(4, 4)), r"bool mask \(rows, columns\), got"),
        (lambda: Composition(Identity((3, 3)), Identity((4, 4))), r"on \(4, 4\).* on \(3, 3\)"),
        (lambda: Scaled(Identity((3, 3)), float("inf")), "finite factor"),
        (lambda: Sum([]), "at least one operator"),
        (lambda: Sum([Identity((3, 3)), Identity((4, 4))]), r"to \(3, 3\), got one from \(4, 4\)"),
        (lambda: Stack([Identity((3, 3)), Identity((4, 4))]), r"images \(3, 3\), got one on"),
        (lambda: Stack([Identity((3, 3)), Identity((3, 3)).to(F64)]), "operators alike, got"),
    ],
)
def test_what_does_not_fit_is_explained(build, message):
    with pytest.raises(UserError, match=message):
        build()
