"""An operator given by its matrix, for small problems."""

from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator


class Matrix(LinearOperator):
    """A(x) = M x on vectors: (..., n) -> (..., m).

    Args:
        matrix: M, (m, n).

    Raises:
        UserError: if it is no matrix.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2:
            raise UserError(f"expected a matrix (m, n), got shape {tuple(matrix.shape)}")
        super().__init__((matrix.shape[1],), (matrix.shape[0],), matrix.dtype)
        self.register_buffer("matrix", matrix, persistent=False)

    def _matvec(self, x: Tensor) -> Tensor:
        return _product(self.matrix, x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return _product(self.matrix.mT, y)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """M x for vectors (..., n).

    The batch goes last: for thousands of short vectors that is an order of magnitude faster.
    """
    return matrix @ x if x.ndim == 1 else (matrix @ x.mT).mT
