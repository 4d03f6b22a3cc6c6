"""Weighted least squares: 1/2 |W^(1/2) (A x - y)|^2 as the plain data term of another operator."""

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator


class Weighted(LinearOperator):
    """W^(1/2) A for a batch of images, each with a diagonal W of its own.

    The images of a batch are one vector of its domain: for A on (H, W) and weights (B, C, angles,
    detectors), images are (B, C, H, W). `select` gives the operator of some of them.

    Args:
        operator: A.
        weights: diagonals of W, (B, ..., *range of A), finite and not negative, on A's device. With
            independent noise of standard deviation sigma / sqrt(w) the weighted measurements have
            the standard deviation sigma everywhere.

    Raises:
        UserError: weights of another shape, or that are no weights.
    """

    weights: Tensor
    roots: Tensor

    def __init__(self, operator: LinearOperator, weights: Tensor) -> None:
        operator.check_range(weights)
        if weights.ndim <= len(operator.range_shape):
            raise UserError(
                f"expected weights for each image of a batch, got shape {tuple(weights.shape)}: "
                "add a batch dimension"
            )
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            raise UserError("expected finite weights >= 0: replace NaN, infinite and negative ones")
        batch = weights.shape[: -len(operator.range_shape)]
        super().__init__(
            (*batch, *operator.domain_shape), tuple(weights.shape), dtype=operator.dtype
        )
        self.operator = operator
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("roots", weights.sqrt(), persistent=False)

    @property
    def observed(self) -> Tensor | None:
        """What A observes, of each image; see `LinearOperator`."""
        observed = self.operator.observed
        return None if observed is None else observed.expand(self.range_shape)

    def select(self, index: Tensor) -> "Weighted":
        """The operator of the images `index` (n,)."""
        return Weighted(self.operator, self.weights[index])

    def squared_norm(self) -> Tensor:
        """A bound for each image, |A|^2 times its largest weight, (B,)."""
        return self.operator.norm() ** 2 * self.weights.double().flatten(1).amax(1)

    def _matvec(self, x: Tensor) -> Tensor:
        return self.roots * self.operator(x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(self.roots * y)


def weighted(
    operator: LinearOperator, y: Tensor, weights: Tensor | None
) -> tuple[LinearOperator, Tensor]:
    """Operator and measurements whose plain data term is the weighted one.

    Args:
        operator: A.
        y: measurements (B, ...).
        weights: like `y`; None: all 1, which changes nothing.
    """
    if weights is None:
        return operator, y
    return Weighted(operator, weights), weights.sqrt() * y


def mean_one(weights: Tensor) -> Tensor:
    """The weights (B, ...) of each image scaled to the mean 1: A*WA stays as large as A*A.

    Raises:
        UserError: all weights of an image are zero.
    """
    mean = weights.double().flatten(1).mean(1)
    if not bool((mean > 0).all()):
        raise UserError("expected some weight above 0 in each sinogram, got none: leave it out")
    shape = (-1, *([1] * (weights.ndim - 1)))
    return (weights / mean.reshape(shape)).to(torch.float32)
