"""Numbers that a geometry is given, checked."""

import math
import numbers
from typing import Any

from gnclightning.errors import UserError


def count(name: str, value: Any) -> int:
    """An integer of at least 1; raises `UserError` with its name for anything else."""
    if not isinstance(value, numbers.Integral) or value < 1:
        raise UserError(f"{name}: expected an integer of at least 1, got {value!r}")
    return int(value)


def number(name: str, value: Any) -> float:
    """A finite number; raises `UserError` with its name for anything else."""
    if not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise UserError(f"{name}: expected a finite number, got {value!r}")
    return float(value)


def length(name: str, value: Any) -> float:
    """A positive finite number; raises `UserError` with its name for anything else."""
    if not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
        raise UserError(f"{name}: expected a positive finite length, got {value!r}")
    return float(value)
