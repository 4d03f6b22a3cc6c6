import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.errors import UserError
from gnclightning.metrics import psnr, ssim


def random_pair(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(*shape, generator=generator, dtype=dtype)
    return reference + 0.2 * torch.randn(*shape, generator=generator, dtype=dtype), reference


def reference_ssim(x, reference, data_range):
    """Wang et al. 2004, one window at a time."""
    tap = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(tap, tap) / tap.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    x, reference = (np.pad(image, 5, mode="reflect") for image in (x, reference))
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (i[row : row + 11, column : column + 11] for i in (x, reference))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a = (window * (a - mean_a) ** 2).sum()
            variance_b = (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * covariance + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
            )
    return np.mean(values)


def test_psnr_of_known_errors():
    reference = torch.full((3, 1, 4, 5), 0.5, dtype=torch.float64)
    x = reference + torch.tensor([0.1, 0.01, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    assert psnr(x, reference).tolist() == pytest.approx([20, 40, 0], abs=1e-12)
    assert psnr(x, reference, data_range=10).tolist() == pytest.approx([40, 60, 20], abs=1e-12)


def test_psnr_is_infinite_for_equal_images_only():
    x, reference = random_pair(0, 2, 1, 6, 6)
    x[1] = reference[1]
    values = psnr(x, reference)
    assert math.isfinite(values[0])
    assert values[1] == math.inf


@given(st.integers(0, 100), st.integers(1, 4), st.integers(1, 2), st.integers(6, 19))
def test_metrics_equal_their_formulas(seed, batch, channels, side):
    x, reference = random_pair(seed, batch, channels, side, side + 3)
    pairs = list(zip(x.numpy(), reference.numpy(), strict=True))
    expected = [10 * np.log10(2.5**2 / np.mean((a - b) ** 2)) for a, b in pairs]
    assert psnr(x, reference, 2.5).numpy() == pytest.approx(expected, rel=1e-12)
    expected = [
        np.mean([reference_ssim(p, q, 2.5) for p, q in zip(a, b, strict=True)]) for a, b in pairs
    ]
    assert ssim(x, reference, 2.5).numpy() == pytest.approx(expected, rel=1e-9)


def test_ssim_of_constant_images_compares_their_luminance():
    x = torch.full((1, 1, 12, 12), 0.2, dtype=torch.float64)
    reference = torch.full_like(x, 0.8)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert ssim(x, reference).item() == pytest.approx(expected, rel=1e-9)


def test_ssim_is_one_for_equal_images_symmetric_and_scales_with_the_range():
    x, reference = random_pair(1, 3, 1, 20, 20)
    assert ssim(x, x).tolist() == pytest.approx([1, 1, 1], abs=1e-12)
    assert (ssim(x, reference) < 0.99).all()
    assert ssim(x, reference).tolist() == pytest.approx(ssim(reference, x).tolist(), rel=1e-12)
    scaled = ssim(7 * x, 7 * reference, data_range=7)
    assert scaled.tolist() == pytest.approx(ssim(x, reference).tolist(), rel=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_values_are_per_image(metric):
    x, reference = random_pair(2, 3, 1, 16, 16)
    alone = [metric(a[None], b[None]).item() for a, b in zip(x, reference, strict=True)]
    assert metric(x, reference).tolist() == pytest.approx(alone, rel=1e-12)
    x[1, 0, 3, 3] = math.nan
    values = metric(x, reference)
    assert values.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_single_precision_images_are_compared_in_double(metric):
    x, reference = random_pair(3, 1, 1, 32, 32, dtype=torch.float32)
    x = x / 3  # full mantissas, so that a difference in single precision would round
    value = metric(x, reference)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(metric(x.double(), reference.double()).item(), rel=1e-14)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_input(metric):
    image = torch.zeros(2, 1, 8, 8)
    with pytest.raises(UserError, match=r"one shape \(B, C, H, W\), got \(2, 1, 8, 8\) and \(1,"):
        metric(image, image[:1])
    with pytest.raises(UserError, match=r"one shape \(B, C, H, W\), got \(8, 8\) and \(8, 8\)"):
        metric(image[0, 0], image[0, 0])
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="data range above 0"):
            metric(image, image, data_range=bad)


def test_ssim_needs_six_pixels_a_side():
    x, reference = random_pair(4, 1, 1, 6, 6)
    assert 0 < ssim(x, reference).item() < 1
    with pytest.raises(UserError, match="at least 6x6 pixels for SSIM, got 6x5"):
        ssim(x[..., :5], reference[..., :5])
