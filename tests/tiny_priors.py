"""Small priors and networks, shared by tests."""

import torch

from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import GaussianMixture

TINY = UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16)


def tiny_network(seed: int = 0, dtype: torch.dtype = torch.float64) -> UNet:
    """A network whose every parameter matters (fresh ones have zero layers)."""
    torch.manual_seed(seed)
    network = UNet(TINY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.to(dtype)


def mixture(sde, n: int = 3, k: int = 4) -> GaussianMixture:
    g = torch.Generator().manual_seed(3)
    roots = torch.randn(k, n, n, generator=g, dtype=torch.float64)
    means = 2 * torch.randn(k, n, generator=g, dtype=torch.float64)
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.1
    return GaussianMixture(sde, means, roots @ roots.mT / n, weights)
