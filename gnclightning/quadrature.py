"""The change of a function along a ray, from its slopes at three points of it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Change:
    """Of a function from one end of a ray to the other, (B,) each.

    Attributes:
        value: by Simpson's rule.
        error: an estimate of its error, the difference from the trapezoidal rule; for small steps
            far too large, as it is the error of that rule.
    """

    value: Tensor
    error: Tensor


def simpson(step: Tensor, first: Tensor, middle: Tensor, last: Tensor) -> Change:
    """Integrate slopes along a ray by the Gauss-Lobatto rule with three nodes, Simpson's.

    It is exact for a function of degree four along the ray, and its error falls with the fifth
    power of the step; that of the trapezoidal rule, which has the two ends only, with the third.

    Args:
        step: length of the ray in units of its direction, (B,).
        first: slope at its beginning, (B,).
        middle: slope half way, (B,).
        last: slope at its end, (B,).
    """
    correction = step / 3 * (2 * middle - first - last)
    return Change(step / 2 * (first + last) + correction, correction.abs())
