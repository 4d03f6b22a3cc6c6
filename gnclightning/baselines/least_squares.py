"""Linear systems with A*A, and Tikhonov's reconstruction."""

import torch
from torch import Tensor

from gnclightning.baselines.results import Reconstructed
from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator
from gnclightning.tensors import expand, squared_norm


@torch.no_grad()
def regularised_solve(
    operator: LinearOperator, b: Tensor, rho: Tensor, steps: int, start: Tensor | None = None
) -> Tensor:
    """Solve (A*A + rho I) x = b by conjugate gradients, one A and one A* a step.

    Args:
        operator: A.
        b: right-hand sides, images (B, ...).
        rho: (B,), at least 0.
        steps: conjugate-gradient steps.
        start: first iterate; None: 0, which saves an A and an A*.
    """
    x = torch.zeros_like(b) if start is None else start
    residual = b if start is None else b - _normal(operator, start, rho)
    search, square = residual, squared_norm(residual)
    for _ in range(steps):
        product = _normal(operator, search, rho)
        step = _quotient(square, (search.double() * product.double()).flatten(1).sum(1))
        x = x + expand(step, x) * search
        residual = residual - expand(step, x) * product
        previous, square = square, squared_norm(residual)
        search = residual + expand(_quotient(square, previous), x) * search
    return x


def tikhonov(operator: LinearOperator, y: Tensor, weight: Tensor, steps: int = 50) -> Reconstructed:
    """Minimise 1/2 |A x - y|^2 + weight/2 |x|^2.

    Args:
        operator: A.
        y: measurements (B, ...).
        weight: (B,), positive.
        steps: conjugate-gradient steps.

    Raises:
        UserError: a weight is not positive, or they are not one per image.
    """
    if weight.shape != (len(y),) or not bool((weight > 0).all()):
        raise UserError(
            f"tikhonov: expected a positive weight for each of {len(y)} images, got "
            f"{weight.tolist()}"
        )
    image = regularised_solve(operator, operator.adjoint(y), weight, steps)
    return Reconstructed(image, 0, 1 + 2 * steps)


def _normal(operator: LinearOperator, x: Tensor, rho: Tensor) -> Tensor:
    return operator.adjoint(operator(x)) + expand(rho, x) * x


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """A / b, and 0 where b is 0: what is solved stays as it is."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
