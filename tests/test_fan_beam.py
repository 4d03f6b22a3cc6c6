"""Fan beams: the same rays as parallel beams have, and images that come back."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geometries import ANGLE
from gnclightning.errors import UserError
from gnclightning.operators import (
    FanBeam2D,
    ParallelBeam2D,
    Radon,
    dot_test,
    fbp,
    geometry_from_dict,
)

F64 = torch.float64
FANS = st.builds(
    FanBeam2D,
    image_shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    angles=st.lists(ANGLE, min_size=1, max_size=4),
    detector_count=st.integers(1, 15),
    detector_spacing=st.floats(0.3, 3),
    pixel_size=st.floats(0.5, 1.5),
    detector_offset=st.floats(-2, 2),
    source_distance=st.floats(10, 100),
    detector_distance=st.floats(0, 50),
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@given(FANS)
def test_each_ray_is_that_of_a_parallel_beam(geometry):
    image = random(*geometry.image_shape)
    sinogram = Radon(geometry, F64)(image)
    for row, angle in enumerate(geometry.angles):
        for column, position in enumerate(geometry.detector_positions.tolist()):
            turn = math.atan(position / geometry.length)
            parallel = ParallelBeam2D(
                geometry.image_shape,
                (angle - turn,),
                1,
                1.0,
                pixel_size=geometry.pixel_size,
                detector_offset=-geometry.source_distance * math.sin(turn),
            )
            expected = float(Radon(parallel, F64)(image))
            assert float(sinogram[row, column]) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(FANS, st.integers(0, 20_000))
def test_adjoint_is_exact_stored_and_on_the_fly(geometry, memory_limit):
    stored, computed = Radon(geometry, F64), Radon(geometry, F64, memory_limit)
    assert dot_test(stored, batch=2) < 1e-13
    x, y = random(*geometry.image_shape), random(*geometry.range_shape, seed=1)
    torch.testing.assert_close(computed(x), stored(x), rtol=0, atol=1e-13)
    torch.testing.assert_close(computed.adjoint(y), stored.adjoint(y), rtol=0, atol=1e-13)


def test_a_far_source_gives_parallel_beams():
    parallel = ParallelBeam2D.for_image((20, 17), 12)
    common = {name: getattr(parallel, name) for name in ("angles", "detector_count")}
    fan = FanBeam2D(
        (20, 17),
        **common,
        detector_spacing=parallel.detector_spacing,
        source_distance=1e8,
        detector_distance=0,
    )
    image = random(20, 17)
    torch.testing.assert_close(
        Radon(fan, F64)(image), Radon(parallel, F64)(image), rtol=1e-5, atol=1e-5
    )


def disc(geometry: FanBeam2D, x0: float, y0: float, radius: float) -> torch.Tensor:
    """Mean over 8 x 8 points of each pixel."""
    x, y = geometry.pixel_positions
    inside = torch.zeros(geometry.image_shape, dtype=F64)
    for dx in torch.arange(-7, 8, 2, dtype=F64) / 16 * geometry.pixel_size:
        for dy in torch.arange(-7, 8, 2, dtype=F64) / 16 * geometry.pixel_size:
            inside += ((x - x0 + dx) ** 2 + ((y - y0 + dy) ** 2)[:, None] < radius**2) / 64
    return inside


@pytest.mark.parametrize(("distance", "pixel_size"), [(150.0, 1.0), (400.0, 0.8)])
def test_disc_gives_chord_lengths_and_comes_back(distance, pixel_size):
    geometry = FanBeam2D.for_image(
        96, 180, pixel_size, "mm", source_distance=distance, detector_distance=distance / 2
    )
    assert geometry.coverage == 1
    x0, y0, radius = 12 * pixel_size, -9 * pixel_size, 24 * pixel_size
    image = disc(geometry, x0, y0, radius)
    sinogram = Radon(geometry, F64)(image)
    turn = torch.atan(geometry.detector_positions / geometry.length)
    theta = torch.tensor(geometry.angles, dtype=F64)[:, None] - turn
    offset = x0 * theta.cos() + y0 * theta.sin() - distance * turn.sin()
    chords = 2 * (radius**2 - offset**2).clamp(min=0).sqrt()
    assert (sinogram - chords).abs().mean() < 0.01 * chords.mean()
    back = fbp(sinogram, geometry, "hann")
    inside = disc(geometry, x0, y0, radius - 4 * pixel_size) == 1  # away from the blurred edge
    assert float(back[inside].mean()) == pytest.approx(1, abs=2e-3)
    assert float(back[disc(geometry, x0, y0, radius + 4 * pixel_size) == 0].abs().mean()) < 0.01
    assert float((back - image).square().mean().sqrt()) < 0.06


def test_for_image_sees_the_whole_image_and_no_more():
    geometry = FanBeam2D.for_image((64, 48), 5, source_distance=100, detector_distance=60)
    radius = math.hypot(64, 48) / 2
    edge = geometry.detector_spacing * geometry.detector_count / 2
    assert 100 * edge / math.hypot(edge, 160) == pytest.approx(radius)
    assert geometry.detector_spacing * 100 / 160 <= 1
    narrow = replace(geometry, detector_count=geometry.detector_count // 4)
    assert 0.2 < narrow.coverage < 0.6


@given(FANS, st.floats(0.2, 5))
def test_lengths_scale(geometry, factor):
    names = ("pixel_size", *geometry._LENGTHS)
    scaled = replace(geometry, **{name: getattr(geometry, name) * factor for name in names})
    image = random(*geometry.image_shape)
    expected = Radon(geometry, F64)(image)
    torch.testing.assert_close(Radon(scaled, F64)(image), factor * expected, rtol=1e-9, atol=1e-9)
    in_pixels = geometry.pixel_size * Radon(geometry.in_pixels(), F64)(image)
    torch.testing.assert_close(in_pixels, expected, rtol=1e-9, atol=1e-9)
    assert FanBeam2D.from_dict(geometry.to_dict()) == geometry


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source_distance": 5.0}, r"more than 5\.65\d+ pixel, half the image's diagonal, got 5"),
        ({"source_distance": math.nan}, "positive finite length"),
        ({"detector_distance": -1.0}, "at least 0, got -1"),
    ],
)
def test_impossible_fans_are_explained(values, message):
    given = {"source_distance": 20.0, "detector_distance": 10.0} | values
    with pytest.raises(UserError, match=message):
        FanBeam2D((8, 8), (0.0,), 9, 1.0, **given)
    with pytest.raises(UserError, match=message):
        FanBeam2D.for_image(8, 4, **given)


@pytest.mark.parametrize(("source", "detector"), [(30.0, 0.0), (40.0, 60.0)])
def test_a_whole_turn_of_fans_tells_the_sum_of_the_image(source, detector):
    """As each parallel projection does: the measures of the bins are right."""
    fan = FanBeam2D.for_image(32, 90, 0.8, "mm", source_distance=source, detector_distance=detector)
    image = disc(fan, 6.0, -4.0, 4.0)
    sums = (Radon(fan, F64)(image) * fan.bin_measures).sum(1)
    expected = float(image.sum()) * fan.pixel_size**2
    assert float(sums.mean()) == pytest.approx(expected, rel=1e-3)
    assert float(sums.std()) > 0.02 * expected  # a single fan does not tell it
    parallel = ParallelBeam2D.for_image(32, 7, 0.8, "mm")
    sums = (Radon(parallel, F64)(image) * parallel.bin_measures).sum(1)
    assert sums.tolist() == pytest.approx([expected] * 7, rel=1e-2)


@given(FANS)
def test_a_description_is_that_of_its_beam(geometry):
    parallel = ParallelBeam2D.for_image((4, 5), 3)
    assert geometry_from_dict(geometry.to_dict()) == geometry
    assert geometry_from_dict(parallel.to_dict()) == parallel
