"""Forward diffusions dx = f(x,t) dt + g(t) dw with affine drift (arXiv 2404.18699, eq. 4).

Each is given by two functions of time, the mean scale gamma_t and the standard deviation nu_t of
the transition kernel p(x_t | x_0) = N(gamma_t x_0, nu_t^2 I); everything else follows from them.
Times are tensors of shape (B,); results have the same shape and dtype.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.tensors import expand


@dataclass(frozen=True)
class SDE(ABC):
    """A forward diffusion on times in (0, 1]."""

    @abstractmethod
    def mean_scale(self, t: Tensor) -> Tensor:
        """gamma_t, the factor of x_0 in the mean of x_t; (B,) -> (B,)."""

    @abstractmethod
    def std(self, t: Tensor) -> Tensor:
        """nu_t, the standard deviation of x_t given x_0; (B,) -> (B,)."""

    @abstractmethod
    def drift_rate(self, t: Tensor) -> Tensor:
        """The factor a(t) in the drift f(x,t) = a(t) x, which is d log gamma_t / dt; (B,)."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Tensor:
        """g(t); (B,) -> (B,). Satisfies d nu_t^2 / dt = 2 a(t) nu_t^2 + g(t)^2."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x,t); x (B, ...), t (B,)."""
        return expand(self.drift_rate(t), x) * x

    def noise_to_signal(self, t: Tensor) -> Tensor:
        """nu_t / gamma_t, the noise level on the scale of the image; (B,) -> (B,)."""
        return self.std(t) / self.mean_scale(t)

    @abstractmethod
    def time_of(self, ratio: Tensor) -> Tensor:
        """The time whose `noise_to_signal` is `ratio` >= 0; (B,) -> (B,)."""

    def marginal_prob(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, ...) and standard deviation (B,) of x_t given x_0 = `x`."""
        return expand(self.mean_scale(t), x) * x, self.std(t)

    def perturb(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = gamma_t x + nu_t noise; x and noise (B, ...), t (B,)."""
        mean, std = self.marginal_prob(x, t)
        return mean + expand(std, x) * noise

    def prior_sampling(
        self, shape: Sequence[int], generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from N(0, nu_1^2 I), the limit of x_t at t = 1; float32 on the CPU."""
        return float(self.std(torch.ones(1))) * torch.randn(*shape, generator=generator)

    def to_dict(self) -> dict[str, Any]:
        """Name and constants, for the metadata of a checkpoint; see `from_dict`."""
        return {"name": NAMES[type(self)], **asdict(self)}


@dataclass(frozen=True)
class VPSDE(SDE):
    """Variance preserving: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, beta linear in t."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise UserError(
                f"VPSDE needs 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}"
            )

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def _log_mean_scale(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def mean_scale(self, t: Tensor) -> Tensor:
        """exp(-1/2 int_0^t beta)."""
        return torch.exp(self._log_mean_scale(t))

    def std(self, t: Tensor) -> Tensor:
        """sqrt(1 - gamma_t^2), by expm1: at t = 1e-5 the difference would lose all digits."""
        return torch.sqrt(-torch.expm1(2 * self._log_mean_scale(t)))

    def time_of(self, ratio: Tensor) -> Tensor:
        """Solves int_0^t beta = log(1 + ratio^2), a quadratic in t."""
        integral = torch.log1p(ratio**2)
        growth = 2 * (self.beta_max - self.beta_min)
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + growth * integral))

    def drift_rate(self, t: Tensor) -> Tensor:
        """-beta(t)/2."""
        return -0.5 * self._beta(t)

    def diffusion(self, t: Tensor) -> Tensor:
        """sqrt(beta(t))."""
        return torch.sqrt(self._beta(t))


@dataclass(frozen=True)
class _DriftFree(SDE):
    """dx = g(t) dw: x_t = x_0 + nu_t z, a Gaussian homotopy."""

    def mean_scale(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def drift_rate(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(t)


@dataclass(frozen=True)
class VESDE(_DriftFree):
    """Variance exploding with nu_t^2 = sigma_min^2 ((sigma_max/sigma_min)^(2t) - 1)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise UserError(
                f"VESDE needs 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}"
            )

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def std(self, t: Tensor) -> Tensor:
        """nu_t, exactly 0 at t = 0."""
        return self.sigma_min * torch.sqrt(torch.expm1(2 * self._log_ratio * t))

    def time_of(self, ratio: Tensor) -> Tensor:
        """The inverse of `std`."""
        return torch.log1p((ratio / self.sigma_min) ** 2) / (2 * self._log_ratio)

    def diffusion(self, t: Tensor) -> Tensor:
        """sigma_min (sigma_max/sigma_min)^t sqrt(2 log(sigma_max/sigma_min))."""
        return self.sigma_min * torch.exp(self._log_ratio * t) * math.sqrt(2 * self._log_ratio)


@dataclass(frozen=True)
class ExponentialVESDE(_DriftFree):
    """dx = sigma^t dw, the toy's diffusion (Section 4.1): nu_t^2 = (sigma^2t - 1)/(2 log sigma)."""

    sigma: float = 10.0

    def __post_init__(self) -> None:
        if self.sigma <= 1:
            raise UserError(f"ExponentialVESDE needs sigma > 1, got {self.sigma}")

    def std(self, t: Tensor) -> Tensor:
        """nu_t, exactly 0 at t = 0."""
        rate = 2 * math.log(self.sigma)
        return torch.sqrt(torch.expm1(rate * t) / rate)

    def time_of(self, ratio: Tensor) -> Tensor:
        """The inverse of `std`."""
        rate = 2 * math.log(self.sigma)
        return torch.log1p(rate * ratio**2) / rate

    def diffusion(self, t: Tensor) -> Tensor:
        """sigma^t."""
        return torch.exp(math.log(self.sigma) * t)


NAMES: dict[type[SDE], str] = {VPSDE: "vp", VESDE: "ve", ExponentialVESDE: "exponential_ve"}


def from_dict(values: dict[str, Any]) -> SDE:
    """Build the SDE that `SDE.to_dict` described."""
    constants = dict(values)
    name = constants.pop("name", None)
    for kind, known in NAMES.items():
        if known == name:
            return kind(**constants)
    raise UserError(f"SDE name must be one of {sorted(NAMES.values())}, got {name!r}")
