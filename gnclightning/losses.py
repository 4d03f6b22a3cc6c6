"""Denoising score matching (arXiv 2404.18699, Section 2.2) and the sampling of its times."""

import torch
from torch import Tensor

from gnclightning.priors.base import Prior
from gnclightning.sde import SDE
from gnclightning.tensors import expand


def denoising_score_matching(prior: Prior, sde: SDE, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """nu_t^2 |score(x_t,t) - grad log p(x_t|x_0)|^2, mean over pixels; (B,).

    As grad log p(x_t|x_0) = -noise/nu_t, this is the squared error of -nu_t score as a prediction
    of the noise: 1 for a prior that knows nothing, whatever t.

    Args:
        prior: the prior to be trained.
        sde: its diffusion.
        x: clean images (B, C, H, W).
        t: times (B,).
        noise: standard normal, like `x`.
    """
    score = prior.score(sde.perturb(x, t, noise), t)
    return (expand(sde.std(t), x) * score + noise).square().flatten(1).mean(1)


def stratified_times(
    count: int, t_min: float, skew: float, generator: torch.Generator | None = None
) -> Tensor:
    """`count` times t_min + (1 - t_min) u^skew, one u from each of `count` equal strata.

    Stratification lowers the variance of the gradient; `skew` 1 is uniform (the paper), larger
    values visit small t, where images are decided, more often. float32 on the CPU, shuffled.
    """
    u = (
        torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    ) / count
    return t_min + (1 - t_min) * u**skew
