"""A projector by another package's kernels, and what becomes of kernels that do not match."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnclightning.operators.backends.explicit import ExplicitProjector, matrix_of
from gnclightning.operators.base import LinearOperator
from gnclightning.operators.checks import dot_test
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.projector import Projector

Kernel = Callable[[Tensor], Tensor]

_SEEDS = 3


class KernelProjector(Projector):
    """A projector by two functions, of which nothing is known: see `matched`.

    Args:
        geometry: of images and sinograms.
        forward: images (n, rows, columns) to sinograms (n, angles, detectors), float32.
        backward: the other way round; the adjoint, if it is one.
        device: that they compute on.
    """

    def __init__(
        self, geometry: PlanarGeometry, forward: Kernel, backward: Kernel, device: torch.device
    ) -> None:
        super().__init__(geometry)
        self._project, self._project_back = forward, backward
        self.to(device)

    def _matvec(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *self.domain_shape).contiguous()
        return self._project(images).reshape(*x.shape[:-2], *self.range_shape)

    def _rmatvec(self, y: Tensor) -> Tensor:
        sinograms = y.reshape(-1, *self.range_shape).contiguous()
        return self._project_back(sinograms).reshape(*y.shape[:-2], *self.domain_shape)


def mismatch(operator: LinearOperator) -> float:
    """The largest of several dot tests.

    Line searches need a transpose: a gradient by any other adjoint is not that of f. float32
    explains some 1e-8; back-projections that only look like the transpose miss it by 1e-5 and more.
    """
    return max(dot_test(operator, seed, batch=2) for seed in range(_SEEDS))


def matched(operator: LinearOperator, tolerance: float = 1e-6) -> bool:
    """Whether the adjoint is the transpose, see `mismatch`."""
    return mismatch(operator) <= tolerance


def with_exact_adjoint(projector: KernelProjector) -> Projector:
    """The projector itself if its kernels match, else one by the matrix of its A.

    Raises:
        UserError: they do not match, and the matrix is too large.
    """
    return (
        projector
        if matched(projector)
        else ExplicitProjector(projector.geometry, matrix_of(projector))
    )
