"""From a `ReconstructConfig` to the measurement operator and its direct reconstruction."""

from dataclasses import asdict
from functools import partial

import torch

from gnclightning.config import ReconstructConfig
from gnclightning.config.operator import ProjectionConfig
from gnclightning.operators import (
    LinearOperator,
    PlanarGeometry,
    Projector,
    direct_reconstruction,
    fbp,
    image_operator,
)
from gnclightning.operators.backends import build_projector
from gnclightning.reconstruction.methods import DirectReconstruction


def build_operator(
    config: ReconstructConfig,
    geometry: PlanarGeometry | None,
    image_shape: tuple[int, int],
    device: torch.device,
) -> LinearOperator:
    """A, with lengths in pixels: steps, weights and safeguards do not depend on a unit.

    Args:
        config: the settings.
        geometry: of projections, in any unit; None with other operators.
        image_shape: rows and columns of the image.
        device: that computes.
    """
    operator = config.operator
    if isinstance(operator, ProjectionConfig):
        assert geometry is not None
        return build_projector(geometry.in_pixels(), operator.resolved, device, operator.kernel)
    settings = asdict(operator)
    return image_operator(settings.pop("name"), image_shape, **settings).to(device)


def build_direct(config: ReconstructConfig, operator: LinearOperator) -> DirectReconstruction:
    """The direct reconstruction of the problem."""
    if isinstance(operator, Projector):
        of = partial(fbp, geometry=operator.geometry, filter=config.fbp.filter)
    else:
        of = partial(direct_reconstruction, operator)
    return DirectReconstruction(config.operator.direct, of)


def column_gain(operator: LinearOperator) -> float:
    """Squared norm of a column of A, their mean; for projections the number of angles."""
    if isinstance(operator, Projector):
        return len(operator.geometry.angles)
    return operator.mean_gain()
