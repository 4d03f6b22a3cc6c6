"""A diffusion prior as a denoiser of images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.priors import Prior
from gnclightning.sde import SDE
from gnclightning.symmetries import original, version
from gnclightning.tensors import expand


@dataclass(frozen=True)
class Denoiser:
    """Posterior mean of an image seen under white noise, by Tweedie's formula.

    Attributes:
        prior: its score at time t is that of gamma_t times the noisy image.
        sde: gives gamma_t and nu_t.
    """

    prior: Prior
    sde: SDE

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x (B, ...) with noise of standard deviations sigma (B,), float64; 0 gives x."""
        # The score need not exist at t = 0; without noise that of any other time does, times 0.
        t = self.sde.time_of(sigma.where(sigma > 0, 1.0))
        noisy = expand(self.sde.mean_scale(t), x) * x
        pull = expand(sigma * self.sde.std(t), x) * self.prior.score(noisy, t.to(x))
        return x + pull


def by_versions(
    denoiser: Callable[[Tensor, Tensor], Tensor], symmetric: bool
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A denoiser that in each step sees images (B, C, H, W) flipped or turned otherwise.

    A trained prior treats them a little differently; over the steps that evens out. It is given the
    number of the step. Without `symmetric` it sees them as they are.
    """

    def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        if not symmetric:
            return denoiser(x, sigma)
        return original(denoiser(version(x, step), sigma), step)

    return denoise


def noise_levels(largest: float, smallest: float, steps: int, like: Tensor) -> Tensor:
    """Standard deviations that fall evenly in their logarithm, (steps,), float64."""
    ends = torch.tensor([largest, smallest], dtype=torch.float64).log()
    return (
        torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
        .exp()
        .to(like.device)
    )
