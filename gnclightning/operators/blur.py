"""Blur: deconvolution as an inverse problem."""

import math
from typing import Any

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator

_fft: Any = torch.fft  # comes without types


class Blur(LinearOperator):
    """Convolution with a kernel; what lies outside the image is 0, and the image keeps its size.

    The adjoint correlates with the same kernel. Right for small kernels, see `PeriodicBlur`.

    Args:
        shape: (rows, columns) of images and measurements.
        kernel: (odd, odd), its centre in the middle.

    Raises:
        UserError: if the kernel is no matrix with odd edges.
    """

    kernel: Tensor

    def __init__(self, shape: tuple[int, int], kernel: Tensor) -> None:
        super().__init__(shape, shape, _checked(kernel).dtype)
        self.register_buffer("kernel", kernel, persistent=False)

    def _matvec(self, x: Tensor) -> Tensor:
        return self._correlate(x, self.kernel.flip(0, 1))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._correlate(y, self.kernel)

    def _correlate(self, x: Tensor, kernel: Tensor) -> Tensor:
        margins = (kernel.shape[0] // 2, kernel.shape[1] // 2)
        images = x.reshape(-1, 1, *self.domain_shape)
        result = torch.nn.functional.conv2d(images, kernel[None, None], padding=margins)
        return result.reshape(x.shape)


class PeriodicBlur(LinearOperator):
    """Convolution with a kernel of an image that repeats itself, by the fast Fourier transform.

    The time does not depend on the kernel's size.

    Args:
        shape: (rows, columns) of images and measurements.
        kernel: (odd, odd), no larger than the image, its centre in the middle.

    Raises:
        UserError: if the kernel is no matrix with odd edges, or larger than the image.
    """

    kernel: Tensor

    def __init__(self, shape: tuple[int, int], kernel: Tensor) -> None:
        rows, columns = _checked(kernel).shape
        if rows > shape[0] or columns > shape[1]:
            raise UserError(
                f"expected a kernel no larger than the image {shape}, got {(rows, columns)}: "
                "crop the kernel"
            )
        super().__init__(shape, shape, kernel.dtype)
        padded = torch.nn.functional.pad(kernel, (0, shape[1] - columns, 0, shape[0] - rows))
        centred = padded.roll((-(rows // 2), -(columns // 2)), (0, 1))
        self.register_buffer("kernel", centred, persistent=False)

    def _matvec(self, x: Tensor) -> Tensor:
        return self._multiply(x, _fft.rfft2(self.kernel))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._multiply(y, _fft.rfft2(self.kernel).conj())

    def _multiply(self, x: Tensor, response: Tensor) -> Tensor:
        blurred: Tensor = _fft.irfft2(_fft.rfft2(x) * response, s=self.domain_shape)
        return blurred


def gaussian_kernel(sigma: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Gaussian of standard deviation `sigma` pixels, cut off at 4 sigma, with sum 1; (odd, odd).

    Raises:
        UserError: if sigma is not positive.
    """
    if not 0 < sigma < math.inf:
        raise UserError(f"expected a positive standard deviation in pixels, got {sigma}")
    reach = math.ceil(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    profile = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = torch.outer(profile, profile)
    return (kernel / kernel.sum()).to(dtype)


def _checked(kernel: Tensor) -> Tensor:
    if kernel.ndim != 2 or any(size % 2 == 0 for size in kernel.shape):
        raise UserError(
            f"expected a kernel (odd, odd), got shape {tuple(kernel.shape)}: pad it with zeros so "
            "that it has a middle"
        )
    return kernel
