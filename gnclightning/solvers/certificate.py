"""What a run proves about itself, computed from its trace and not by the solver.

Theorem 3.2 needs directions with <grad f, d> < 0 and steps that satisfy Armijo's rule; the
certificate says on which share of the iterations each held.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.solvers.state import Record

ROUNDING = 1e-12
"""Relative slack of re-verification: values are float64 sums, compared as they were recorded."""


@dataclass(frozen=True)
class Certificate:
    """One entry per image, (B,).

    Attributes:
        descent_share: share of iterations with <grad f, d> < 0 (eq. 13).
        armijo_share: share of accepted steps with f_new <= reference + c step <grad f, d>,
            re-computed from the recorded numbers. NaN if no step was accepted.
        monotone: f never rose.
        relative_stationarity: |grad f(x)| / |grad f(x_1)| at the end.
        failures: line searches that failed; each left the iterate unchanged.
        gradient_like: every direction descended, every step satisfied Armijo's rule, and no
            search failed: the iterates are those of a gradient-like method.
    """

    descent_share: Tensor
    armijo_share: Tensor
    monotone: Tensor
    relative_stationarity: Tensor
    failures: Tensor
    gradient_like: Tensor


def certify(
    trace: list[Record],
    c: float,
    initial_value: Tensor,
    initial_gradient_norm: Tensor,
    memory: int = 1,
) -> Certificate:
    """Check a run.

    Args:
        trace: the records of all iterations.
        c: the constant of Armijo's rule that the steps should satisfy.
        initial_value: f(x_1), (B,).
        initial_gradient_norm: |grad f(x_1)|, (B,).
        memory: the rule compares with the largest of this many last values; 1 is monotone.
    """
    if not trace:
        nan, none = torch.full_like(initial_value, torch.nan), torch.zeros_like(initial_value)
        return Certificate(nan, nan, none == 0, none + 1, none.long(), none > 0)
    active = torch.stack([r.active for r in trace])
    step = torch.stack([r.step_size for r in trace])
    slope = torch.stack([r.slope for r in trace])
    value = torch.stack([r.value for r in trace])
    accepted = active & (step > 0)
    # A frozen image's record is NaN: carry its last value on, so that differences are zero.
    filled = _carry_forward(torch.cat([initial_value[None], value]))
    recent = [filled[max(0, k + 1 - memory) : k + 1].amax(0) for k in range(len(trace))]
    reference = torch.stack(recent)
    armijo = value <= reference + c * step * slope + ROUNDING * reference.abs()
    descent_share = _share(slope < 0, active)
    armijo_share = _share(armijo, accepted)
    failures = (active & ~(step > 0)).sum(0)
    final_gradient = _carry_forward(
        torch.cat([initial_gradient_norm[None], torch.stack([r.gradient_norm for r in trace])])
    )[-1]
    return Certificate(
        descent_share=descent_share,
        armijo_share=armijo_share,
        monotone=(filled[1:] <= filled[:-1] + ROUNDING * filled[:-1].abs()).all(0),
        relative_stationarity=final_gradient / initial_gradient_norm,
        failures=failures,
        gradient_like=(descent_share == 1) & (armijo_share == 1) & (failures == 0),
    )


def _share(condition: Tensor, among: Tensor) -> Tensor:
    return (condition & among).sum(0).double() / among.sum(0).double()


def _carry_forward(values: Tensor) -> Tensor:
    """Replace NaN (K, B) by the last number before it."""
    rows = [values[0]]
    for row in values[1:]:
        rows.append(torch.where(row.isnan(), rows[-1], row))
    return torch.stack(rows)
