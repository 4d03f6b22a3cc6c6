"""ASTRA's projectors (W. van Aarle et al., Optics Express 24, 2016), as the native one is declared.

ASTRA's s = x cos(theta) + y sin(theta) and its row 0 are ours. Geometries go over as vectors, which
hold offset detectors too.
"""

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.extras import import_extra
from gnclightning.operators.backends.explicit import ExplicitProjector, check_size
from gnclightning.operators.backends.kernels import KernelProjector, matched
from gnclightning.operators.fan_beam import FanBeam2D
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.projector import Projector
from gnclightning.operators.sparse import Rows

AstraKernel = Literal["line", "linear", "strip"]
"""Length of the ray in a pixel; Joseph's interpolation; share of the strip between bin edges."""


def astra_projector(
    geometry: PlanarGeometry, kernel: AstraKernel = "linear", dtype: torch.dtype = torch.float32
) -> Projector:
    """A projector by the matrix of one of ASTRA's CPU kernels; ASTRA rounds it to float32.

    It computes wherever PyTorch does, also on a GPU, and its adjoint is the exact transpose.

    Args:
        geometry: image, angles, detector.
        kernel: see `AstraKernel`; `line` alone for fan beams.
        dtype: float32 or float64.

    Raises:
        UserError: ASTRA is not installed or has no such kernel, or the matrix is too large.
    """
    if kernel not in get_args(AstraKernel):
        raise UserError(f"expected a kernel among {get_args(AstraKernel)}, got {kernel!r}")
    _check_fan(geometry, kernel)
    check_size(geometry)
    astra = _astra()
    with _projector(astra, geometry, kernel) as projector:
        number = astra.projector.matrix(projector)
        try:
            found = astra.matrix.get(number).sorted_indices()
        finally:
            astra.matrix.delete(number)
    fields = (found.indptr, found.indices, found.data)
    pointers, columns, values = (torch.as_tensor(field) for field in fields)
    return ExplicitProjector(geometry, Rows(pointers.int(), columns.int(), values.to(dtype)))


def astra_cuda_projector(geometry: PlanarGeometry) -> Projector:
    """A projector by ASTRA's CUDA kernels, for geometries whose matrix is too large.

    Raises:
        UserError: ASTRA or its GPU is not there; or, as for most geometries, its back-projection
            is not the transpose of its projection, so that no line search could use it.
    """
    if not _astra().use_cuda():
        raise UserError(
            "expected a GPU that ASTRA can use, got none: take the kernel line, linear or strip"
        )
    projector = kernel_projector(geometry, "cuda")
    if not matched(projector):
        raise UserError(
            "expected a back-projection that is the transpose, got ASTRA's for CUDA, which is not: "
            "take the kernel line, linear or strip, whose matrices compute on the GPU too"
        )
    return projector


def kernel_projector(geometry: PlanarGeometry, kernel: str) -> KernelProjector:
    """A projector by one of ASTRA's kernels without its matrix, on the CPU's tensors, unchecked."""
    astra = _astra()
    number = _create(astra, geometry, kernel)
    operator = astra.OpTomo(number)

    def forward(images: Tensor) -> Tensor:
        return torch.stack([torch.as_tensor(operator.FP(x.numpy())) for x in images])

    def backward(sinograms: Tensor) -> Tensor:
        return torch.stack([torch.as_tensor(operator.BP(y.numpy())) for y in sinograms])

    projector = KernelProjector(geometry, forward, backward, torch.device("cpu"))
    weakref.finalize(projector, astra.projector.delete, number)
    return projector


def _astra() -> Any:
    return import_extra(
        "astra", "pip install 'gnclightning[astra]', or take operator.backend=native"
    )


def _check_fan(geometry: PlanarGeometry, kernel: str) -> None:
    # There is no other for geometries as vectors. The strip kernel that knows none is off by up to
    # a quarter of a pixel's weight where the fan is wide (2.5.0).
    if isinstance(geometry, FanBeam2D) and kernel != "line":
        raise UserError(
            f"expected ASTRA's kernel line for a fan beam, got {kernel}: take "
            "operator.kernel=line, or operator.backend=native"
        )


@contextmanager
def _projector(astra: Any, geometry: PlanarGeometry, kernel: str) -> Generator[int]:
    number = _create(astra, geometry, kernel)
    try:
        yield number
    finally:
        astra.projector.delete(number)


def _create(astra: Any, geometry: PlanarGeometry, kernel: str) -> int:
    """A projector within ASTRA, by its number."""
    rows, columns = geometry.image_shape
    width, height = (n * geometry.pixel_size / 2 for n in (columns, rows))
    image = astra.create_vol_geom(rows, columns, -width, width, -height, height)
    on_cpu = isinstance(geometry, FanBeam2D) and kernel != "cuda"
    name = f"{kernel}_fanflat" if on_cpu else kernel
    return astra.create_projector(name, _rays(astra, geometry), image)


def _rays(astra: Any, geometry: PlanarGeometry) -> Any:
    cosines, sines = geometry.directions
    spacing, offset = geometry.detector_spacing, geometry.detector_offset
    # e along the detector, n along the central ray; x and y of each angle.
    e, n = torch.stack([cosines, sines], 1), torch.stack([-sines, cosines], 1)
    if not isinstance(geometry, FanBeam2D):
        vectors = torch.cat([n, -offset * e, spacing * e], 1)
        return astra.create_proj_geom("parallel_vec", geometry.detector_count, vectors.numpy())
    source, detector = geometry.source_distance, geometry.detector_distance
    vectors = torch.cat([-source * n, detector * n - offset * e, spacing * e], 1)
    return astra.create_proj_geom("fanflat_vec", geometry.detector_count, vectors.numpy())
