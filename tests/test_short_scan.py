"""Fans over less than a turn: each line counts once, and images come back."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.operators import FanBeam2D, fbp
from gnclightning.operators.short_scan import parker_weights, scanned_arc

F64 = torch.float64
FAN = FanBeam2D.for_image(64, 180, 0.5, "mm", source_distance=60.0, detector_distance=30.0)
"""A fan of 44 degrees."""
DISC = (5.0, -6.0, 4.0)  # its middle, and its radius
HALF, WHOLE = math.pi, 2 * math.pi


def over(start: float, extent: float, count: int = 180) -> FanBeam2D:
    return replace(FAN, angles=tuple(start + extent * n / count for n in range(count)))


def chords(geometry: FanBeam2D) -> torch.Tensor:
    """The exact sinogram of the disc."""
    x, y, radius = DISC
    turn = torch.atan(geometry.detector_positions / geometry.length)
    theta = torch.tensor(geometry.angles, dtype=F64)[:, None] - turn
    offset = x * theta.cos() + y * theta.sin() - geometry.source_distance * turn.sin()
    return 2 * (radius**2 - offset**2).clamp(min=0).sqrt()


def errors(geometry: FanBeam2D) -> tuple[float, float]:
    """How far the disc's mean is from 1, and the largest value away from it."""
    image = fbp(chords(geometry), geometry)
    x, y = geometry.pixel_positions
    distance = torch.hypot(x - DISC[0], y[:, None] - DISC[1])
    inside, outside = distance < DISC[2] - 1.5, distance > DISC[2] + 1.5
    return abs(float(image[inside].mean()) - 1), float(image[outside].abs().max())


@given(
    extent=st.floats(HALF, WHOLE),
    slant=st.floats(-0.6, 0.6),
    part=st.floats(0.001, 0.999),
)
def test_the_rays_of_a_line_add_up_to_one(extent, slant, part):
    turned = torch.tensor(part * extent, dtype=F64)
    total = parker_weights(turned, torch.tensor(slant, dtype=F64), extent)
    for other in (turned + HALF - 2 * slant, turned - HALF - 2 * slant):
        if 0 <= other <= extent:
            total = total + parker_weights(other, torch.tensor(-slant, dtype=F64), extent)
    assert float(total) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("start", [0.0, 2.0, -4.0])
@pytest.mark.parametrize("degrees", [226, 300, 340, 360])
def test_a_disc_comes_back_from_every_arc_that_suffices(start, degrees):
    mean, outside = errors(over(start, math.radians(degrees)))
    assert mean < 0.003
    assert outside < 0.1


def test_the_order_of_angles_the_detector_and_its_middle_are_free():
    geometry = over(1.0, HALF + FAN.fan_angle)
    y = chords(geometry)
    image = fbp(y, geometry)
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0))
    shuffled = replace(geometry, angles=tuple(geometry.angles[n] for n in order))
    torch.testing.assert_close(fbp(y[order], shuffled), image, rtol=0, atol=1e-9)
    wide = replace(geometry, detector_count=199, detector_offset=8.25)
    assert wide.fan_angle == pytest.approx(FAN.fan_angle)
    mean, outside = errors(wide)
    assert mean < 0.003
    assert outside < 0.1


@pytest.mark.parametrize("degrees", [180, 200, 222])
def test_less_than_half_a_turn_and_the_fan_is_warned_of(degrees):
    with pytest.warns(
        UserWarning, match=rf"together 224\.\d degrees, got {degrees}: lines through"
    ):
        errors(over(0.3, math.radians(degrees)))


@pytest.mark.parametrize("extent", [1.0, 4.0, 5.9])
def test_an_arc_is_told_by_its_widest_gap(extent):
    arc = scanned_arc(over(5.5, extent).angles)
    assert arc.extent == pytest.approx(extent)
    half_a_step = extent / 180 / 2
    assert math.remainder(arc.start - 5.5 + half_a_step, WHOLE) == pytest.approx(0, abs=1e-9)


def test_a_turn_may_be_uneven_and_lack_an_angle():
    gaps = 0.5 + torch.rand(90, generator=torch.Generator().manual_seed(0), dtype=F64)
    uneven = (WHOLE * gaps.cumsum(0) / gaps.sum()).tolist()
    even = [WHOLE * n / 90 for n in range(90)]
    for angles in (uneven, even, even[:40] + even[41:], even + even, [0.3]):
        assert scanned_arc(tuple(angles)).extent == WHOLE
