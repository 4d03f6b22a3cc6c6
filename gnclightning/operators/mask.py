"""A mask of known pixels: inpainting as an inverse problem."""

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator


class Mask(LinearOperator):
    """A(x) = x where the mask holds, 0 elsewhere; its own adjoint.

    Args:
        mask: bool tensor, True at known pixels; its shape is that of images and measurements.

    Raises:
        UserError: if the mask is not of dtype bool.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        if mask.dtype != torch.bool:
            raise UserError(f"expected a bool mask, got {mask.dtype}: compare it, as in mask > 0")
        super().__init__(tuple(mask.shape), tuple(mask.shape))
        self.register_buffer("mask", mask, persistent=False)

    @property
    def observed(self) -> Tensor:
        """See `LinearOperator`."""
        return self.mask

    def _matvec(self, x: Tensor) -> Tensor:
        return x * self.mask

    def _rmatvec(self, y: Tensor) -> Tensor:
        return y * self.mask
