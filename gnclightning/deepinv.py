"""deepinv's problems here, and ours there (https://deepinv.github.io).

A `LinearPhysics` becomes a `LinearOperator`; an operator, a `LinearPhysics`; a diffusion prior, a
`Denoiser` and an explicit `Prior`, so that deepinv's algorithms run on our weights.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from gnclightning.baselines.denoiser import Denoiser
from gnclightning.errors import UserError
from gnclightning.extras import import_extra
from gnclightning.operators import LinearOperator
from gnclightning.operators.backends.kernels import mismatch
from gnclightning.priors import EnergyPrior, Prior, ScaledEnergy
from gnclightning.sde import SDE

_REMEDY = "pip install 'gnclightning[deepinv]'"
_MATCH = 1e-6
"""Of the dot test, in float32."""


class PhysicsOperator(LinearOperator):
    """A deepinv `LinearPhysics` as a linear operator; noise and sensor models are left out.

    Args:
        physics: with `A` and `A_adjoint`, images (B, C, ...) to one real tensor (B, ...).
        image_shape: of an image, (C, ...).
        adjoint: its own, or autograd: the derivative of `A`, which is the transpose unless `A`
            defines another one.
        device: that the physics computes on.

    Raises:
        UserError: measurements of another kind; or an adjoint that is not the transpose, by a dot
            test: no line search could use its gradients.
    """

    def __init__(
        self,
        physics: Any,
        image_shape: tuple[int, ...],
        adjoint: Literal["own", "autograd"] = "own",
        device: torch.device | None = None,
    ) -> None:
        device = device or torch.device("cpu")
        blank = torch.zeros(1, *image_shape, device=device)
        with torch.no_grad():
            y: Any = physics.A(blank)
        if not isinstance(y, Tensor) or y.dtype != blank.dtype or len(y) != 1:
            raise UserError(
                "expected a physics whose measurements are one float32 tensor (B, ...), got "
                f"{_kind(y)}: take the parts of stacked ones, and real and imaginary parts"
            )
        super().__init__(image_shape, tuple(y.shape[1:]))
        self._physics = (physics,)  # no submodule: `.to` must not move what others hold
        self._own = adjoint == "own"
        self.to(device)
        found = mismatch(self)
        if found > _MATCH:
            remedy = "give adjoint='autograd'" if self._own else "its A defines its own derivative"
            raise UserError(
                f"expected an adjoint that is the transpose of {type(physics).__name__}.A, got a "
                f"mismatch of {found:.2g} in the dot test: {remedy}"
            )

    def _matvec(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - len(self.domain_shape)]
        y = self._physics[0].A(x.reshape(-1, *self.domain_shape))
        return y.reshape(*lead, *self.range_shape)

    def _rmatvec(self, y: Tensor) -> Tensor:
        lead = y.shape[: y.ndim - len(self.range_shape)]
        columns = y.reshape(-1, *self.range_shape)
        x = self._physics[0].A_adjoint(columns) if self._own else self._derivative(columns)
        return x.reshape(*lead, *self.domain_shape)

    def _derivative(self, y: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = y.new_zeros(len(y), *self.domain_shape).requires_grad_()
            (gradient,) = torch.autograd.grad(self._physics[0].A(x), x, y.clone())
        return gradient


def _kind(y: object) -> str:
    return f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__


def as_physics(operator: LinearOperator, channels: int = 1, **options: Any) -> Any:
    """An operator on images (H, W) as deepinv `LinearPhysics` on images (B, channels, H, W).

    Args:
        operator: A.
        channels: of images.
        options: of `LinearPhysics`, such as `noise_model`.
    """
    physics = import_extra("deepinv.physics", _REMEDY)
    return physics.LinearPhysics(
        A=lambda x, **_: operator(x),
        A_adjoint=lambda y, **_: operator.adjoint(y),
        img_size=(channels, *operator.domain_shape),
        device=operator.device,
        **options,
    )


def as_denoiser(prior: Prior, sde: SDE) -> Any:
    """A diffusion prior as deepinv `Denoiser`: the posterior mean of x + sigma n, by Tweedie.

    Args:
        prior: its score, on images in [0, 1].
        sde: that it belongs to.
    """
    models = import_extra("deepinv.models", _REMEDY)
    denoise = Denoiser(prior, sde)

    class DiffusionDenoiser(models.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.prior = prior

        def forward(self, x: Tensor, sigma: Any, **_: Any) -> Tensor:
            # Its algorithms compute in float64 too; networks do not.
            given = x.to(_dtype(prior, x))
            with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
                return denoise(given, _levels(sigma, x)).to(x.dtype)

    return DiffusionDenoiser()


def as_prior(prior: EnergyPrior, sde: SDE) -> Any:
    """A diffusion energy as explicit deepinv `Prior`: -log p of images with noise sigma.

    `prior(x, sigma)` is the value (B,), `prior.grad(x, sigma)` its gradient.

    Args:
        prior: its energy, on images in [0, 1].
        sde: that it belongs to.
    """
    optim = import_extra("deepinv.optim", _REMEDY)
    # deepinv's noisy image is x_0 + sigma n, and gamma_t times it the SDE's at t.
    scaled = ScaledEnergy(prior, sde)

    class DiffusionPrior(optim.Prior):
        def __init__(self) -> None:
            super().__init__()
            self.prior = prior
            self.explicit_prior = True

        def fn(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
            return scaled.energy(*self._given(x, sigma)).to(x.dtype)

        def grad(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
            with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
                return -scaled.score(*self._given(x, sigma)).to(x.dtype)

        def _given(self, x: Tensor, sigma: Any) -> tuple[Tensor, Tensor]:
            given = x.to(_dtype(prior, x))
            return given, sde.time_of(_levels(sigma, x)).to(given)

    return DiffusionPrior()


def _levels(sigma: Any, x: Tensor) -> Tensor:
    """Noise levels (B,), float64, from a number or from tensors that hold one or B of them."""
    levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).detach().flatten()
    return levels.expand(len(x))


def _dtype(prior: Prior, x: Tensor) -> torch.dtype:
    if isinstance(prior, torch.nn.Module):
        return next((p.dtype for p in prior.parameters()), x.dtype)
    return x.dtype
