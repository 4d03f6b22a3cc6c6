"""Reconstruction by sampling: the reverse diffusion, each step pulled towards the measurements.

All three keep an image z under white noise of standard deviation sigma (z = x_t / gamma_t and
sigma = nu_t / gamma_t in terms of the diffusion), and in each step denoise it, make the result fit
the measurements, and add noise again, of the next smaller standard deviation.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gnclightning.baselines.denoiser import Denoiser, noise_levels
from gnclightning.baselines.least_squares import regularised_solve
from gnclightning.baselines.noise import Noise
from gnclightning.baselines.results import Reconstructed
from gnclightning.operators import LinearOperator
from gnclightning.tensors import expand, norm

SIGMA_MAX, SIGMA_MIN = 100.0, 0.01
"""Range of the noise, on images with values in [0,1]."""

Fit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From z and sigma (B,) to its denoised image, made to fit the measurements better, and the
estimate of the noise of z in units of sigma."""


def diffpir(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    sigma_y: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 40,
    weight: float = 0.5,
    renoise: float = 1.0,
    cg_steps: int = 10,
) -> Reconstructed:
    """DiffPIR: half-quadratic splitting along the reverse diffusion.

    Y. Zhu et al., Denoising diffusion models for plug-and-play image restoration, 2023
    (arXiv 2305.08995), Algorithm 1: the data step minimises
    |A x - y|^2 + weight (sigma_y / sigma)^2 |x - D(z)|^2, here by conjugate gradients.

    Args:
        denoiser: the prior.
        operator: A.
        y: measurements (B, ...).
        sigma_y: standard deviations of their noise, (B,).
        seeds: one per image.
        steps: noise levels.
        weight: lambda.
        renoise: zeta, the part of fresh noise in what is added again; 0: none.
        cg_steps: of each data step.
    """

    def fit(z: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = denoiser(z, sigma)
        rho = weight * (sigma_y.double() / sigma) ** 2
        residual = operator.adjoint(y - operator(denoised))
        x = denoised + regularised_solve(operator, residual, rho, cg_steps)
        return x, (z - x) / expand(sigma, z)

    cost = steps * (2 + 2 * cg_steps)
    return _reverse(operator, y, seeds, steps, renoise, fit, (steps, cost))


def dds(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 40,
    weight: float = 0.1,
    renoise: float = 1.0,
    cg_steps: int = 5,
) -> Reconstructed:
    """DDS: a few conjugate-gradient steps on the data term from each denoised image.

    H. Chung, S. Lee, J. C. Ye, Decomposed diffusion sampler for accelerating large-scale inverse
    problems, 2024 (arXiv 2303.05754), Algorithm 2: conjugate gradients for
    weight/2 |A x - y|^2 + 1/2 |x - D(z)|^2, cut off early; `weight` is in units of one over the
    mean diagonal entry of A*A, so that it means the same for every operator.

    Args:
        denoiser: the prior.
        operator: A.
        y: measurements (B, ...).
        seeds: one per image.
        steps: noise levels.
        weight: gamma.
        renoise: eta^2, the part of fresh noise in what is added again; 0: none.
        cg_steps: of each data step.
    """
    rho = torch.full((len(y),), operator.mean_gain() / weight, dtype=torch.float64, device=y.device)

    def fit(z: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = denoiser(z, sigma)
        residual = operator.adjoint(y - operator(denoised))
        x = denoised + regularised_solve(operator, residual, rho, cg_steps)
        return x, (z - denoised) / expand(sigma, z)

    cost = steps * (2 + 2 * cg_steps)
    return _reverse(operator, y, seeds, steps, renoise, fit, (steps, cost))


def dps(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    weight: float = 3.0,
) -> Reconstructed:
    """DPS: each step of the reverse diffusion, an ancestral one, also descends on |A D(z) - y|.

    H. Chung et al., Diffusion posterior sampling for general noisy inverse problems, 2023
    (arXiv 2209.14687), Algorithm 1. The gradient goes through the denoiser: for an energy prior a
    second derivative of the network. `weight` is divided by |A|, which takes the scale of A and y
    out of it.

    Args:
        denoiser: the prior.
        operator: A.
        y: measurements (B, ...).
        seeds: one per image.
        steps: noise levels.
        weight: zeta.
    """

    def fit(z: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            denoised = denoiser(leaf, sigma)
            mismatch = (operator(denoised) - y).double().flatten(1)
            (gradient,) = torch.autograd.grad(norm(mismatch).sum(), leaf)
        denoised = denoised.detach()
        # A step in x_t = gamma_t z, with gamma_t^2 = 1 / (1 + sigma^2), by the gradient there.
        scale = weight * (1 + sigma**2) / operator.norm()
        return denoised - expand(scale, z) * gradient, (z - denoised) / expand(sigma, z)

    return _reverse(operator, y, seeds, steps, None, fit, (2 * steps, 2 * steps))


@torch.no_grad()
def _reverse(
    operator: LinearOperator,
    y: Tensor,
    seeds: Sequence[int],
    steps: int,
    renoise: float | None,
    fit: Fit,
    cost: tuple[int, int],
) -> Reconstructed:
    """Denoise, fit and add noise again, from white noise to the smallest noise level.

    `renoise` is the part of fresh noise, in variance; None: that of ancestral sampling.
    """
    noise = Noise.of(seeds)
    leading = y.shape[: y.ndim - len(operator.range_shape)]
    x = y.new_zeros(*leading, *operator.domain_shape)
    levels = noise_levels(SIGMA_MAX, SIGMA_MIN, steps, y)
    z = SIGMA_MAX * noise.like(x)
    for index, level in enumerate(levels):
        sigma = level.expand(len(y))
        x, estimate = fit(z, sigma)
        if index + 1 < steps:
            following = float(levels[index + 1])
            part = 1 - (following / float(level)) ** 2 if renoise is None else renoise
            mixed = (1 - part) ** 0.5 * estimate + part**0.5 * noise.like(x)
            z = x + following * mixed
    return Reconstructed(x, *cost)
