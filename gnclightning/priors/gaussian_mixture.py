"""Gaussian mixture with exact energy and score at every t: the oracle of the tests and the toy."""

import math

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.sde import SDE
from gnclightning.tensors import expand


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
        log_joint, _, _ = self._components(x, t)
        return -torch.logsumexp(log_joint, dim=1).double()

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Grad log p_t(x); (B, ...), (B,) -> (B, ...)."""
        return self.energy_and_score(x, t)[1]

    def energy_and_score(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both, in closed form."""
        log_joint, offset, variance = self._components(x, t)
        responsibility = torch.softmax(log_joint, dim=1)
        whitened = responsibility[..., None] * offset / variance
        if self.eigenvectors is not None:
            whitened = torch.einsum("kij,bkj->bki", self.eigenvectors, whitened)
        score = -whitened.sum(1).reshape(x.shape)
        return -torch.logsumexp(log_joint, dim=1).double(), score

    def curvature(self, t: Tensor) -> Tensor:
        """1 / nu_t^2, the largest that a component can have; (B,) -> (B,)."""
        return self.sde.std(t) ** -2

    def mean_scale(self, t: Tensor) -> Tensor:
        """gamma_t; (B,) -> (B,)."""
        return self.sde.mean_scale(t)

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log(w_k N_k(x)) (B, K), offsets and variances in the eigenbases (B, K, n)."""
        flat = x.flatten(1)
        gamma, nu = self.sde.mean_scale(t), self.sde.std(t)
        centred = flat[:, None] - expand(gamma, self.means[None]) * self.means
        offset = centred
        if self.eigenvectors is not None:
            offset = torch.einsum("kij,bki->bkj", self.eigenvectors, centred)
        variance = expand(gamma**2, offset) * self.eigenvalues + expand(nu**2, offset)
        quadratic = (offset**2 / variance).sum(-1)
        log_volume = variance.log().sum(-1) + flat.shape[1] * math.log(2 * math.pi)
        return self.log_weights - 0.5 * (quadratic + log_volume), offset, variance
