"""Checks that any linear operator can be put to: exactness of the adjoint, norm and gain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnclightning.tensors import inner, squared_norm

if TYPE_CHECKING:
    from gnclightning.operators.base import LinearOperator


def dot_test(operator: LinearOperator, seed: int = 0, batch: int = 1) -> float:
    """Relative mismatch of <A x, y> and <x, A* y> for normal random x and y.

    Args:
        operator: the operator A, tested in its own dtype and on its own device.
        seed: seed of x and y.
        batch: number of images in x.

    Returns:
        |<Ax,y> - <x,A*y>| / max(|Ax| |y|, |x| |A*y|), summed in float64; 0 for a zero operator.
        An exact transpose stays at rounding level: some 1e-16 in float64, 1e-8 in float32.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(
            operator.device, operator.dtype
        )
        for shape in (operator.domain_shape, operator.range_shape)
    )
    with torch.no_grad():
        forward, adjoint = operator.forward(x), operator.adjoint(y)
    scale = max(_norm(forward) * _norm(y), _norm(x) * _norm(adjoint))
    mismatch = abs(_inner(forward, y) - _inner(x, adjoint))
    return mismatch / scale if scale > 0 else 0.0


def operator_norm(operator: LinearOperator, iterations: int = 30, seed: int = 0) -> float:
    """Largest singular value of A by power iteration on A*A.

    The start is positive, as is the leading singular vector of an operator with non-negative
    entries (projections, masks, blurs), so that a few iterations give several digits. The result
    never exceeds the true norm beyond rounding; step-size rules need a small margin on top.

    Args:
        operator: the operator A, used in its own dtype and on its own device.
        iterations: number of applications of A*A.
        seed: seed of the starting image.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(1, *operator.domain_shape, generator=generator, dtype=torch.float64)
    x = start.to(operator.device, operator.dtype)
    norm = 0.0
    with torch.no_grad():
        for _ in range(iterations):
            x = x / _norm(x)
            projection = operator.forward(x)
            norm = _norm(projection)
            if norm == 0.0:
                break
            x = operator.adjoint(projection)
    return norm


def mean_gain(operator: LinearOperator, probes: int = 4, seed: int = 0) -> float:
    """Mean diagonal entry of A*A, estimated as the mean of |Az|^2 / |z|^2 over random z.

    Args:
        operator: the operator A, used in its own dtype and on its own device.
        probes: number of z, independent and standard normal.
        seed: their seed.
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(probes, *operator.domain_shape, generator=generator, dtype=torch.float64)
    z = z.to(operator.device, operator.dtype)
    with torch.no_grad():
        return float((squared_norm(operator.forward(z)) / squared_norm(z)).mean())


def _inner(a: Tensor, b: Tensor) -> float:
    return float(inner(a[None], b[None]))  # the whole batch counts as one image


def _norm(a: Tensor) -> float:
    return math.sqrt(_inner(a, a))
