"""deepinv's `Tomography` (https://deepinv.github.io), as the native projector is declared.

It turns the image about its middle, bilinearly, and adds up the columns: bins are as wide as
pixels, and the middle of the image is seen in the middle of the detector. Its s and its row 0 are
ours. Images are framed here so that its circle holds all of their pixels: without the circle,
`Tomography` frames them itself, and puts the middle half a pixel off.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from gnclightning.errors import UserError
from gnclightning.extras import import_extra
from gnclightning.memory import check_memory
from gnclightning.operators.backends.kernels import KernelProjector, with_exact_adjoint
from gnclightning.operators.fan_beam import FanBeam2D
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.projector import Projector

_REMEDY = "pip install 'gnclightning[deepinv]', or take operator.backend=native"
_ALIGNED = 1e-6
"""Of a bin, that positions may be off."""


def deepinv_projector(geometry: PlanarGeometry, device: torch.device) -> Projector:
    """A projector by deepinv, with an exact adjoint, float32.

    Args:
        geometry: parallel beams, bins as wide as pixels and in line with the pixels' centres at
            angle 0, and images whose rows and columns differ by an even number.
        device: to compute on.

    Raises:
        UserError: deepinv is not installed, or does not know the geometry; or its grids do not fit
            memory.
    """
    edge, first = _square(geometry)
    bins, size = geometry.detector_count, geometry.pixel_size
    grids = 2 * 4 * len(geometry.angles) * edge**2
    check_memory(grids, f"deepinv's {len(geometry.angles)} turned grids of {edge} x {edge} points")
    tomography = import_extra("deepinv.physics", _REMEDY).Tomography(
        angles=torch.rad2deg(torch.tensor(geometry.angles, dtype=torch.float64)).to(device),
        img_width=edge,
        circle=True,
        adjoint_via_backprop=True,  # its own back-projection is not the transpose
        normalize=False,
        device=device,
    )
    top, left = ((edge - length) // 2 for length in geometry.image_shape)

    # Negative padding cuts off.
    def forward(images: Tensor) -> Tensor:
        framed = pad(images[:, None], (left, left, top, top))
        sinograms = tomography.A(framed)[:, 0].mT
        return size * pad(sinograms, (-first, first + bins - edge)).contiguous()

    def backward(sinograms: Tensor) -> Tensor:
        framed = pad(sinograms, (first, edge - first - bins))
        images = tomography.A_adjoint(framed.mT[:, None].contiguous())[:, 0]
        return size * pad(images, (-left, -left, -top, -top)).contiguous()

    return with_exact_adjoint(KernelProjector(geometry, forward, backward, device))


def _square(geometry: PlanarGeometry) -> tuple[int, int]:
    """Edge of the square whose circle holds the image; of its bins, the number of our first."""
    if isinstance(geometry, FanBeam2D):
        raise UserError(
            "expected parallel beams for deepinv, got a fan beam: take operator.backend=native"
        )
    rows, columns = geometry.image_shape
    if (rows - columns) % 2:
        raise UserError(
            "expected an even difference of rows and columns for deepinv, whose images are square, "
            f"got {rows} x {columns}: take operator.backend=native"
        )
    spacing, size, unit = geometry.detector_spacing, geometry.pixel_size, geometry.unit
    if abs(spacing / size - 1) > _ALIGNED:
        raise UserError(
            f"expected geometry.detector_spacing={size:g} for deepinv, whose bins are as wide as "
            f"pixels, got {spacing:g} {unit}: give it, or take operator.backend=native"
        )
    edge = math.ceil(math.hypot(rows - 1, columns - 1)) + 2
    edge += (edge - rows) % 2
    first = (edge - geometry.detector_count) / 2 - geometry.detector_offset / spacing
    if abs(first - round(first)) > _ALIGNED:
        kind = "odd" if rows % 2 else "even"
        raise UserError(
            f"expected an {kind} geometry.detector_count for deepinv, as {rows}, the image's rows, "
            f"and whole bins of geometry.detector_offset, got {geometry.detector_count} bins and "
            f"{geometry.detector_offset:g} {unit}: take operator.backend=native"
        )
    return edge, round(first)
