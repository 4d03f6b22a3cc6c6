"""The identity: denoising as an inverse problem."""

from torch import Tensor

from gnclightning.operators.base import LinearOperator


class Identity(LinearOperator):
    """A(x) = x.

    Args:
        shape: trailing dimensions of images and measurements.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape)

    def _matvec(self, x: Tensor) -> Tensor:
        return x.clone()  # a new tensor, as from any other operator: callers may write to it

    def _rmatvec(self, y: Tensor) -> Tensor:
        return y.clone()
