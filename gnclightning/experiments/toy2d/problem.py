"""The problem of Section 4.1: a Gaussian mixture in the plane and one equation, x_1 + x_2 = 2.

The objective is the paper's with alpha_t = 5, times 0.01: at full scale the paper's step size 1
diverges, since t |A*A| reaches 20.
"""

import torch
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import Matrix
from gnclightning.priors import GaussianMixture
from gnclightning.sde import ExponentialVESDE

T_MIN = 1e-3
SIDE = 10.0
"""Starts and means lie in the square [-SIDE, SIDE]^2."""
_SCALE, _ALPHA, _SIGMA = 1e-2, 5.0, 10.0
_COMPONENTS, _SEED = 5, 2
_TRUE_MEAN, _TRUE_VARIANCE = 1.0, 0.1


def mixture() -> GaussianMixture:
    """The instance behind the paper's figure, five equally weighted isotropic Gaussians; float64.

    Drawn with PyTorch's generator in float32, in this order: five weights that are not used, five
    means, five variances. The first mean and variance are then replaced by the true image's.
    """
    generator = torch.Generator().manual_seed(_SEED)
    torch.rand(_COMPONENTS, generator=generator)
    means = torch.stack([torch.rand(2, generator=generator) for _ in range(_COMPONENTS)])
    means = (means * 2 - 1) * SIDE
    variances = torch.stack([2 * torch.rand(1, generator=generator) for _ in range(_COMPONENTS)])
    means[0] = _TRUE_MEAN
    means, variances = means.double(), variances.double()
    variances[0] = _TRUE_VARIANCE
    covariances = variances[..., None] * torch.eye(2, dtype=torch.float64)
    return GaussianMixture(ExponentialVESDE(_SIGMA), means, covariances)


def objective(count: int) -> GraduatedObjective:
    """F(., t) for `count` points, float64."""
    prior = mixture()
    matrix = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([2.0, 0.0], dtype=torch.float64)
    return GraduatedObjective(
        Matrix(_SCALE**0.5 * matrix),
        batch_last((_SCALE**0.5 * y).expand(count, 2)),
        prior,
        Alpha.constant(prior.sde, _SCALE * _ALPHA),
        T_MIN,
        cg_steps=2,  # exact in the plane
    )


def start_grid(side: int) -> Tensor:
    """Evenly spaced points of the square, (side^2, 2) float64; the second coordinate runs first."""
    axis = torch.linspace(-SIDE, SIDE, side, dtype=torch.float64)
    return batch_last(torch.cartesian_prod(axis, axis))


def batch_last(points: Tensor) -> Tensor:
    """The same (B, 2) with the batch last in memory, see `tensors.take`."""
    return points.mT.contiguous().mT
