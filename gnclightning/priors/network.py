"""Priors given by a trained network, as a score -h/nu_t or as an energy 1/2 |h|^2 (eq. 14).

All share the *noise prediction* h(x,t) = a x + b F(c x, nu_t/gamma_t, c nu_t) of a network F.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from gnclightning.networks import UNet
from gnclightning.priors.base import differentiable_copy
from gnclightning.sde import SDE
from gnclightning.tensors import expand, squared_norm

DATA_STD = 0.25
"""Standard deviation of CT images in [0,1], for the preconditioning of the gradient-step form."""


class Form(StrEnum):
    """How the energy is built from h.

    The energy is always 1/2 |h|^2 with h near the noise (x - gamma_t x_0) / nu_t, so that a score
    network is already nearly its own energy and suits a warm start. The forms differ in what the
    network is asked for:

    PAPER: h itself, eq. 14.
    SCALED: nu_t^(1/2) h, so that the energy is its 1/2 |.|^2 / nu_t, as in the published
        experiments.
    GRADIENT_STEP: a denoiser D with h = (x - gamma_t D(x,t)) / nu_t, preconditioned by the standard
        deviation of the data.
    """

    PAPER = "paper"
    SCALED = "scaled"
    GRADIENT_STEP = "gradient_step"


@dataclass(frozen=True)
class Coefficients:
    """a(t), b(t), c(t) of the noise prediction, each (B,)."""

    skip: Tensor
    output: Tensor
    input: Tensor


def coefficients(sde: SDE, form: Form, t: Tensor) -> Coefficients:
    """Choose a, b, c so that F sees inputs, and has targets, of unit variance.

    The paper's form uses velocity prediction: h = nu x + gamma F for gamma^2 + nu^2 = 1, so that
    h = x at t = 1 where the energy must be convex, and h = F at small t. The scaled form divides
    that by nu^(1/2). The gradient-step form uses D = c_skip x/gamma + c_out F with the constants of
    Karras et al. 2022 (arXiv 2206.00364, Table 1), inserted into h = (x - gamma D) / nu.
    """
    gamma, nu = sde.mean_scale(t), sde.std(t)
    if form is Form.GRADIENT_STEP:
        total = (nu**2 + (DATA_STD * gamma) ** 2).sqrt()
        return Coefficients(nu / total**2, -DATA_STD * gamma / total, 1 / total)
    total = (nu**2 + gamma**2).sqrt()
    scale = nu.sqrt() if form is Form.SCALED else 1.0
    return Coefficients(nu / total**2 / scale, gamma / total / scale, 1 / total)


class NetworkPrior(nn.Module, ABC):
    """Base of the two parametrisations.

    Args:
        sde: the forward diffusion that the network was (or is to be) trained for.
        network: F, mapping (B, C, H, W), nu_t/gamma_t and the noise in its input, (B,), to
            (B, C, H, W).
        form: see `Form`.
    """

    parametrisation: str

    def __init__(self, sde: SDE, network: UNet, form: Form = Form.PAPER):
        super().__init__()
        self.sde = sde
        self.network = network
        self.form = form

    @abstractmethod
    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """See `Prior`; (B, C, H, W), (B,) -> (B, C, H, W)."""

    def curvature(self, t: Tensor) -> Tensor:
        """See `Prior`; (B,) -> (B,)."""
        return 1 / self.sde.std(t) ** 2

    def mean_scale(self, t: Tensor) -> Tensor:
        """See `Prior`; (B,) -> (B,)."""
        return self.sde.mean_scale(t)

    def noise_prediction(self, x: Tensor, t: Tensor) -> Tensor:
        """h(x,t), near (x - gamma_t x_0)/nu_t in a trained prior; (B, C, H, W), (B,)."""
        c = coefficients(self.sde, self.form, t)
        ratio, std = self.sde.noise_to_signal(t), c.input * self.sde.std(t)
        output = self.network(expand(c.input, x) * x, ratio, std)
        return expand(c.skip, x) * x + expand(c.output, x) * output


class NetworkScore(NetworkPrior):
    """score(x,t) = -h(x,t)/nu_t."""

    parametrisation = "score"

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, C, H, W); follows autograd as usual."""
        return -self.noise_prediction(x, t) / expand(self.sde.std(t), x)


class NetworkEnergy(NetworkPrior):
    """energy(x,t) = 1/2 |h(x,t)|^2, eq. 14; score by automatic differentiation.

    Works under `torch.no_grad` and inference mode, which Lightning's evaluation loops use.
    """

    parametrisation = "energy"

    def energy(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B,), summed in float64."""
        return 0.5 * squared_norm(self.noise_prediction(x, t))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """-d energy / d x; differentiable by the parameters where gradients are enabled."""
        return self.energy_and_score(x, t)[1]

    def energy_and_score(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both from one forward and one backward pass.

        With gradients enabled, and trainable parameters or an x that asks for its gradient, the
        score keeps its graph (training by score matching differentiates it once more, Hessians
        too); otherwise both results are detached.
        """
        followed = x.requires_grad or any(p.requires_grad for p in self.parameters())
        keep = torch.is_grad_enabled() and followed
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x if keep and x.requires_grad else differentiable_copy(x)
            energy = self.energy(leaf, t.clone())
            (gradient,) = torch.autograd.grad(energy.sum(), leaf, create_graph=keep)
        return (energy if keep else energy.detach()), -gradient
