"""Image quality per image, with an explicit data range and in float64.

The mean PSNR of a set is the mean of the values per image, as in arXiv 2404.18699.
"""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gnclightning.errors import UserError
from gnclightning.tensors import squared_norm

_SMALLEST_SSIM_SIDE = 6
"""The 11x11 window needs 5 reflected pixels beyond each border."""


def psnr(x: Tensor, reference: Tensor, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(data_range^2 / mean squared error) in dB.

    Args:
        x: images (B, C, H, W).
        reference: what they should be, the same shape.
        data_range: distance between the least and the greatest value an image may have.

    Returns:
        (B,) in float64; infinite where an image equals its reference.

    Raises:
        UserError: the shapes differ or are not (B, C, H, W), or the range is not positive.
    """
    _check(x, reference, data_range)
    mean_squared_error = squared_norm(x.double() - reference.double()) / x.shape[1:].numel()
    return 10 * (data_range**2 / mean_squared_error).log10()


def ssim(x: Tensor, reference: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian 11x11 window of sigma 1.5.

    K1 = 0.01 and K2 = 0.03, variances without Bessel's correction; the mean is over all pixels,
    the images being reflected at their borders. Other packages cut five border pixels off, or
    use a uniform 7x7 window by default: their values differ by some thousandths.

    Args:
        x: images (B, C, H, W), at least 6x6.
        reference: what they should be, the same shape.
        data_range: distance between the least and the greatest value an image may have.

    Returns:
        (B,) in float64, at most 1.

    Raises:
        UserError: the shapes differ, are not (B, C, H, W) or too small for the window, or the
            range is not positive.
    """
    _check(x, reference, data_range)
    if min(x.shape[2:]) < _SMALLEST_SSIM_SIDE:
        raise UserError(
            f"expected images of at least {_SMALLEST_SSIM_SIDE}x{_SMALLEST_SSIM_SIDE} pixels for "
            f"SSIM, got {x.shape[2]}x{x.shape[3]}: use larger images, or PSNR"
        )
    values = structural_similarity_index_measure(
        x.double(),
        reference.double(),
        sigma=1.5,
        kernel_size=11,
        reduction="none",
        data_range=data_range,
    )
    assert isinstance(values, Tensor)  # a pair only where the full map is asked for
    return values


def _check(x: Tensor, reference: Tensor, data_range: float) -> None:
    if x.ndim != 4 or x.shape != reference.shape:
        raise UserError(
            "expected images and references of one shape (B, C, H, W), "
            f"got {tuple(x.shape)} and {tuple(reference.shape)}: reshape them"
        )
    if not data_range > 0:
        raise UserError(f"expected a data range above 0, got {data_range}: pass max - min")
