"""Bounds on directions that make Definition 3.1 hold by construction."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Safeguard:
    """Admits a direction d if <grad f, d> <= -kappa_1 |grad f|^2 and |d| <= kappa_2 |grad f|.

    Along any subsequence that converges to a point that is not stationary |grad f| is bounded, and
    bounded away from 0, so admitted directions satisfy (a) and (b) of Definition 3.1 (arXiv
    2404.18699), whatever schedule, metric or quasi-Newton rule they come from. The defaults only
    exclude what rounding could produce: theory asks that there are constants, not for their size.
    They are absolute, made for an A with lengths in pixels, whose norm is about 100.

    Attributes:
        kappa_1: in (0, 1], so that -grad f is admitted; at most t_min for the directions
            -t grad F(., t).
        kappa_2: at least 1, likewise.
    """

    kappa_1: float = 1e-8
    kappa_2: float = 1e8

    def admits(self, slope: Tensor, direction_norm: Tensor, gradient_norm: Tensor) -> Tensor:
        """Which directions are admitted, (B,) bool; NaN never is.

        Args:
            slope: <grad f, d>, (B,).
            direction_norm: |d|, (B,).
            gradient_norm: |grad f|, (B,).
        """
        descends = slope <= -self.kappa_1 * gradient_norm**2
        return descends & (direction_norm <= self.kappa_2 * gradient_norm)


NO_MORE_THAN_ROUNDING = Safeguard()
"""Refuses directions that climb, stand still or are not finite, and hardly any other."""
