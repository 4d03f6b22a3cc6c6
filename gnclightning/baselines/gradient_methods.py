"""Accelerated gradient descent on f itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.problem import Point, Problem, barzilai_borwein
from gnclightning.tensors import expand, squared_norm


@dataclass(frozen=True)
class Accelerated:
    """Where `nonmonotone_apg` ended.

    Attributes:
        point: the iterates with f and its gradient.
        evaluations: prior evaluations of each image, (B,) int64; each came with one A and one A*.
    """

    point: Point
    evaluations: Tensor


@torch.no_grad()
def nonmonotone_apg(
    problem: Problem,
    start: Tensor,
    steps: int,
    *,
    step_size: float,
    shrink: float = 0.5,
    delta: float = 1e-4,
    memory: float = 0.8,
    trials: int = 10,
) -> Accelerated:
    """Nonmonotone accelerated gradient descent for f that need not be convex.

    H. Li and Z. Lin, Accelerated proximal gradient methods for nonconvex programming, NeurIPS 2015,
    Algorithm 4 without a proximal term: a step from the extrapolated point is taken if f falls
    enough below an average of its past values, otherwise the better one of it and a plain gradient
    step. Both are found by backtracking from the second Barzilai-Borwein step, from the last
    extrapolated point to the last z or to x. Images do not influence each other.

    Args:
        problem: f.
        start: x_1 (B, ...).
        steps: iterations.
        step_size: first trial of the first backtracking. Where f is not convex between the two
            points, backtracking begins with 1/shrink times the last step.
        shrink: factor between trials.
        delta: sufficient decrease.
        memory: eta, weight of the past in the average; 0 is monotone.
        trials: most steps tried in one backtracking; the last one is taken if it lowers f.
    """
    assert not problem.integrated, "f is compared at points that no move connects"
    x = problem.evaluate(start)
    previous = y = z = x
    average, weight = x.value, torch.ones_like(x.value)
    momentum = previous_momentum = 1.0
    size = torch.full_like(x.value, step_size)
    evaluations = torch.ones_like(x.value, dtype=torch.int64)
    for _ in range(steps):
        pull = previous_momentum / momentum
        inertia = (previous_momentum - 1) / momentum
        before, y = y, problem.evaluate(x.x + pull * (z.x - x.x) + inertia * (x.x - previous.x))
        first, plainly = (_first_trial(before, point, size) for point in (z, x))
        z, tried, used = _backtrack(problem, y, average, first, shrink, delta, trials)
        evaluations = evaluations + 1 + tried
        enough = z.value <= average - delta * squared_norm(z.x - y.x)
        better = z
        if not bool(enough.all()):
            plain, tried, _ = _backtrack(problem, x, average, plainly, shrink, delta, trials)
            evaluations = evaluations + torch.where(enough, 0, tried)
            better = plain.where(~enough & (plain.value < z.value), z)
        # Nothing that raised f above its average and is not a number is ever taken.
        accepted = better.value <= average
        previous, x = x, better.where(accepted, x)
        size = used / shrink
        previous_momentum, momentum = momentum, (1 + (4 * momentum**2 + 1) ** 0.5) / 2
        updated = memory * weight + 1
        average = (memory * weight * average + x.value) / updated
        weight = updated
    return Accelerated(x, evaluations)


def _first_trial(old: Point, new: Point, otherwise: Tensor) -> Tensor:
    step = barzilai_borwein(old, new)
    return torch.where(step.isnan(), otherwise, step)


def _backtrack(
    problem: Problem,
    origin: Point,
    average: Tensor,
    size: Tensor,
    shrink: float,
    delta: float,
    trials: int,
) -> tuple[Point, Tensor, Tensor]:
    """A gradient step from `origin`: the point, the trials and the step size of each image."""
    tried = torch.zeros_like(size, dtype=torch.int64)
    found, size = origin, size.clone()
    searching = torch.ones_like(size, dtype=torch.bool)
    bound = torch.maximum(average, origin.value)
    for _ in range(trials):
        new = problem.evaluate(origin.x - expand(size, origin.x) * origin.gradient)
        found = new.where(searching, found)
        tried = tried + searching
        enough = new.value <= bound - delta * squared_norm(new.x - origin.x)
        searching = searching & ~enough
        if not bool(searching.any()):
            break
        size = torch.where(searching, shrink * size, size)
    return found, tried, size
