"""Laws of the linear operators: exact adjoints, and projections that are where they must be."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from geometries import GEOMETRIES, SMALL
from gnclightning.errors import UserError
from gnclightning.operators import (
    Identity,
    LinearOperator,
    Mask,
    Matrix,
    ParallelBeam2D,
    Radon,
    dot_test,
    mean_gain,
    operator_norm,
)

F64 = torch.float64


def random(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def dense(operator: LinearOperator) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices (m, n) that A and A* amount to."""
    n, m = math.prod(operator.domain_shape), math.prod(operator.range_shape)
    images = torch.eye(n, dtype=operator.dtype).reshape(n, *operator.domain_shape)
    measurements = torch.eye(m, dtype=operator.dtype).reshape(m, *operator.range_shape)
    return operator(images).flatten(1).T, operator.adjoint(measurements).flatten(1)


def joseph(geometry: ParallelBeam2D) -> np.ndarray:
    """Joseph's method literally: walk along each ray, interpolate, one pixel at a time."""
    rows, columns = geometry.image_shape
    p = geometry.pixel_size
    result = np.zeros((*geometry.range_shape, rows, columns))
    for a, angle in enumerate(geometry.angles):
        c, s = math.cos(angle), math.sin(angle)
        for d, position in enumerate(geometry.detector_positions.tolist()):
            steep = abs(c) >= abs(s)  # the ray crosses each row once
            for step in range(rows if steep else columns):
                if steep:
                    y = ((rows - 1) / 2 - step) * p
                    place = (position - y * s) / c / p + (columns - 1) / 2
                else:
                    x = (step - (columns - 1) / 2) * p
                    place = (rows - 1) / 2 - (position - x * c) / s / p
                left = math.floor(place)
                for near, share in ((left, left + 1 - place), (left + 1, place - left)):
                    pixel = (step, near) if steep else (near, step)
                    if 0 <= pixel[0] < rows and 0 <= pixel[1] < columns:
                        result[(a, d, *pixel)] += share * p / max(abs(c), abs(s))
    return result.reshape(math.prod(geometry.range_shape), -1)


def disc(geometry: ParallelBeam2D, x0: float, y0: float, radius: float) -> torch.Tensor:
    """A disc of value 1 whose edge pixels hold the share of their area that it covers."""
    fine = 8
    offsets = ((torch.arange(fine, dtype=F64) + 0.5) / fine - 0.5) * geometry.pixel_size
    x, y = geometry.pixel_positions
    x, y = (x[:, None] + offsets).flatten(), (y[:, None] + offsets).flatten()
    inside = ((x - x0) ** 2 + (y[:, None] - y0) ** 2 <= radius**2).double()
    rows, columns = geometry.image_shape
    return inside.reshape(rows, fine, columns, fine).mean((1, 3))[None, None]


@given(GEOMETRIES, st.integers(1, 3), st.integers(0, 2**31))
def test_adjoint_is_exact(geometry, batch, seed):
    for memory_limit in (None, 0):
        assert dot_test(Radon(geometry, F64, memory_limit), seed, batch) <= 1e-12


@given(GEOMETRIES)
def test_adjoint_is_the_transpose_entry_by_entry(geometry):
    for dtype in (torch.float32, F64):
        forward, adjoint = dense(Radon(geometry, dtype))
        assert torch.equal(forward, adjoint)


@given(GEOMETRIES)
@example(ParallelBeam2D((1, 1), (0.3,), 1, 1.0))
def test_matrix_is_josephs(geometry):
    forward, _ = dense(Radon(geometry, F64))
    torch.testing.assert_close(forward, torch.from_numpy(joseph(geometry)), rtol=0, atol=1e-12)


@given(GEOMETRIES, st.integers(0, 20_000))
def test_on_the_fly_equals_stored(geometry, memory_limit):
    stored, computed = Radon(geometry), Radon(geometry, memory_limit=memory_limit)
    torch.testing.assert_close(dense(computed), dense(stored), rtol=0, atol=0)
    torch.testing.assert_close(dense(computed.to(F64)), dense(stored.to(F64)), rtol=0, atol=0)


def test_float32_is_near_float64():
    geometry = ParallelBeam2D.for_image(65, 30)
    x = random(2, 1, 65, 65)
    exact = Radon(geometry, F64)(x)
    assert (Radon(geometry)(x.float()) - exact).abs().max() < 1e-6 * exact.max()


