"""What a solver may ask of a prior, and the signs, said once.

R(x,t) = -log p_t(x) up to a constant is the *energy*; the *score* is its negative gradient:

    energy(x, t) = -log p_t(x) + const(t)        (B,), float64
    score(x, t)  = -d energy(x, t) / d x         like x

x has shape (B, ...), t has shape (B,).
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gnclightning.sde import SDE
from gnclightning.tensors import expand


@runtime_checkable
class Prior(Protocol):
    """A time-dependent score, grad log p_t."""

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, ...), (B,) -> (B, ...)."""
        ...

    def curvature(self, t: Tensor) -> Tensor:
        """Curvature of the energy that the noise gives it, (B,) -> (B,); 1/nu_t^2 for -log p_t.

        Preconditioners assume it in directions of which the measurement knows nothing.
        """
        ...

    def mean_scale(self, t: Tensor) -> Tensor:
        """The factor of x_0 in the mean of the noisy images that x stands for, (B,) -> (B,)."""
        ...


@runtime_checkable
class EnergyPrior(Prior, Protocol):
    """A prior whose energy can be evaluated, so that a line search needs no integrals."""

    def energy(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, ...), (B,) -> (B,) in float64."""
        ...

    def energy_and_score(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both at the cost of one forward and one backward pass."""
        ...


class ScaledPrior:
    """The score of R(x,t) = -log p_t(gamma_t x), the Gaussian homotopy of the theory.

    The published experiments evaluate -log p_t(x) instead, which pulls to N(0,I) at t = 1. For a
    variance-preserving SDE the two differ by the mean scale gamma_t, close to 1 for small t.
    """

    def __init__(self, prior: Prior, sde: SDE):
        self._prior = prior
        self._sde = sde

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """-d energy / d x; the chain rule brings a factor gamma_t."""
        gamma = expand(self._sde.mean_scale(t), x)
        return gamma * self._prior.score(gamma * x, t)

    def curvature(self, t: Tensor) -> Tensor:
        """The chain rule brings a factor gamma_t^2."""
        return self._sde.mean_scale(t) ** 2 * self._prior.curvature(t)

    def mean_scale(self, t: Tensor) -> Tensor:
        """1: gamma_t x, not x, is the noisy image."""
        return torch.ones_like(t)


class ScaledEnergy(ScaledPrior):
    """R(x,t) = -log p_t(gamma_t x) itself, of a prior with an energy."""

    def __init__(self, prior: EnergyPrior, sde: SDE):
        super().__init__(prior, sde)
        self._energy = prior

    def energy(self, x: Tensor, t: Tensor) -> Tensor:
        """-log p_t(gamma_t x) + const, (B,)."""
        return self._energy.energy(expand(self._sde.mean_scale(t), x) * x, t)

    def energy_and_score(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both, from one evaluation of the underlying prior."""
        gamma = expand(self._sde.mean_scale(t), x)
        energy, score = self._energy.energy_and_score(gamma * x, t)
        return energy, gamma * score


def differentiable_copy(x: Tensor) -> Tensor:
    """A leaf equal to `x` that autograd can follow, also where `x` is an inference tensor."""
    with torch.inference_mode(False):
        return x.detach().clone().requires_grad_()
