"""torch-radon's projector (M. Ronchetti, arXiv 2009.14788), as the native one is declared.

Its s = x cos(theta) + y sin(theta) and its row 0 are ours, its pixels have the size 1. It follows
rays when it projects and pixels when it projects back, so that the one is not the transpose of the
other, nor is what autograd makes of it: the dot test finds out, and the matrix steps in.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from gnclightning.errors import UserError
from gnclightning.extras import import_extra
from gnclightning.operators.backends.kernels import KernelProjector, with_exact_adjoint
from gnclightning.operators.fan_beam import FanBeam2D
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.projector import Projector

_REMEDY = (
    "install carterbox-torch-radon from conda-forge (CUDA only), or take operator.backend=native"
)

_MULTIPLE = 16
"""Of which the classic version's documentation wants the edges of images to be."""


def torch_radon_projector(geometry: PlanarGeometry, device: torch.device) -> Projector:
    """A projector by torch-radon, with an exact adjoint, float32.

    Args:
        geometry: parallel beams, with a `detector_offset` of a whole number of half bins. The
            classic version (`Radon`) takes images of even numbers of rows and columns.
        device: a CUDA device; torch-radon knows no other.

    Raises:
        UserError: torch-radon is not installed, or does not know the geometry; or the matrix that
            stands in for its back-projection is too large.
    """
    if isinstance(geometry, FanBeam2D):
        raise UserError(
            "expected parallel beams for torch-radon, got a fan beam: take operator.backend=native"
        )
    module = import_extra("torch_radon", _REMEDY)
    # A detector whose middle sees the centre of rotation, part of which is the one asked for.
    shift = 2 * geometry.detector_offset / geometry.detector_spacing
    more = round(shift)
    if abs(shift - more) > 1e-6:
        raise UserError(
            "expected a geometry.detector_offset of whole or half bins for torch-radon, got "
            f"{shift / 2:g} bins: take operator.backend=native"
        )
    bins = slice(max(0, -more), max(0, -more) + geometry.detector_count)
    project, project_back, border = _kernels(module, geometry, geometry.detector_count + abs(more))
    size = geometry.pixel_size
    left, top = border

    def forward(images: Tensor) -> Tensor:
        framed = pad(images, (left, left, top, top))
        return size * project(framed)[..., bins].contiguous()

    def backward(sinograms: Tensor) -> Tensor:
        framed = pad(sinograms, (max(0, -more), max(0, more)))
        return size * _inner(project_back(framed), top, left).contiguous()

    return with_exact_adjoint(KernelProjector(geometry, forward, backward, device))


def _kernels(
    module: Any, geometry: PlanarGeometry, bins: int
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], tuple[int, int]]:
    """Projection, back-projection, and the columns and rows to add on each side of an image.

    Which version is there is told by what can be imported.
    """
    # Not a tuple, of which three numbers would be a start, a stop and a count.
    angles = torch.tensor(geometry.angles, dtype=torch.float32)
    spacing = geometry.detector_spacing / geometry.pixel_size
    rows, columns = geometry.image_shape
    if hasattr(module, "ParallelBeam"):
        beam = module.ParallelBeam(bins, angles, spacing)
        return beam.forward, beam.backward, (0, 0)
    if not hasattr(module, "Radon"):
        raise UserError(f"expected torch_radon with ParallelBeam or Radon, got neither: {_REMEDY}")
    if rows % 2 or columns % 2:
        raise UserError(
            "expected even numbers of rows and columns for the classic torch-radon, whose images "
            f"are squares of {_MULTIPLE}, {2 * _MULTIPLE}, ... pixels, got {rows} x {columns}: "
            "take operator.backend=native"
        )
    edge = _MULTIPLE * math.ceil(max(rows, columns) / _MULTIPLE)
    radon = module.Radon(edge, angles, bins, spacing)
    return radon.forward, radon.backprojection, ((edge - columns) // 2, (edge - rows) // 2)


def _inner(images: Tensor, top: int, left: int) -> Tensor:
    rows, columns = images.shape[-2:]
    return images[..., top : rows - top, left : columns - left]