@pytest.mark.parametrize(("x0", "y0"), [(0.0, 0.0), (7.0, -11.0)])
@pytest.mark.parametrize(("shape", "pixel_size"), [((96, 96), 1.0), ((101, 88), 0.7)])
def test_disc_gives_chord_lengths(shape, pixel_size, x0, y0):
    geometry = ParallelBeam2D.for_image(shape, 60, pixel_size)
    x0, y0, radius = x0 * pixel_size, y0 * pixel_size, 28 * pixel_size
    image = disc(geometry, x0, y0, radius)
    sinogram = Radon(geometry, F64)(image)[0, 0]
    cosines, sines = geometry.directions
    distance = (geometry.detector_positions - (x0 * cosines + y0 * sines)[:, None]).abs()
    chords = 2 * (radius**2 - distance**2).clamp(min=0).sqrt()
    error = (sinogram - chords).abs()
    assert error.mean() < 0.01 * chords.mean()
    assert error[distance < radius - 3 * pixel_size].max() < 0.015 * 2 * radius
    assert error[distance > radius + 1.5 * pixel_size].max() == 0
    mass = sinogram.sum(1) * geometry.detector_spacing
    torch.testing.assert_close(mass, (image.sum() * pixel_size**2).expand(60), rtol=2e-3, atol=0)


@given(st.integers(0, 8), st.integers(0, 6), st.floats(-7, 7))
@example(0, 3, math.pi / 2)  # the top row is at the largest y
@example(4, 6, 0.0)
def test_pixel_projects_to_x_cos_plus_y_sin(row, column, angle):
    geometry = ParallelBeam2D((9, 7), (angle,), 121, 0.125, pixel_size=1.0)
    image = torch.zeros(1, 1, 9, 7, dtype=F64)
    image[..., row, column] = 1
    profile = Radon(geometry, F64)(image)[0, 0, 0]
    centroid = float((profile * geometry.detector_positions).sum() / profile.sum())
    expected = (column - 3) * math.cos(angle) + (4 - row) * math.sin(angle)
    assert centroid == pytest.approx(expected, abs=0.02)


@given(GEOMETRIES, st.integers(0, 1000))
def test_symmetries(geometry, seed):
    x = random(1, 1, *geometry.image_shape, seed=seed)
    y = Radon(geometry, F64)(x)
    angles = geometry.angles

    def check(image: torch.Tensor, new_angles: list[float], expected: torch.Tensor) -> None:
        shape = tuple(image.shape[-2:])
        operator = Radon(replace(geometry, image_shape=shape, angles=new_angles), F64)
        torch.testing.assert_close(operator(image), expected, rtol=0, atol=1e-11)

    check(x.rot90(1, (-2, -1)), [a + math.pi / 2 for a in angles], y)
    check(x.flip(-1), [math.pi - a for a in angles], y)
    check(x.flip(-2), [-a for a in angles], y)
    check(x, [a + math.pi for a in angles], y.flip(-1))
    check(x, list(reversed(angles)), y.flip(-2))


