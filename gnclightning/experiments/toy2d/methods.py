"""The methods compared: the paper's two algorithms, and remedies that the study tries.

Each is made for several schedules at once (S, I), one per t_max.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.experiments.toy2d.problem import T_MIN
from gnclightning.solvers import (
    Armijo,
    ConstantStep,
    FixedFirstStep,
    Solver,
    gnc_flow,
    gradient_like,
    linear_schedule,
    preconditioned,
)

_SEARCH = Armijo(c=1e-3, shrink=0.9, max_trials=10, at_once=8)
_FIRST_STEP = FixedFirstStep(1.0)
_LOOKAHEAD = 1024
"""The prior costs next to nothing: passes over the schedule are what counts."""
_MEMORY = 10
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Parts of the iterations after which the study enforces the descent condition."""


@dataclass(frozen=True)
class Plan:
    """A solver, and the one that takes its place after `switch` iterations."""

    first: Solver
    then: Solver
    switch: int = 0

    def solver(self, iteration: int) -> Solver:
        """The solver of an iteration; the first is 0."""
        return self.first if iteration < self.switch else self.then


Method = Callable[[Tensor], Plan]


def schedules(t_max: list[float], steps: int) -> Tensor:
    """Times that fall evenly from each t_max to t_min, (S, steps) float64."""
    return torch.stack([linear_schedule(value, T_MIN, steps) for value in t_max])


def algorithm_1(times: Tensor) -> Plan:
    """Graduated non-convexity flow with step size 1."""
    solver = gnc_flow(times, search=ConstantStep(), first_step=_FIRST_STEP)
    return Plan(solver, solver)


def algorithm_2(times: Tensor, descent_from: int = 0, memory: int = 1) -> Plan:
    """Gradient-like method with adaptive smoothing schedule and Armijo's rule."""
    solver = gradient_like(
        times,
        search=_SEARCH,
        first_step=_FIRST_STEP,
        descent_from=descent_from,
        memory=memory,
        lookahead=_LOOKAHEAD,
    )
    return Plan(solver, solver)


def algorithm_1_then_2(times: Tensor, switch: int) -> Plan:
    """Algorithm 1 for `switch` iterations, Algorithm 2 from there."""
    return replace(algorithm_2(times), first=algorithm_1(times).first, switch=switch)


def preconditioned_method(times: Tensor) -> Plan:
    """Algorithm 2 in the metric A*A + rho I."""
    solver = preconditioned(times, search=_SEARCH, first_step=_FIRST_STEP, lookahead=_LOOKAHEAD)
    return Plan(solver, solver)


PAPER: dict[str, Method] = {"alg1": algorithm_1, "alg2": algorithm_2}


def study_counts(steps: int) -> list[int]:
    """The values of K, iterations before the descent condition is enforced."""
    return [round(share * steps) for share in _SHARES]


def study_methods(steps: int) -> dict[str, Method]:
    """What the study runs, by name."""
    methods: dict[str, Method] = {
        "preconditioned": preconditioned_method,
        "nonmonotone": lambda times: algorithm_2(times, memory=_MEMORY),
    }
    for k in study_counts(steps):
        methods[f"descent_from_{k}"] = lambda times, k=k: algorithm_2(times, descent_from=k)
        methods[f"alg1_until_{k}"] = lambda times, k=k: algorithm_1_then_2(times, k)
    return methods
