"""Denoising score matching (arXiv 2404.18699, Section 2.2) and the sampling of its times."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gnclightning.priors.base import Prior
from gnclightning.sde import SDE
from gnclightning.tensors import expand


def denoising_score_matching(
    prior: Prior,
    sde: SDE,
    x: Tensor,
    t: Tensor,
    noise: Tensor,
    excess: Tensor | None = None,
    teacher: Prior | None = None,
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
        teacher: a prior whose score takes the place of -s noise / nu_t (distillation): the error is
            then 0 for a prior that has learnt all it knows.
    """
    s = torch.ones_like(t) if excess is None else excess
    noise = expand(s, noise) * noise
    noisy, std = sde.perturb(x, t, noise), expand(sde.std(t), x)
    if teacher is not None:
        noise = -std * teacher.score(noisy, t).detach()
    error = (std * prior.score(noisy, t) + noise).square().flatten(1).mean(1)
    return error / s**2


class TimeSampling(Protocol):
    """Draws the times of a training batch."""

    def __call__(self, sde: SDE, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` times, float32 on the CPU, in random order."""
        ...


@dataclass(frozen=True)
class PowerTimes:
    """t_min + (1 - t_min) u^skew.

    Attributes:
        t_min: smallest time.
        skew: 1 is uniform (the paper), larger values visit small t, where images are decided,
            more often.
    """

    t_min: float = 1e-5
    skew: float = 3.0

    def __call__(self, sde: SDE, count: int, generator: torch.Generator | None = None) -> Tensor:
        """See `TimeSampling`."""
        return self.t_min + (1 - self.t_min) * _strata(count, generator) ** self.skew


@dataclass(frozen=True)
class LognormalTimes:
    """Times whose noise-to-signal ratio nu_t / gamma_t is lognormal (Karras et al. 2022, Table 1).

    Attributes:
        median: of the ratio; half the times are before it.
        spread: standard deviation of the logarithm of the ratio.
        t_min: times before it are drawn as it, those after 1 as 1.
    """

    median: float = 0.15
    spread: float = 1.2
    t_min: float = 1e-5

    def __call__(self, sde: SDE, count: int, generator: torch.Generator | None = None) -> Tensor:
        """See `TimeSampling`."""
        normal = torch.special.ndtri(_strata(count, generator).double())
        ratio = self.median * torch.exp(self.spread * normal)
        return sde.time_of(ratio).clamp(self.t_min, 1.0).float()


@dataclass(frozen=True)
class LogUniformTimes:
    """Times whose noise-to-signal ratio nu_t / gamma_t is log-uniform: all levels alike.

    Attributes:
        t_min: smallest time; the largest is 1.
    """

    t_min: float = 1e-5

    def __call__(self, sde: SDE, count: int, generator: torch.Generator | None = None) -> Tensor:
        """See `TimeSampling`."""
        ends = torch.tensor([self.t_min, 1.0], dtype=torch.float64)
        low, high = sde.noise_to_signal(ends).log()
        ratio = torch.exp(low + (high - low) * _strata(count, generator).double())
        return sde.time_of(ratio).clamp(self.t_min, 1.0).float()


_SNR_CAP = 5.0


def min_snr_weight(sde: SDE, t: Tensor) -> Tensor:
    """min(1, 5 / SNR) with SNR = (gamma_t / nu_t)^2, (B,) (Hang et al. 2023, "Min-SNR-gamma").

    In terms of the denoised image this is a weight of min(SNR, 5): small noise counts for less
    than it does in the error of the noise.
    """
    return (_SNR_CAP * sde.noise_to_signal(t) ** 2).clamp(max=1.0)


def _strata(count: int, generator: torch.Generator | None) -> Tensor:
    """One uniform number from each of `count` equal parts of (0, 1), in random order.

    Stratification lowers the variance of the gradient.
    """
    places = torch.randperm(count, generator=generator)
    return (places + torch.rand(count, generator=generator)) / count


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