@given(GEOMETRIES, st.floats(0.1, 10))
def test_lengths_scale(geometry, factor):
    lengths = {
        name: getattr(geometry, name) * factor for name in ("detector_spacing", "pixel_size")
    }
    x = random(1, 1, *geometry.image_shape)
    expected = factor * Radon(geometry, F64)(x)
    scaled = Radon(replace(geometry, **lengths), F64)(x)
    torch.testing.assert_close(scaled, expected, rtol=1e-9, atol=1e-9)
    size = geometry.pixel_size
    in_pixels = Radon(geometry.in_pixels(), F64)(x)
    torch.testing.assert_close(size * in_pixels, Radon(geometry, F64)(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_batch_equals_loop(memory_limit):
    operator = Radon(SMALL, F64, memory_limit)
    x = random(3, 2, 9, 6)
    y = operator(x)
    assert y.shape == (3, 2, *SMALL.range_shape)
    back = operator.adjoint(y)
    for b, c in np.ndindex(3, 2):
        torch.testing.assert_close(operator(x[b, c]), y[b, c], rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(operator.adjoint(y[b, c]), back[b, c], rtol=1e-14, atol=0)


def test_derivatives_of_any_order():
    operator = Radon(SMALL, F64)
    x = random(2, 1, 9, 6).requires_grad_()
    weights = random(2, 1, *SMALL.range_shape, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad((operator(x) * weights).sum(), x, create_graph=True)
    assert torch.equal(gradient, operator.adjoint(weights))
    direction = random(2, 1, 9, 6, seed=2)
    (second,) = torch.autograd.grad((gradient * direction).sum(), weights)
    assert torch.equal(second, operator(direction))
    (back,) = torch.autograd.grad((operator.adjoint(weights) * direction).sum(), weights)
    assert torch.equal(back, operator(direction))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's forward mode
def test_forward_mode_derivative():
    operator = Radon(SMALL, F64)
    x, direction = random(2, 1, 9, 6), random(2, 1, 9, 6, seed=2)
    assert torch.equal(torch.func.jvp(operator, (x,), (direction,))[1], operator(direction))


def test_norm_is_the_largest_singular_value():
    for operator in (Radon(SMALL, F64), Identity((4, 5)), Mask(torch.eye(3, dtype=torch.bool))):
        exact = float(torch.linalg.matrix_norm(dense(operator)[0], 2))
        assert operator.norm(80) == pytest.approx(exact, rel=1e-6)
        assert 0.99 * exact < operator.norm() <= (1 + 1e-6) * exact
        assert operator.norm() == operator_norm(operator)


def test_dot_test_notices_a_wrong_adjoint():
    class Wrong(Identity):
        def _rmatvec(self, y: torch.Tensor) -> torch.Tensor:
            return y.flip(-1)

    assert dot_test(Wrong((8, 8))) > 1e-3
    assert dot_test(Identity((8, 8))) < 1e-7


def test_a_matrix_is_itself():
    matrix, x, y = random(3, 5), random(2, 4, 5), random(2, 4, 3, seed=1)
    torch.testing.assert_close(dense(Matrix(matrix))[0], matrix)
    torch.testing.assert_close(Matrix(matrix)(x), (matrix @ x[..., None])[..., 0])
    torch.testing.assert_close(Matrix(matrix).adjoint(y), (matrix.mT @ y[..., None])[..., 0])
    with pytest.raises(UserError, match=r"expected a matrix \(m, n\), got shape \(3,\)"):
        Matrix(torch.ones(3))


def test_identity_and_mask():
    x = random(2, 1, 4, 5)
    known = random(4, 5, seed=1) > 0.5
    assert torch.equal(Mask(known)(x), torch.where(known, x, 0))
    assert torch.equal(Mask(known).adjoint(x), torch.where(known, x, 0))
    result = Identity((4, 5))(x)
    assert torch.equal(result, x)
    assert result.data_ptr() != x.data_ptr()
    with pytest.raises(UserError, match="expected a bool mask, got"):
        Mask(torch.ones(3, 3, dtype=torch.int64))


def test_rays_beside_the_image_see_nothing():
    operator = Radon(ParallelBeam2D((3, 3), (0.1, 2.0), 2, 100.0), F64)
    assert torch.equal(operator(random(1, 1, 3, 3)), torch.zeros(1, 1, 2, 2, dtype=F64))
    assert torch.equal(operator.adjoint(random(1, 1, 2, 2)), torch.zeros(1, 1, 3, 3, dtype=F64))
    assert operator.norm() == dot_test(operator) == 0


def test_checkpoints_and_mixed_precision_pass_it_by():
    operator = Radon(SMALL)
    assert not operator.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        assert operator(torch.rand(1, 1, 9, 6)).dtype == torch.float32


def test_wrong_input_is_explained():
    operator = Radon(SMALL)
    with pytest.raises(UserError, match=r"image of shape \(\.\.\., 9, 6\), got \(1, 1, 6, 9\)"):
        operator(torch.zeros(1, 1, 6, 9))
    with pytest.raises(UserError, match=r"measurement of shape \(\.\.\., 5, 13\), got \(13,\)"):
        operator.adjoint(torch.zeros(13))
    with pytest.raises(UserError, match=r"torch.float32 on cpu, got torch.float64"):
        operator(torch.zeros(1, 1, 9, 6, dtype=F64))
    with pytest.raises(UserError, match="expected dtype float32 or float64, got"):
        Radon(SMALL, torch.float16)


def test_mean_gain_is_the_mean_squared_column_norm():
    operator = Radon(ParallelBeam2D.for_image(24, 10), dtype=torch.float64)
    exact = float(dense(operator)[0].square().sum(0).mean())
    assert operator.mean_gain() == pytest.approx(exact, rel=0.05)  # four random probes
    assert mean_gain(operator, probes=2000) == pytest.approx(exact, rel=0.003)
