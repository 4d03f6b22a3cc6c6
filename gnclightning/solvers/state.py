"""Status codes and the state that a solver carries from one iteration to the next."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from gnclightning.problem import Batch, Point


class Status(IntEnum):
    """Why an image stopped, or that it has not."""

    RUNNING = 0
    CONVERGED = 1
    BUDGET_SPENT = 2
    SEARCH_FAILED = 3
    NOT_FINITE = 4

    @property
    def label(self) -> str:
        """Words for tables."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class SolverState(Batch):
    """One row per image.

    Attributes:
        point: the iterate and f there.
        schedule: which of the solver's schedules the image follows, int64.
        level: position in the schedule of the last step taken, -1 before the first.
        step_size: last accepted step, 0 after a failed search.
        proposal: first trial of the next line search along grad f (Barzilai-Borwein), NaN where
            undefined.
        recent: the last values of f, (B, memory), for the nonmonotone Armijo rule.
        gradient_norm: |grad f(x)|.
        initial_gradient_norm: |grad f(x_1)|.
        status: `Status` codes, int64.
        iterations: iterations done, int64.
        failures: failed line searches, int64.
        network_evaluations: prior evaluations so far, int64.
        operator_evaluations: applications of A and A* so far, int64.
    """

    point: Point
    schedule: Tensor
    level: Tensor
    step_size: Tensor
    proposal: Tensor
    recent: Tensor
    gradient_norm: Tensor
    initial_gradient_norm: Tensor
    status: Tensor
    iterations: Tensor
    failures: Tensor
    network_evaluations: Tensor
    operator_evaluations: Tensor


@dataclass(frozen=True)
class Record(Batch):
    """What one iteration did, for traces and certificates; (B,) each.

    Values are those after the step; slope, cosine and direction norm belong to the step itself.

    Attributes:
        t: the time whose direction was followed.
        value: f at the new iterate.
        fidelity: its data term.
        regulariser: its prior term.
        error: estimated error of the change of f by the step; 0 where f is evaluated.
        gradient_norm: |grad f| at the new iterate.
        step_size: accepted step, 0 if the search failed.
        trials: line-search trials.
        slope: <grad f, d> at the old iterate.
        descent: cosine of the angle between grad f and d; negative where d descends (eq. 13).
        direction_norm: |d|.
        gap: |grad F(x,t) - grad f(x)| at the old iterate: how much alpha_t grad R differs from
            its value at t_min.
        fallback: whether the safeguard replaced the direction by -grad f.
        active: whether the image took part in this iteration.
    """

    t: Tensor
    value: Tensor
    fidelity: Tensor
    regulariser: Tensor
    error: Tensor
    gradient_norm: Tensor
    step_size: Tensor
    trials: Tensor
    slope: Tensor
    descent: Tensor
    direction_norm: Tensor
    gap: Tensor
    fallback: Tensor
    active: Tensor


def blank_record(count: int, device: torch.device) -> Record:
    """A record of `count` images that took no part."""
    nan = torch.full((count,), torch.nan, dtype=torch.float64, device=device)
    none = torch.zeros(count, dtype=torch.int64, device=device)
    no = none.bool()
    return Record(nan, nan, nan, nan, nan, nan, nan, none, nan, nan, nan, nan, no, no)
