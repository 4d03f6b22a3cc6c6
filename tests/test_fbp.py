"""Filtered back-projection returns the intensities that were projected, where they were."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gnclightning.errors import UserError
from gnclightning.operators import FanBeam2D, FilterName, ParallelBeam2D, Radon, fbp

F64 = torch.float64
FILTERS: list[FilterName] = ["ramp", "hann", "shepp-logan"]


def distances(geometry: ParallelBeam2D, x0: float, y0: float) -> torch.Tensor:
    x, y = geometry.pixel_positions
    return torch.hypot(x - x0, y[:, None] - y0)


def chords(geometry: ParallelBeam2D, x0: float, y0: float, radius: float) -> torch.Tensor:
    """The exact sinogram of a disc of value 1, (1, 1, angles, detectors)."""
    cosines, sines = geometry.directions
    distance = geometry.detector_positions - (x0 * cosines + y0 * sines)[:, None]
    return 2 * (radius**2 - distance**2).clamp(min=0).sqrt()[None, None]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("shape", "pixel_size"), [((64, 64), 1.0), ((65, 51), 0.4)])
def test_disc_keeps_its_intensity_and_place(name, shape, pixel_size):
    geometry = ParallelBeam2D.for_image(shape, 120, pixel_size)
    x0, y0, radius = 4 * pixel_size, -9 * pixel_size, 13 * pixel_size
    image = fbp(chords(geometry, x0, y0, radius), geometry, name)[0, 0]
    distance = distances(geometry, x0, y0)
    inside, outside = distance < radius - 3 * pixel_size, distance > radius + 3 * pixel_size
    assert image[inside].mean() == pytest.approx(1, abs=0.003)
    assert (image[inside] - 1).abs().max() < 0.03
    assert image[outside].mean() == pytest.approx(0, abs=0.003)
    assert image[outside].abs().max() < 0.1


@pytest.mark.parametrize("turn", [math.pi, 2 * math.pi])
def test_uneven_angles_keep_the_intensity(turn):
    geometry = ParallelBeam2D.for_image(48, 90)
    gaps = 0.3 + random(90)  # some angles are four times as dense as others
    angles = turn * gaps.cumsum(0) / gaps.sum() + 0.7
    shuffled = angles[torch.randperm(90, generator=torch.Generator().manual_seed(1))]
    uneven = replace(geometry, angles=tuple(shuffled.tolist()))
    image = fbp(chords(uneven, 3.0, 2.0, 12.0), uneven)[0, 0]
    distance = distances(geometry, 3.0, 2.0)
    assert image[distance < 9].mean() == pytest.approx(1, abs=0.01)
    assert image[distance > 15].mean() == pytest.approx(0, abs=0.01)


@given(st.integers(1, 4), st.integers(0, 1000))
def test_the_same_lines_give_the_same_image(copies, seed):
    geometry = ParallelBeam2D.for_image((7, 9), 5)
    y = random(1, 1, *geometry.range_shape, seed=seed)
    image = fbp(y, geometry)
    angles = torch.tensor(geometry.angles, dtype=F64)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    for same_angles, same_y in (
        (angles[order], y[..., order, :]),
        (angles + math.pi, y.flip(-1)),
        (angles.repeat(copies), y.repeat(1, 1, copies, 1)),
        (torch.cat([angles, angles - math.pi]), torch.cat([y, y.flip(-1)], -2)),
    ):
        same = replace(geometry, angles=tuple(same_angles.tolist()))
        torch.testing.assert_close(fbp(same_y, same), image, rtol=0, atol=1e-12)


def test_projection_of_a_smooth_image_comes_back():
    geometry = ParallelBeam2D.for_image((41, 56), 100)
    image = torch.exp(-(distances(geometry, 8.0, 5.0) ** 2) / (2 * 4.0**2))[None, None]
    recovered = fbp(Radon(geometry, F64)(image), geometry)
    assert (recovered - image).norm() < 0.02 * image.norm()


def test_object_at_the_detector_edge_does_not_wrap_around():
    # 64 bins: with anything less than twice their number, the ends would be neighbours.
    geometry = ParallelBeam2D((64, 64), ParallelBeam2D.for_image(64, 90).angles, 64, 1.0)
    image = fbp(chords(geometry, 26.0, 0.0, 5.0), geometry)[0, 0]
    assert image[distances(geometry, 26.0, 0.0) < 3].mean() == pytest.approx(1, abs=0.01)
    assert image[distances(geometry, -26.0, 0.0) < 5].mean() == pytest.approx(0, abs=0.005)


def test_filters_trade_noise_for_sharpness():
    geometry = ParallelBeam2D.for_image(64, 60)
    noise = torch.randn(geometry.range_shape, generator=torch.Generator().manual_seed(0))
    ramp, hann, shepp_logan = (float(fbp(noise, geometry, name).std()) for name in FILTERS)
    assert hann < 0.6 * ramp
    assert hann < shepp_logan < 0.9 * ramp


@pytest.mark.parametrize("name", FILTERS)
def test_windows_are_those_of_their_names(name):
    """A wave along the detector keeps the ramp's |f| times the window, far from its ends."""
    count, frequency = 1024, 0.3
    geometry = ParallelBeam2D((1, count - 1), (0.0,), count - 1, 1.0)
    wave = torch.cos(2 * math.pi * frequency * geometry.detector_positions)
    found = fbp(wave[None], geometry, name)[0] / math.pi  # of one angle, which stands for pi
    window = {
        "ramp": 1.0,
        "hann": 0.5 * (1 + math.cos(2 * math.pi * frequency)),
        "shepp-logan": math.sin(math.pi * frequency) / (math.pi * frequency),
    }[name]
    middle = slice(count // 2 - 100, count // 2 + 100)
    expected = frequency * window * wave
    torch.testing.assert_close(found[middle], expected[middle], rtol=0, atol=2e-3)


def test_an_angle_stands_for_half_the_gaps_beside_it():
    """Each angle's part of the image, for angles of 0, 40 and 100 of 180 degrees."""
    angles = tuple(math.radians(angle) for angle in (100.0, 0.0, 40.0))
    geometry = replace(ParallelBeam2D.for_image(9, 3), angles=angles)
    y = random(1, 1, *geometry.range_shape)
    for index, share in enumerate((60 + 80, 80 + 40, 40 + 60)):
        alone = replace(geometry, angles=angles[index : index + 1])
        only = y * torch.eye(3, dtype=F64)[index][:, None]
        expected = fbp(y[..., index : index + 1, :], alone) * share / 360
        torch.testing.assert_close(fbp(only, geometry), expected)


def test_batch_equals_loop_in_both_dtypes():
    geometry = ParallelBeam2D.for_image((8, 11), 7)
    y = random(3, 2, *geometry.range_shape)
    images = fbp(y, geometry)
    assert images.shape == (3, 2, 8, 11)
    for b in range(3):
        torch.testing.assert_close(fbp(y[b], geometry), images[b], rtol=0, atol=1e-14)
        torch.testing.assert_close(fbp(y[b, 1], geometry), images[b, 1], rtol=0, atol=1e-14)
    single = fbp(y.float(), geometry)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), images, rtol=0, atol=1e-6)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes = max(self.bytes, result.numel() * result.itemsize)
        return result


