"""All local minima of f, by Newton's method from a grid."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.experiments.toy2d.problem import objective, start_grid

_GRID = 101
_ITERATIONS = 60
_SMALL_GRADIENT = 1e-13
_SAME_POINT = 1e-6


@dataclass(frozen=True)
class Minima:
    """Local minima in order of their values.

    Attributes:
        points: (M, 2) float64, known to 1e-8; the first is the global minimiser.
        values: f there, (M,).
    """

    points: Tensor
    values: Tensor


def find_minima() -> Minima:
    """The critical points of f with a positive definite Hessian.

    Newton's method converges quadratically to any critical point; the grid is finer than the
    narrowest component of the mixture (standard deviation 0.32), so that every minimum has points
    of it near.
    """
    points = start_grid(_GRID)
    for _ in range(_ITERATIONS):
        gradient, hessian = derivatives(points)
        step, _ = torch.linalg.solve_ex(hessian, gradient)
        points = points - step
        points = points[points.isfinite().all(1)]
    gradient, hessian = derivatives(points)
    convex = torch.linalg.eigvalsh(hessian).amin(1) > 0
    points = _distinct(points[convex & (gradient.norm(dim=1) < _SMALL_GRADIENT)])
    values = objective(len(points)).evaluate(points).value
    order = values.argsort()
    return Minima(points[order], values[order])


def derivatives(points: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (B, 2) and Hessian (B, 2, 2) of f at points (B, 2)."""
    with torch.enable_grad():
        x = points.detach().clone().requires_grad_()
        gradient = objective(len(x)).evaluate(x).gradient
        rows = [
            torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0] for i in range(2)
        ]
    return gradient.detach(), torch.stack(rows, dim=1)


def _distinct(points: Tensor) -> Tensor:
    """One of each cluster of points."""
    kept: list[Tensor] = []
    for point in points:
        if all((point - other).norm() > _SAME_POINT for other in kept):
            kept.append(point)
    return torch.stack(kept)
