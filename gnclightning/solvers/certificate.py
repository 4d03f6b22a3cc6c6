"""What a run proves about itself, computed from its trace and not by the solver.

Theorem 3.2 of arXiv 2404.18699 needs gradient-like directions (Definition 3.1) and steps that
satisfy Armijo's rule; the certificate says on which share of the iterations each held, with which
constants, and what they add up to. docs/theory.md says what follows from it and what does not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.problem import Batch
from gnclightning.solvers.state import Record

ROUNDING = 1e-12
"""Relative slack of re-verification: values are float64 sums, compared as they were recorded."""


@dataclass(frozen=True)
class Certificate(Batch):
    """One entry per image, (B,).

    Attributes:
        descent_share: share of iterations with <grad f, d> < 0 (eq. 13).
        descent_bound: smallest -<grad f, d> / |grad f|^2 of all iterations, the kappa_1 that the
            run satisfies: positive for (b) of Definition 3.1.
        length_bound: largest |d| / |grad f|, its kappa_2: finite for (a).
        fallbacks: iterations whose direction the safeguard replaced by -grad f.
        armijo_share: share of accepted steps with f_new <= reference + c step <grad f, d>,
            re-computed from the recorded numbers; the estimated error of an integrated f_new is
            added to it. NaN if no step was accepted, and where steps follow no such rule.
        armijo_sum: sum of -c step <grad f, d>, which a monotone Armijo rule keeps below
            `decrease`: where all directions descend and f is bounded below the sum converges,
            Zoutendijk's argument. NaN without that rule.
        decrease: f(x_1) - f at the end.
        monotone: f never rose.
        relative_stationarity: |grad f(x)| / |grad f(x_1)| at the end.
        final_iterations: iterations at t_min, those that minimise f itself.
        lipschitz: largest |alpha_t grad R(x,t) - alpha_tmin grad R(x,t_min)| / (t - t_min) of all
            iterations: a lower bound of Theorem 3.2's L. NaN if no iteration had t > t_min.
        certified_t: t_min + |grad f| / L at the end; as far as `lipschitz` is L, every smaller t
            gives a direction -grad F(.,t) that descends there.
        failures: line searches that failed; each left the iterate unchanged.
        integration_error: where f is integrated from a score, the largest estimated error of its
            change by an accepted step, relative to this change, 0 if there was none. NaN where f
            is evaluated.
        gradient_like: every direction descended, every step satisfied Armijo's rule, and no
            search failed: the iterates are those of a gradient-like method.
    """

    descent_share: Tensor
    descent_bound: Tensor
    length_bound: Tensor
    fallbacks: Tensor
    armijo_share: Tensor
    armijo_sum: Tensor
    decrease: Tensor
    monotone: Tensor
    relative_stationarity: Tensor
    final_iterations: Tensor
    lipschitz: Tensor
    certified_t: Tensor
    failures: Tensor
    integration_error: Tensor
    gradient_like: Tensor


def certify(
    trace: list[Record],
    c: float | None,
    t_min: float,
    initial_value: Tensor,
    initial_gradient_norm: Tensor,
    memory: int = 1,
    integrated: bool = False,
) -> Certificate:
    """Check a run.

    Args:
        trace: the records of all iterations.
        c: the constant of Armijo's rule that the steps should satisfy; None if they follow none.
        t_min: f = F(., t_min).
        initial_value: f(x_1), (B,).
        initial_gradient_norm: |grad f(x_1)|, (B,).
        memory: the rule compares with the largest of this many last values; 1 is monotone.
        integrated: whether f is integrated from a score, so that values have errors.
    """
    if not trace:
        return _of_no_iteration(initial_value, integrated)
    active = torch.stack([r.active for r in trace])
    step = torch.stack([r.step_size for r in trace])
    slope = torch.stack([r.slope for r in trace])
    value = torch.stack([r.value for r in trace])
    error = torch.stack([r.error for r in trace])
    t = torch.stack([r.t for r in trace])
    accepted = active & (step > 0)
    # A frozen image's record is NaN: carry its last value on, so that differences are zero.
    filled = _carry_forward(torch.cat([initial_value[None], value]))
    recent = [filled[max(0, k + 1 - memory) : k + 1].amax(0) for k in range(len(trace))]
    reference = torch.stack(recent)
    promised = -step * slope * (torch.nan if c is None else c)
    armijo = value + error <= reference - promised + ROUNDING * reference.abs()
    descent_share = _share(slope < 0, active)
    armijo_share = _share(armijo, accepted & promised.isfinite())
    failures = (active & ~(step > 0)).sum(0)
    norms = torch.cat([initial_gradient_norm[None], torch.stack([r.gradient_norm for r in trace])])
    norms = _carry_forward(norms)
    old, length = norms[:-1], torch.stack([r.direction_norm for r in trace])
    gap, graduated = torch.stack([r.gap for r in trace]), active & (t > t_min)
    lipschitz = _extreme(gap / (t - t_min), graduated, largest=True)
    return Certificate(
        descent_share=descent_share,
        descent_bound=_extreme(-slope / old**2, active, largest=False),
        length_bound=_extreme(length / old, active, largest=True),
        fallbacks=torch.stack([r.fallback for r in trace]).sum(0),
        armijo_share=armijo_share,
        armijo_sum=promised.where(accepted, 0).sum(0),
        decrease=filled[0] - filled[-1],
        monotone=(filled[1:] <= filled[:-1] + ROUNDING * filled[:-1].abs()).all(0),
        relative_stationarity=norms[-1] / norms[0],
        final_iterations=(active & (t <= t_min)).sum(0),
        lipschitz=lipschitz,
        certified_t=t_min + norms[-1] / lipschitz,
        failures=failures,
        integration_error=_integration_error(
            error / filled.diff(dim=0).abs(), accepted, integrated
        ),
        gradient_like=(descent_share == 1) & (armijo_share == 1) & (failures == 0),
    )


def _integration_error(relative: Tensor, accepted: Tensor, integrated: bool) -> Tensor:
    if not integrated:
        return torch.full_like(relative[0], torch.nan)
    return relative.where(accepted, 0.0).nan_to_num(nan=0.0, posinf=torch.inf).amax(0)


def _of_no_iteration(like: Tensor, integrated: bool) -> Certificate:
    nan, none = torch.full_like(like, torch.nan), torch.zeros_like(like)
    return Certificate(
        descent_share=nan,
        descent_bound=nan,
        length_bound=nan,
        fallbacks=none.long(),
        armijo_share=nan,
        armijo_sum=none,
        decrease=none,
        monotone=none == 0,
        relative_stationarity=none + 1,
        final_iterations=none.long(),
        lipschitz=nan,
        certified_t=nan,
        failures=none.long(),
        integration_error=none if integrated else nan,
        gradient_like=none > 0,
    )


def _share(condition: Tensor, among: Tensor) -> Tensor:
    return (condition & among).sum(0).double() / among.sum(0).double()


def _extreme(values: Tensor, among: Tensor, *, largest: bool) -> Tensor:
    """Largest or smallest of the values (K, B) among those wanted, NaN if there are none."""
    outside = -torch.inf if largest else torch.inf
    masked = values.where(among, outside)
    found = masked.amax(0) if largest else masked.amin(0)
    return found.where(among.any(0), torch.nan)


def _carry_forward(values: Tensor) -> Tensor:
    """Replace NaN (K, B) by the last number before it."""
    rows = [values[0]]
    for row in values[1:]:
        rows.append(torch.where(row.isnan(), rows[-1], row))
    return torch.stack(rows)
