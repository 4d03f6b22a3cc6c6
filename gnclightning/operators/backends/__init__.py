"""Projectors of other packages behind the convention of the native one (docs/operators.md)."""

from typing import Literal

import torch

from gnclightning.errors import UserError
from gnclightning.operators.backends.astra import (
    AstraKernel,
    astra_cuda_projector,
    astra_projector,
)
from gnclightning.operators.backends.deepinv import deepinv_projector
from gnclightning.operators.backends.torch_radon import torch_radon_projector
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.projector import Projector
from gnclightning.operators.radon import Radon

Backend = Literal["native", "astra", "torch_radon", "deepinv"]


def build_projector(
    geometry: PlanarGeometry,
    backend: Backend = "native",
    device: torch.device | None = None,
    kernel: AstraKernel = "linear",
) -> Projector:
    """The projector of a geometry, float32, with an exact adjoint.

    Args:
        geometry: image, angles, detector and units.
        backend: who computes.
        device: where to compute; None: on the CPU.
        kernel: which of ASTRA's.

    Raises:
        UserError: the package is not there, or does not know the geometry or the device.
    """
    device = device or torch.device("cpu")
    if backend == "astra":
        return astra_projector(geometry, kernel).to(device)
    if backend == "deepinv":
        return deepinv_projector(geometry, device)
    if backend == "torch_radon":
        if device.type != "cuda":
            raise UserError(
                f"expected device=cuda for operator.backend=torch_radon, got {device.type}: take "
                "operator.backend=native"
            )
        return torch_radon_projector(geometry, device)
    return Radon(geometry).to(device)


__all__ = [
    "AstraKernel",
    "Backend",
    "astra_cuda_projector",
    "astra_projector",
    "build_projector",
    "deepinv_projector",
    "torch_radon_projector",
]
