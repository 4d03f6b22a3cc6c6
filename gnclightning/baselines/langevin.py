"""Samples of the posterior: annealed Langevin dynamics with the solver's preconditioner."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from gnclightning.baselines.denoiser import Denoiser, by_versions, noise_levels
from gnclightning.baselines.least_squares import regularised_solve
from gnclightning.baselines.noise import Noise
from gnclightning.baselines.results import Reconstructed
from gnclightning.operators import LinearOperator
from gnclightning.tensors import expand


@torch.no_grad()
def langevin(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    sigma_y: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 60,
    sigma_max: float = 0.5,
    sigma_min: float = 0.01,
    cg_steps: int = 10,
    symmetric: bool = False,
) -> Reconstructed:
    """Draw from the posterior by annealed Langevin dynamics, preconditioned.

    The image z follows p_sigma(z) exp(-|A z - y|^2 / (2 sigma_y^2)), p_sigma being the prior under
    white noise of standard deviation sigma, which falls to `sigma_min` (Y. Song, S. Ermon, 2019,
    arXiv 1907.05600; A. Jalal et al., 2021, arXiv 2108.01368); the sample is the last z, denoised.
    A step of length 1 with the preconditioner M = (A*A / sigma_y^2 + I / sigma^2)^-1 solves

        (A*A + rho I) d = A*(y + sigma_y n_1 - A z) + rho (D(z) + sigma n_2 - z),

    rho = (sigma_y / sigma)^2, by conjugate gradients: half-quadratic splitting with perturbed
    measurements and a perturbed denoised image. sigma_y A* n_1 + rho sigma n_2 has the covariance
    that the step's noise needs (G. Papandreou, A. Yuille, NeurIPS 2010). Consecutive steps share
    half of the variance of their noise, (e_k + e_(k+1)) / sqrt(2) in place of sqrt(2) e_k, which
    leaves no error of the step's length where densities are Gaussian (B. Leimkuhler, C. Matthews,
    2013, arXiv 1203.5428); elsewhere it vanishes with sigma, as M does. Then z goes on to the next
    noise level as the reverse diffusion would (Y. Song et al., 2021, arXiv 2011.13456, predictor
    and corrector), so that less is left for Langevin steps to correct. What is left is of the
    order of one over the number of steps: docs/baselines.md.

    Args:
        denoiser: the prior.
        operator: A.
        y: measurements (B, ...).
        sigma_y: standard deviations of their noise, (B,), positive.
        seeds: one per image.
        steps: noise levels; one step for each but the last, whose image is denoised.
        sigma_max: first noise level.
        sigma_min: last noise level, which should be well below the error of a reconstruction.
        cg_steps: of each step.
        symmetric: whether flipped and turned images (B, C, H, W) are as likely. Then each step sees
            another version.
    """
    denoised = by_versions(denoiser, symmetric)
    noise = Noise.of(seeds)
    leading = y.shape[: y.ndim - len(operator.range_shape)]
    z = sigma_max * noise.like(y.new_empty(*leading, *operator.domain_shape))
    shares = noise.like(y), noise.like(z)
    levels = noise_levels(sigma_max, sigma_min, steps, y)
    for step, (level, following) in enumerate(pairwise(levels)):
        sigma = level.expand(len(y))
        rho = (sigma_y.double() / sigma) ** 2
        pull = denoised(z, sigma, step) - z
        fresh = noise.like(y), noise.like(z)
        n_y, n_z = ((old + new) / 2**0.5 for old, new in zip(shares, fresh, strict=True))
        shares = fresh
        misfit = y + expand(sigma_y, y) * n_y - operator(z)
        b = operator.adjoint(misfit) + expand(rho, z) * (pull + float(level) * n_z)
        z = z + regularised_solve(operator, b, rho, cg_steps) + float(1 - following / level) * pull
    x = denoised(z, levels[-1].expand(len(y)), steps - 1)
    return Reconstructed(x, steps, (steps - 1) * (2 + 2 * cg_steps))
