"""Projections and back-projections of 60 angles, by whom they can be had from."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.operators.backends import astra_projector
from gnclightning.operators.joseph import expected_entries

ANGLES, SIZES, BATCHES = 60, (128, 256, 512), (1, 8, 32)
WAYS = ("forward", "adjoint")
Pair = tuple[Callable[[], Any], Callable[[], Any]]


@pytest.fixture
def geometry(size: int, tiny: bool) -> ParallelBeam2D:
    """The geometry, of a sixteenth of the size if only the way is tried."""
    return ParallelBeam2D.for_image(size // 16 if tiny else size, ANGLES)


def test_stream(measure: Callable[..., Any], device: torch.device, tiny: bool) -> None:
    """Read memory that no cache holds."""
    data = torch.ones(2 ** (16 if tiny else 27), device=device)
    measure(data.sum, bytes=data.nbytes)


@pytest.mark.parametrize("size", SIZES)
def test_build(measure: Callable[..., Any], geometry: ParallelBeam2D, device: torch.device) -> None:
    """Build both matrices."""
    operator = Radon(geometry)
    held = sum(buffer.nbytes for buffer in operator.buffers())
    whole = 2 * 8 * expected_entries(geometry)
    measure(lambda: Radon(geometry).to(device), rounds=3, bytes=held, whole=whole)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("who", ["native", "whole matrix"])
def test_batched(
    measure: Callable[..., Any],
    geometry: ParallelBeam2D,
    device: torch.device,
    who: str,
    size: int,
    batch: int,
    way: str,
) -> None:
    """Ours, and the whole matrix of ASTRA's Joseph kernel with PyTorch's sparse product."""
    if who == "native":
        operator = Radon(geometry)
    else:
        pytest.importorskip("astra")
        operator = astra_projector(geometry, "linear")
    operator = operator.to(device)
    x = torch.rand(batch, 1, *geometry.image_shape, device=device)
    y = operator(x)
    measure((lambda: operator(x)) if way == "forward" else (lambda: operator.adjoint(y)))


def astra_kernels(kernel: str) -> Callable[[ParallelBeam2D, np.ndarray, np.ndarray], Pair]:
    """ASTRA's own CPU kernels."""

    def pair(geometry: ParallelBeam2D, x: np.ndarray, y: np.ndarray) -> Pair:
        astra = pytest.importorskip("astra")
        volume = astra.create_vol_geom(*geometry.image_shape)
        angles, spacing = np.array(geometry.angles), geometry.detector_spacing
        rays = astra.create_proj_geom("parallel", spacing, geometry.detector_count, angles)
        operator = astra.OpTomo(astra.create_projector(kernel, rays, volume))
        return lambda: operator.FP(x), lambda: operator.BP(y)

    return pair


def scikit_image(geometry: ParallelBeam2D, x: np.ndarray, y: np.ndarray) -> Pair:
    """Rotates the image; its own detector. The back-projection is the unfiltered one."""
    transform = pytest.importorskip("skimage.transform")
    degrees = np.rad2deg(geometry.angles)
    seen = transform.radon(x, degrees, circle=False)
    return (
        lambda: transform.radon(x, degrees, circle=False),
        lambda: transform.iradon(seen, degrees, filter_name=None, circle=False),
    )


def deepinv(geometry: ParallelBeam2D, x: np.ndarray, y: np.ndarray) -> Pair:
    """Its `Tomography`, with the adjoint that is the transpose."""
    physics = pytest.importorskip("deepinv.physics").Tomography(
        angles=ANGLES,
        img_width=geometry.image_shape[0],
        circle=False,
        normalize=False,
        adjoint_via_backprop=True,
    )
    image: Tensor = torch.from_numpy(x)[None, None]
    seen = physics.A(image)
    return lambda: physics.A(image), lambda: physics.A_adjoint(seen)


OTHERS = {
    "ASTRA linear": astra_kernels("linear"),
    "ASTRA line": astra_kernels("line"),
    "ASTRA strip": astra_kernels("strip"),
    "scikit-image": scikit_image,
    "deepinv": deepinv,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("who", OTHERS)
def test_one_image(
    measure: Callable[..., Any], geometry: ParallelBeam2D, who: str, size: int, way: str
) -> None:
    """Packages that take one image at a time, on the CPU."""
    rng = np.random.default_rng(0)
    x, y = (rng.random(s, np.float32) for s in (geometry.image_shape, geometry.range_shape))
    forward, adjoint = OTHERS[who](geometry, x, y)
    measure(forward if way == "forward" else adjoint, rounds=3)


@pytest.mark.parametrize("size", [512])
def test_many_angles(
    measure: Callable[..., Any], size: int, tiny: bool, device: torch.device
) -> None:
    """512 x 512 pixels and 720 angles; what memory the process takes is measured apart."""
    operator = Radon(ParallelBeam2D.for_image(size // 16 if tiny else size, 720)).to(device)
    x = torch.rand(1, 1, *operator.domain_shape, device=device)
    y = operator(x)
    held = sum(buffer.nbytes for buffer in operator.buffers())
    measure(lambda: operator.adjoint(operator(x)), rounds=3, bytes=held, rays=math.prod(y.shape))
