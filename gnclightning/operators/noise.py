"""Gaussian measurement noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnclightning.errors import UserError


def add_noise(
    y_clean: Tensor,
    *,
    relative: float | None = None,
    absolute: float | None = None,
    seeds: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Add white Gaussian noise, drawn for each image on its own.

    An image's noise depends on its seed and its own measurement only, not on the batch around it,
    the dtype (draws are float64, then rounded) or the device (drawn on the CPU).

    Args:
        y_clean: noise-free measurements (B, ...).
        relative: standard deviation as a multiple of the image's mean |Ax| (Section 4.2 of arXiv
            2404.18699: 0.10 and 0.05); this is not a level relative to the l2 norm.
        absolute: standard deviation in the unit of the measurements. Give this or `relative`.
        seeds: one per image.

    Returns:
        y like `y_clean`, and the standard deviations sigma_y (B,) in float64.

    Raises:
        UserError: unless exactly one finite level >= 0 and one seed per image are given.
    """
    level = _level(relative, absolute)
    if len(seeds) != len(y_clean):
        raise UserError(
            f"add_noise: expected one seed per image, {len(y_clean)}, got {len(seeds)} seeds"
        )
    noisy: list[Tensor] = []
    sigmas: list[Tensor] = []
    for image, seed in zip(y_clean, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(image.shape, generator=generator, dtype=torch.float64).to(image.device)
        scale = (
            image.double().abs().mean()
            if absolute is None
            else image.new_ones((), dtype=torch.float64)
        )
        sigmas.append(level * scale)
        noisy.append((image + sigmas[-1] * noise).to(image.dtype))
    return torch.stack(noisy), torch.stack(sigmas)


def _level(relative: float | None, absolute: float | None) -> float:
    given = [level for level in (relative, absolute) if level is not None]
    if len(given) != 1 or not 0 <= given[0] < math.inf:
        raise UserError(
            "add_noise: expected exactly one finite noise level >= 0, got "
            f"relative={relative}, absolute={absolute}"
        )
    return given[0]
