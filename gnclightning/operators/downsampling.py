"""Means over blocks of pixels: super-resolution as an inverse problem."""

from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator


class Downsampling(LinearOperator):
    """Each measurement is the mean over a block of `factor` x `factor` pixels.

    Args:
        shape: (rows, columns) of images, multiples of the factor.
        factor: edge of a block in pixels.

    Raises:
        UserError: if the blocks do not fit the image.
    """

    def __init__(self, shape: tuple[int, int], factor: int) -> None:
        if factor < 1 or any(size % factor for size in shape):
            raise UserError(
                f"expected image edges that are multiples of the factor, got {shape} and {factor}: "
                "crop the image or change the factor"
            )
        super().__init__(shape, (shape[0] // factor, shape[1] // factor))
        self.factor = factor

    def _matvec(self, x: Tensor) -> Tensor:
        rows, columns = self.range_shape
        blocks = x.reshape(*x.shape[:-2], rows, self.factor, columns, self.factor)
        return blocks.mean((-3, -1))

    def _rmatvec(self, y: Tensor) -> Tensor:
        spread = y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return spread / self.factor**2
