"""Denoising score matching (arXiv 2404.18699, Section 2.2) and the sampling of its times."""

import torch
from torch import Tensor

from gnclightning.priors.base import Prior
from gnclightning.sde import SDE
from gnclightning.tensors import expand


def denoising_score_matching(
    prior: Prior, sde: SDE, x: Tensor, t: Tensor, noise: Tensor, excess: Tensor | None = None
) -> Tensor:
    """nu_t^2 |score(x_t,t) - grad log p_t(x_t|x_0)|^2, mean over pixels; (B,).

    As grad log p_t(x_t|x_0) = -noise/nu_t, this is the squared error of -nu_t score as a prediction
    of the noise: 1 for a prior that knows nothing, whatever t.

    With `excess` s the image holds s times the noise of level t, and the target is all of it:
    s noise / nu_t is the gradient of |x - gamma_t x_0|^2 / (2 nu_t^2), which -log p_t is about far
    from the data. Plain score matching (s = 1) never sees such images, and the energies that it
    trains fall off there. The error is relative to s.

    Args:
        prior: the prior to be trained.
        sde: its diffusion.
        x: clean images (B, C, H, W).
        t: times (B,).
        noise: standard normal, like `x`.
        excess: s >= 1, (B,); 1 if not given.
    """
    s = torch.ones_like(t) if excess is None else excess
    noise = expand(s, noise) * noise
    score = prior.score(sde.perturb(x, t, noise), t)
    error = (expand(sde.std(t), x) * score + noise).square().flatten(1).mean(1)
    return error / s**2


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


def excess_noise(
    sde: SDE, t: Tensor, share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Factors s for `denoising_score_matching`, (B,) float32 on the CPU.

    For the given share of images log s is uniform between 0 and -log nu_t, so that the noise is
    between nu_t and 1, that of the random starts of the solvers; for the others s = 1.
    """
    uniform = torch.rand(2, len(t), generator=generator)
    s = (-uniform[0] * sde.std(t).log()).exp().clamp(min=1.0)
    return torch.where(uniform[1] < share, s, 1.0)
