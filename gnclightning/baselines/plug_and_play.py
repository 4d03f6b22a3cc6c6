"""Plug-and-play reconstruction: a denoiser in place of a proximal step."""

from collections import deque

import torch
from torch import Tensor

from gnclightning.baselines.denoiser import Denoiser, by_versions, noise_levels
from gnclightning.baselines.least_squares import regularised_solve
from gnclightning.baselines.results import Reconstructed
from gnclightning.operators import LinearOperator


@torch.no_grad()
def plug_and_play(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    sigma_y: Tensor,
    start: Tensor,
    *,
    steps: int = 12,
    sigma_max: float = 2.4,
    sigma_min: float = 0.06,
    weight: float = 0.18,
    cg_steps: int = 5,
    averaged: int = 3,
    symmetric: bool = False,
) -> Reconstructed:
    """Half-quadratic splitting with a denoiser and falling noise levels.

    K. Zhang et al., Plug-and-play image restoration with deep denoiser prior, 2021
    (arXiv 2008.13751), Algorithm 1: in turn minimise
    |A x - y|^2 + weight (sigma_y / sigma)^2 |x - z|^2 by conjugate gradients, and denoise
    z = D(x, sigma). As in the authors' code, each step denoises another flipped or turned version
    where these are as likely; the mean of the last images makes more of that, at no cost.

    Args:
        denoiser: the prior.
        operator: A.
        y: measurements (B, ...).
        sigma_y: standard deviations of their noise, (B,).
        start: first z, (B, C, H, W), such as a filtered back-projection.
        steps: noise levels.
        sigma_max: first noise level.
        sigma_min: last noise level.
        weight: lambda.
        cg_steps: of each data step.
        averaged: the result is the mean of so many denoised images, the last ones.
        symmetric: whether flipped and turned images are as likely.
    """
    denoised, z = by_versions(denoiser, symmetric), start
    last = deque[Tensor](maxlen=averaged)
    for step, level in enumerate(noise_levels(sigma_max, sigma_min, steps, y)):
        sigma = level.expand(len(y))
        rho = weight * (sigma_y.double() / sigma) ** 2
        x = z + regularised_solve(operator, operator.adjoint(y - operator(z)), rho, cg_steps)
        z = denoised(x, sigma, step)
        last.append(z)
    return Reconstructed(torch.stack(list(last)).mean(0), steps, steps * (2 + 2 * cg_steps))
