"""Small networks, shared by tests of priors."""

import torch

from gnclightning.networks import UNet, UNetConfig

TINY = UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16)


def tiny_network(seed: int = 0, dtype: torch.dtype = torch.float64) -> UNet:
    """A network whose every parameter matters (fresh ones have zero layers)."""
    torch.manual_seed(seed)
    network = UNet(TINY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.to(dtype)
