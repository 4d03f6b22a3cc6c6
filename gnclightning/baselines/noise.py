"""Noise that samplers add."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """Noise of a batch: each image draws its own, on the CPU."""

    generators: tuple[torch.Generator, ...]

    @classmethod
    def of(cls, seeds: Sequence[int]) -> "Noise":
        """Of images with these seeds."""
        return cls(tuple(torch.Generator().manual_seed(seed) for seed in seeds))

    def like(self, x: Tensor) -> Tensor:
        """The next white noise of standard deviation 1, as `x` (B, ...)."""
        draws = [torch.randn(x.shape[1:], generator=g) for g in self.generators]
        return torch.stack(draws).to(x)
