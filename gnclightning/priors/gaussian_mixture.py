"""Gaussian mixture with exact energy and score at every t: the oracle of the tests and the toy."""

import math

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.sde import SDE


class GaussianMixture:
    """p_t = sum_k w_k N(gamma_t m_k, gamma_t^2 S_k + nu_t^2 I) (arXiv 2404.18699, Section 4.1).

    Args:
        sde: the diffusion that perturbs the mixture.
        means: m_k, (K, n).
        covariances: S_k, (K, n, n), symmetric positive semi-definite.
        weights: w_k, (K,), positive; normalised here. Equal if not given.
    """

    def __init__(self, sde: SDE, means: Tensor, covariances: Tensor, weights: Tensor | None = None):
        if covariances.shape != (*means.shape, means.shape[1]):
            raise UserError(
                f"covariances must have shape {(*means.shape, means.shape[1])} to go with means "
                f"{tuple(means.shape)}, got {tuple(covariances.shape)}"
            )
        self.sde = sde
        self.means = means
        self.eigenvalues, eigenvectors = torch.linalg.eigh(covariances)
        if self.eigenvalues.min() < 0:
            raise UserError("covariances must be positive semi-definite")
        # Multiples of the identity need no eigenbasis, which is most of the work.
        isotropic = bool((self.eigenvalues == self.eigenvalues[:, :1]).all())
        self.eigenvectors = None if isotropic else eigenvectors
        weights = torch.ones_like(means[:, 0]) if weights is None else weights
        self.log_weights = (weights / weights.sum()).log()

    def energy(self, x: Tensor, t: Tensor) -> Tensor:
        """-log p_t(x), normalised; (B, ...), (B,) -> (B,) in float64."""
        return self.energy_and_score(x, t)[0]

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Grad log p_t(x); (B, ...), (B,) -> (B, ...)."""
        return self.energy_and_score(x, t)[1]

    def energy_and_score(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both, in closed form."""
        if bool((t == t[:1]).all()):
            t = t[:1]  # images at one time share the covariances
        gamma, ratio = self.sde.mean_scale(t), self.sde.noise_to_signal(t)
        # On the scale of the image, divided by gamma_t; the batch goes last, where short sums over
        # components cost least.
        points = x.flatten(1).mT / gamma
        density = self._general if self.eigenvectors is not None else self._isotropic
        log_density, pull = density(points, ratio**2)
        energy = len(points) * gamma.log() - log_density
        return energy.double(), -(pull / gamma).mT.reshape(x.shape)

    def curvature(self, t: Tensor) -> Tensor:
        """1 / nu_t^2, the largest that a component can have; (B,) -> (B,)."""
        return self.sde.std(t) ** -2

    def mean_scale(self, t: Tensor) -> Tensor:
        """gamma_t; (B,) -> (B,)."""
        return self.sde.mean_scale(t)

    def _general(self, points: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Log density (B,) of points (n, B), and minus its gradient (n, B).

        Args:
            points: x / gamma_t.
            noise: variance (nu_t / gamma_t)^2 that is added to the covariances, (B,) or (1,).
        """
        assert self.eigenvectors is not None
        offset = points[:, None] - self.means.mT[..., None]
        offset = torch.einsum("kij,ikb->jkb", self.eigenvectors, offset)
        variance = self.eigenvalues.mT[..., None] + noise
        whitened = offset / variance
        exponent = -0.5 * ((offset * whitened).sum(0) + variance.log().sum(0))
        exponent = exponent + self.log_weights[:, None]
        largest = exponent.amax(0)
        joint = (exponent - largest).exp()
        total = joint.sum(0)
        pull = torch.einsum("kij,jkb->ib", self.eigenvectors, joint * whitened)
        return _log_density(total, largest, len(points)), pull / total

    def _isotropic(self, points: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As `_general`, by two matrix products.

        The squared distances |x|^2 - 2 <x, m_k> + |m_k|^2 are linear in (x, |x|^2), and the sums
        over components in their densities.
        """
        size, means = len(points), self.means
        precision = 1 / (self.eigenvalues[:, :1] + noise)
        features = torch.cat([points, points.square().sum(0, keepdim=True)])
        linear = torch.cat([-2 * means, torch.ones_like(means[:, :1])], dim=1)
        exponent = torch.addmm(means.square().sum(1, keepdim=True), linear, features)
        log_height = self.log_weights[:, None] + 0.5 * size * precision.log()
        exponent = torch.addcmul(log_height, exponent, precision, value=-0.5)
        largest = exponent.amax(0)
        joint = (exponent - largest).exp()
        if precision.shape[1] == 1:
            ones = torch.ones_like(precision)
            sums = torch.cat([ones, precision, precision * means], dim=1).mT @ joint
            total, slope, centre = sums[0], sums[1], sums[2:]
        else:
            total, joint = joint.sum(0), joint * precision
            slope, centre = joint.sum(0), means.mT @ joint
        return _log_density(total, largest, size), (points * slope - centre) / total


def _log_density(total: Tensor, largest: Tensor, size: int) -> Tensor:
    """Log of the sum of components, `total` times exp(`largest`), with its constant."""
    return largest + total.log() - 0.5 * size * math.log(2 * math.pi)
