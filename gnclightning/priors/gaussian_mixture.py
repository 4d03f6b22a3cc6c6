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
        if isotropic:
            self.eigenvalues = self.eigenvalues[:, :1]
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
        gamma = self.sde.mean_scale(t)
        log_joint, whitened = self._components((x.flatten(1).mT / gamma), t)
        # The score needs the same exponentials as the energy's logarithm of their sum.
        largest = log_joint.amax(0)
        joint = (log_joint - largest).exp()
        total = joint.sum(0)
        pulls = joint * whitened
        if self.eigenvectors is None:
            pull = pulls.sum(1)
        else:
            pull = torch.einsum("kij,jkb->ib", self.eigenvectors, pulls)
        energy = len(pull) * gamma.log() - largest - total.log()
        return energy.double(), -(pull / (gamma * total)).mT.reshape(x.shape)

    def curvature(self, t: Tensor) -> Tensor:
        """1 / nu_t^2, the largest that a component can have; (B,) -> (B,)."""
        return self.sde.std(t) ** -2

    def mean_scale(self, t: Tensor) -> Tensor:
        """gamma_t; (B,) -> (B,)."""
        return self.sde.mean_scale(t)

    def _components(self, points: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Log(w_k N_k) (K, B) and C_k^-1 (x - m_k) in the eigenbases (n, K, B), C_k = S_k + s^2 I.

        `points` (n, B) and the noise level s are on the scale of the image, divided by gamma_t. The
        batch goes last, where short sums over components cost least.
        """
        size = len(points)
        offset = points[:, None] - self.means.mT[..., None]
        if self.eigenvectors is not None:
            offset = torch.einsum("kij,ikb->jkb", self.eigenvectors, offset)
        variance = self.eigenvalues.mT[..., None] + self.sde.noise_to_signal(t) ** 2
        whitened = offset * variance.reciprocal()
        quadratic = (offset * whitened).sum(0)
        log_volume = size // len(variance) * variance.log().sum(0) + size * math.log(2 * math.pi)
        return self.log_weights[:, None] - 0.5 * (quadratic + log_volume), whitened
