"""What all operators of line integrals share, whoever computes them."""

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator
from gnclightning.operators.geometry import PlanarGeometry


class Projector(LinearOperator):
    """Line integrals of an image along the rays of a parallel-beam or fan-beam geometry.

    Images (..., rows, columns) in 1/length give dimensionless sinograms (..., angles, detectors),
    with the orientation, centre and units of `geometry`; nothing is rescaled. docs/operators.md
    has the conventions, to which tests hold every subclass.

    Args:
        geometry: image, angles, detector and units.
        dtype: float32 or float64.

    Raises:
        UserError: if `dtype` is another, or an input has the wrong shape, dtype or device.
    """

    def __init__(self, geometry: PlanarGeometry, dtype: torch.dtype = torch.float32) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise UserError(
                f"{type(self).__name__}: expected dtype float32 or float64, got {dtype}"
            )
        super().__init__(geometry.image_shape, geometry.range_shape, dtype)
        self.geometry = geometry

    def _check(self, tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
        super()._check(tensor, shape, name)
        if tensor.dtype != self.dtype or tensor.device != self.device:
            raise UserError(
                f"expected {name} as {self.dtype} on {self.device}, got {tensor.dtype} on "
                f"{tensor.device}: convert it, or the operator, with .to(...)"
            )
