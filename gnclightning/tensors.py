"""Per-image reductions and broadcasting, and the precision that solvers need."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image of a batch, (B, ...) x (B, ...) -> (B,), summed in float64.

    Late in a run an Armijo decrease is far below float32 resolution of an objective of 1e4.
    """
    return torch.einsum("bn,bn->b", a.flatten(1).double(), b.flatten(1).double())


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
