"""Per-image reductions and broadcasting, and the precision that solvers need."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_FEW = 16


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image of a batch, (B, ...) x (B, ...) -> (B,), summed in float64.

    Late in a run an Armijo decrease is far below float32 resolution of an objective of 1e4.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    if a.shape[1] <= _FEW:  # a batched product costs much more per image than per element
        return (a * b).sum(1)
    return torch.einsum("bn,bn->b", a, b)


def squared_norm(a: Tensor) -> Tensor:
    """Squared Euclidean norm of each image, (B, ...) -> (B,), in float64."""
    return inner(a, a)


def norm(a: Tensor) -> Tensor:
    """Euclidean norm of each image, (B, ...) -> (B,), in float64."""
    return squared_norm(a).sqrt()


def expand(value: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) so that it broadcasts against `like` (B, ...), in the dtype of `like`."""
    return value.to(like.dtype).reshape(-1, *([1] * (like.ndim - 1)))


def where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Choose per image: `a` where `mask` (B,) holds, `b` elsewhere, bit for bit."""
    return torch.where(mask.reshape(-1, *([1] * (a.ndim - 1))), a, b)


def take(value: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (n,) of (B, ...), in the same memory layout if images lie there transposed.

    Thousands of short vectors are handled several times faster with the batch last in memory.
    """
    if value.ndim == 2 and value.stride(0) == 1:
        return value.mT.index_select(1, index).mT
    return value.index_select(0, index)


@contextmanager
def full_float32() -> Iterator[None]:
    """No TensorFloat-32, whose 10 bits are too few for line searches; reproducible convolutions."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