@pytest.mark.parametrize("beam", ["parallel", "fan"])
def test_a_fine_scan_takes_little_memory(beam, monkeypatch):
    """Some angles at a time, which give the image that all at once give."""
    geometry = (
        ParallelBeam2D.for_image(128, 400)
        if beam == "parallel"
        else FanBeam2D.for_image(128, 400, source_distance=500.0, detector_distance=200.0)
    )
    y = random(*geometry.range_shape)
    everything = 128**2 * 400 * 8  # bytes of the bins of all pixels at all angles
    with Largest() as largest:
        image = fbp(y, geometry)
    assert largest.bytes < everything / 5
    monkeypatch.setattr(import_module("gnclightning.operators.fbp"), "_AT_ONCE", 2**30)
    with Largest() as largest:
        at_once = fbp(y, geometry)
    assert largest.bytes == everything
    torch.testing.assert_close(image, at_once, rtol=0, atol=1e-12)


def test_wrong_input_is_explained():
    geometry = ParallelBeam2D.for_image(8, 7)
    with pytest.raises(UserError, match=r"7 angles, 13 detectors\), got \(1, 1, 13, 7\)"):
        fbp(torch.zeros(1, 1, 13, 7), geometry)
    with pytest.raises(UserError, match=r"one of \['ramp', 'hann', 'shepp-logan'\], got 'cosine'"):
        fbp(torch.zeros(1, 1, 7, 13), geometry, "cosine")  # pyright: ignore[reportArgumentType]
