"""Stand-ins for the base classes of deepinv that gnclightning uses, by their documentation.

deepinv needs torchvision, which the tests must do without. `make test-deepinv` runs the same tests
with deepinv itself.
"""

from types import SimpleNamespace

import torch
from torch import nn


class LinearPhysics(nn.Module):
    def __init__(self, A, A_adjoint, img_size=None, device="cpu", noise_model=None):
        super().__init__()
        self._forward, self._adjoint = A, A_adjoint
        self.img_size, self.noise_model = img_size, noise_model

    def A(self, x, **kwargs):
        return self._forward(x, **kwargs)

    def A_adjoint(self, y, **kwargs):
        return self._adjoint(y, **kwargs)


class Denoiser(nn.Module):
    def __init__(self, device="cpu"):
        super().__init__()
        self.to(device)

    def forward(self, x, sigma, **kwargs):
        raise NotImplementedError


class Prior(nn.Module):
    def __init__(self, g=None):
        super().__init__()
        self._g = g
        self.explicit_prior = g is not None

    def fn(self, x, *args, **kwargs):
        return self._g(x, *args, **kwargs)

    def forward(self, x, *args, **kwargs):
        return self.fn(x, *args, **kwargs)

    def grad(self, x, *args, **kwargs):
        with torch.enable_grad():
            x = x.requires_grad_()
            return torch.autograd.grad(self(x, *args, **kwargs).sum(), x)[0]


PHYSICS = SimpleNamespace(LinearPhysics=LinearPhysics)
MODULES = {
    "deepinv": SimpleNamespace(__path__=[]),
    "deepinv.physics": PHYSICS,
    "deepinv.models": SimpleNamespace(Denoiser=Denoiser),
    "deepinv.optim": SimpleNamespace(Prior=Prior),
}
