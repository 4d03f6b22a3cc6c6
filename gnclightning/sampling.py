"""Samples of a diffusion prior, and its denoised images: what it has learnt, for the eye."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from gnclightning.priors.base import Prior
from gnclightning.sde import SDE
from gnclightning.tensors import expand


def denoise(prior: Prior, sde: SDE, x: Tensor, t: Tensor) -> Tensor:
    """Posterior mean of x_0 given x_t = `x`, by Tweedie's formula; (B, ...), (B,) -> (B, ...)."""
    gamma, nu = expand(sde.mean_scale(t), x), expand(sde.std(t), x)
    return (x + nu**2 * prior.score(x, t)) / gamma


@torch.no_grad()
def draw_samples(
    prior: Prior,
    sde: SDE,
    shape: Sequence[int],
    seeds: Sequence[int],
    steps: int = 100,
    t_min: float = 1e-3,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Ancestral sampling of the reverse SDE (Ho et al. 2020), (len(seeds), *shape), float32.

    From t = 1 to `t_min` in steps that divide the logarithm of nu_t / gamma_t evenly; each draws
    from p(x_s | x_t, x_0) with the denoised image as x_0. The last image is denoised.

    Args:
        prior: gives the score.
        sde: its diffusion.
        shape: of one image.
        seeds: one per image, which depends on its own only.
        steps: evaluations of the score but one.
        t_min: where to end.
        device: that of the prior.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def noise() -> Tensor:
        return torch.stack([torch.randn(*shape, generator=g) for g in generators]).to(device)

    ends = sde.noise_to_signal(torch.tensor([1.0, t_min], dtype=torch.float64))
    first, last = ends.log()
    parts = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    times = sde.time_of(torch.lerp(first, last, parts).exp())
    x = float(sde.std(times[:1])) * noise()
    for t, s in pairwise(times.split(1)):
        scale = sde.mean_scale(t) / sde.mean_scale(s)
        added = sde.std(t) ** 2 - (scale * sde.std(s)) ** 2
        kept, clean = scale * sde.std(s) ** 2, sde.mean_scale(s) * added
        mean = float(kept) * x + float(clean) * denoise(prior, sde, x, _times(t, x))
        x = mean / float(sde.std(t) ** 2) + float(sde.std(s) * added.sqrt() / sde.std(t)) * noise()
    return denoise(prior, sde, x, _times(times[-1:], x))


def _times(t: Tensor, x: Tensor) -> Tensor:
    return t.to(x).expand(len(x))
