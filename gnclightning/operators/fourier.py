"""Some of an image's Fourier coefficients: accelerated magnetic resonance as an inverse problem."""

from typing import Any

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator

_fft: Any = torch.fft  # comes without types


class UndersampledFourier(LinearOperator):
    """Orthonormal Fourier transform of a real image, 0 where the mask does not hold.

    Complex numbers are two channels, real part and imaginary part: (..., rows, columns) becomes
    (..., 2, rows, columns). Its norm is at most 1. A real image's coefficients come in conjugate
    pairs, so a mask that holds at both of a pair measures the same twice.

    Args:
        mask: bool (rows, columns), True at known coefficients; the zero frequency is at [0, 0], as
            `torch.fft.fft2` orders them.

    Raises:
        UserError: if the mask is not bool or has not two dimensions.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        if mask.dtype != torch.bool or mask.ndim != 2:
            raise UserError(
                f"expected a bool mask (rows, columns), got {mask.dtype} of shape "
                f"{tuple(mask.shape)}: compare it, as in mask > 0"
            )
        rows, columns = mask.shape
        super().__init__((rows, columns), (2, rows, columns))
        self.register_buffer("mask", mask, persistent=False)

    @property
    def observed(self) -> Tensor:
        """See `LinearOperator`."""
        return self.mask.expand(self.range_shape)

    def _matvec(self, x: Tensor) -> Tensor:
        coefficients = _fft.fft2(x, norm="ortho")
        return torch.stack([coefficients.real, coefficients.imag], -3) * self.mask

    def _rmatvec(self, y: Tensor) -> Tensor:
        real, imaginary = (y * self.mask).unbind(-3)
        image: Tensor = _fft.ifft2(torch.complex(real, imaginary), norm="ortho").real
        return image
