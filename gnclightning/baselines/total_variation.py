"""Classical reconstruction to measure a learned prior against: total variation."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator
from gnclightning.tensors import expand, norm, squared_norm, where

_GRADIENT_NORM_SQUARED = 8.0  # bound for forward differences in two dimensions
_NORM_MARGIN = 1.01  # power iteration approaches the norm from below
# Primal step in units of the mean squared column norm of A, which cancels the scale of A and y.
# Chosen on CT (128 x 128, 60 angles), where 400 iterations are ample; denoising fares better.
_STEP = 0.05


class TotalVariationResult(NamedTuple):
    """What `total_variation` found.

    Attributes:
        image: reconstructions (B, C, H, W).
        iterations: iterations spent on each image, (B,) int64; each takes one A and one A*.
        objective: the minimised function at `image`, (B,) float64.
    """

    image: Tensor
    iterations: Tensor
    objective: Tensor


def tv_weight(sigma_y: Tensor, gain: float = 60) -> Tensor:
    """Weight of total variation from the noise level: (B,) -> (B,).

    The weight holds down noise as back-projection leaves it in a pixel: sigma_y times the norm of
    a column of A, in CT with pixel size 1 some sqrt(angles). The factor 1 was fitted there, on
    ELLIPSES phantoms of 128 x 128, where it is the best of seven (docs/results.md). Smaller images,
    whose details have fewer pixels, want less.

    Args:
        sigma_y: standard deviation of each image's measurement noise.
        gain: squared norm of a column of A; in CT the number of angles.
    """
    return math.sqrt(gain) * sigma_y


@torch.no_grad()
def total_variation(
    operator: LinearOperator,
    y: Tensor,
    weight: float | Tensor,
    iterations: int = 400,
    tolerance: float | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
) -> TotalVariationResult:
    """Minimise 1/2 |Ax - y|^2 + weight TV(x) over x >= 0, with isotropic total variation.

    The primal-dual hybrid gradient method (A. Chambolle and T. Pock, J. Math. Imaging Vis. 40,
    2011, Algorithm 1) on A and the gradient stacked, from x = 0.

    Args:
        operator: A on images (C, H, W).
        y: measurements (B, C, ...).
        weight: one for all images, or one per image (B,).
        iterations: number of iterations, for every image unless `tolerance` stops it.
        tolerance: if given, an image is finished, and frozen, once a step changes it by at most
            this fraction of its norm.
        callback: called as callback(iteration, images) after each iteration, counted from 1.

    Raises:
        UserError: if y does not fit the operator, a weight is negative or not finite, or
            `iterations` or `tolerance` is not positive.
    """
    operator.check_range(y)
    weights = _check_arguments(y, weight, iterations, tolerance)
    # Convergence needs step (data_step |A|^2 + gradient_step |grad|^2) <= 1: half for either.
    step = _STEP / operator.mean_gain()
    data_step = 0.5 / (step * (_NORM_MARGIN * operator.norm()) ** 2)
    gradient_step = 0.5 / (step * _GRADIENT_NORM_SQUARED)

    x = operator.adjoint(torch.zeros_like(y))
    extrapolated = x
    data_dual = torch.zeros_like(y)
    gradient_dual = _gradient(x)
    active = torch.ones(len(y), dtype=torch.bool, device=y.device)
    spent = torch.zeros(len(y), dtype=torch.int64, device=y.device)
    for iteration in range(1, iterations + 1):
        residual = operator(extrapolated) - y
        data_dual = (data_dual + data_step * residual) / (1 + data_step)
        gradient_dual = _project(gradient_dual + gradient_step * _gradient(extrapolated), weights)
        descent = operator.adjoint(data_dual) + _gradient_transposed(gradient_dual)
        previous, x = x, where(active, (x - step * descent).clamp_(min=0), x)
        extrapolated = 2 * x - previous
        spent += active
        if callback is not None:
            callback(iteration, x)
        if tolerance is not None:
            active = active & (norm(x - previous) > tolerance * norm(x))
            if not bool(active.any()):
                break
    return TotalVariationResult(x, spent, _objective(operator, x, y, weights))


def _check_arguments(
    y: Tensor, weight: float | Tensor, iterations: int, tolerance: float | None
) -> Tensor:
    """Return the weights as (B,) float64."""
    weights = torch.as_tensor(weight, dtype=torch.float64, device=y.device)
    if weights.shape not in ((), (len(y),)):
        raise UserError(
            f"total_variation: expected one weight, or one for each of {len(y)} images, "
            f"got shape {tuple(weights.shape)}"
        )
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise UserError(f"total_variation: expected finite weights >= 0, got {weights.tolist()}")
    if iterations < 1:
        raise UserError(f"total_variation: expected iterations of at least 1, got {iterations}")
    if tolerance is not None and not tolerance > 0:
        raise UserError(
            f"total_variation: expected a positive tolerance, got {tolerance}: "
            "leave it out to run all iterations"
        )
    return weights.expand(len(y))


def _objective(operator: LinearOperator, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    variation = _length(_gradient(x).double()).flatten(1).sum(1)
    return squared_norm(operator(x) - y) / 2 + weights * variation


def _gradient(x: Tensor) -> Tensor:
    """Forward differences along rows and columns, 0 at the far edges: (B, ...) -> (B, 2, ...)."""
    gradient = x.new_zeros(len(x), 2, *x.shape[1:])
    gradient[:, 0, ..., :-1, :] = x.diff(dim=-2)
    gradient[:, 1, ..., :-1] = x.diff(dim=-1)
    return gradient


def _gradient_transposed(gradient: Tensor) -> Tensor:
    """Exact transpose of `_gradient`."""
    down, right = gradient[:, 0, ..., :-1, :], gradient[:, 1, ..., :-1]
    x = gradient.new_zeros(len(gradient), *gradient.shape[2:])
    x[..., 1:, :] += down
    x[..., :-1, :] -= down
    x[..., 1:] += right
    x[..., :-1] -= right
    return x


def _length(gradient: Tensor) -> Tensor:
    """Length of the pixels' vectors, (B, 2, ...) -> (B, 1, ...).

    Not `vector_norm`, which takes sixty times as long over so short a dimension.
    """
    return torch.hypot(gradient[:, :1], gradient[:, 1:])


def _project(gradient: Tensor, radii: Tensor) -> Tensor:
    """Shorten the pixels' vectors to each image's radius (B,) at most."""
    radius = expand(radii, gradient)
    length = _length(gradient)
    tiny = torch.finfo(gradient.dtype).tiny  # a radius of 0 gives 0, not 0/0
    return gradient * (radius / length.maximum(radius).clamp(min=tiny))
