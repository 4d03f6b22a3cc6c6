"""Stand-ins for what gnclightning uses of deepinv, by its documentation.

deepinv needs torchvision, which the tests must do without. `make test-deepinv` runs the same tests
with deepinv itself.
"""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.functional import grid_sample


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


class Tomography(nn.Module):
    """Parallel beams with `circle=True`: degrees, unit pixels, sinograms (B, C, bins, angles).

    What lies outside the inscribed circle is blanked, then the image turned and added up.
    """

    def __init__(self, angles, img_width, circle, adjoint_via_backprop, normalize, device):
        assert circle
        assert adjoint_via_backprop
        assert not normalize
        super().__init__()
        along = torch.linspace(-1, 1, img_width)
        column, row = torch.meshgrid(along, along, indexing="xy")
        self.register_buffer("inside", (column.square() + row.square() <= 1).float())
        turns = torch.deg2rad(torch.as_tensor(angles).double()).float()
        cos, sin = turns.cos()[:, None, None], turns.sin()[:, None, None]
        grid = torch.stack([cos * column + sin * row, cos * row - sin * column], -1)
        self.register_buffer("grid", grid)
        self.to(device)

    def A(self, x):
        blanked = x * self.inside
        columns = [
            grid_sample(blanked, turned.expand(len(x), -1, -1, -1), align_corners=True).sum(2)
            for turned in self.grid
        ]
        return torch.stack(columns, -1)

    def A_adjoint(self, y):
        edge = self.grid.shape[1]
        with torch.enable_grad():
            x = y.new_zeros(len(y), 1, edge, edge).requires_grad_()
            return torch.autograd.grad(self.A(x), x, y)[0]


PHYSICS = SimpleNamespace(LinearPhysics=LinearPhysics, Tomography=Tomography)
MODULES = {
    "deepinv": SimpleNamespace(__path__=[]),
    "deepinv.physics": PHYSICS,
    "deepinv.models": SimpleNamespace(Denoiser=Denoiser),
    "deepinv.optim": SimpleNamespace(Prior=Prior),
}
