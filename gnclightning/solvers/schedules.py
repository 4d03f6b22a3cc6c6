"""Predefined smoothing schedules t_max = t_1 > ... > t_I = t_min (eq. 11)."""

import torch
from torch import Tensor

from gnclightning.errors import UserError


def _check(t_max: float, t_min: float, steps: int) -> None:
    if not 0 < t_min <= t_max:
        raise UserError(f"a schedule needs 0 < t_min <= t_max, got {t_min} and {t_max}")
    if steps < 1:
        raise UserError(f"a schedule needs at least one step, got {steps}")


def linear_schedule(t_max: float, t_min: float, steps: int) -> Tensor:
    """`steps` evenly spaced times (steps,), float64, ending exactly at t_min."""
    _check(t_max, t_min, steps)
    return _exact(torch.linspace(t_max, t_min, steps, dtype=torch.float64), t_min)


def log_schedule(t_max: float, t_min: float, steps: int) -> Tensor:
    """`steps` logarithmically spaced times (steps,), float64, ending exactly at t_min."""
    _check(t_max, t_min, steps)
    ends = torch.tensor([t_max, t_min], dtype=torch.float64).log()
    return _exact(
        torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64).exp(), t_min
    )


def _exact(times: Tensor, t_min: float) -> Tensor:
    times[-1] = t_min
    return times
