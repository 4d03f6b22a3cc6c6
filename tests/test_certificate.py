"""Certificates pass where theory holds, and each of their statements fails on its violation."""

import dataclasses

import pytest
import torch
from torch import Tensor

from gnclightning.problem import Ray
from gnclightning.reconstruction.certification import verdict
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    ConstantStep,
    FixedFirstStep,
    Safeguard,
    certify,
    gnc_flow,
    gradient_like,
    log_schedule,
    preconditioned,
    solve,
)
from problems import T_MIN, C, problem, solvers, start

BB = BarzilaiBorweinFirstStep(0.1, 4.0)
SCHEDULE = log_schedule(1.0, T_MIN, 25)


def solver(**changes):
    chosen = gradient_like(SCHEDULE, search=Armijo(C), first_step=BB)
    return dataclasses.replace(chosen, **changes)


@pytest.fixture(scope="module")
def run():
    """A run, and what certifies a changed trace of it."""
    objective, x = problem(), start()
    solution = solve(solver(steps=30), objective, x)
    first = objective.evaluate(x)
    norm = first.gradient.norm(dim=1)

    def certificate(trace):
        return certify(trace, C, T_MIN, first.value, norm)

    return solution, certificate


def planted(trace, index: int, **values: float):
    """The trace with numbers of image 2 in one iteration replaced."""
    row = torch.tensor([2])
    changed = {
        name: getattr(trace[index], name).index_fill(0, row, value)
        for name, value in values.items()
    }
    return [*trace[:index], dataclasses.replace(trace[index], **changed), *trace[index + 1 :]]


def test_bounds_of_definition_3_1_are_those_of_the_directions(run):
    """From the iterates: -<grad f, d>/|grad f|^2 and |d|/|grad f| over all iterations."""
    objective, x = problem(), start()
    points, rays = [], []

    def watch(state, record):
        points.append(objective.evaluate(state.point.x))
        if record is None:
            return
        moved = (points[-1].x - points[-2].x).norm(dim=1)
        rays.append(moved / record.step_size)

    solution = solve(solver(steps=30), objective, x, watch)
    norms = torch.stack([p.gradient.norm(dim=1) for p in points[:-1]])
    ratio = (torch.stack(rays) / norms).amax(0)
    torch.testing.assert_close(solution.certificate.length_bound, ratio, rtol=1e-6, atol=0)
    slopes = torch.stack([r.slope for r in solution.trace])
    bound = (-slopes / norms**2).amin(0)
    torch.testing.assert_close(solution.certificate.descent_bound, bound)
    assert (bound > 0).all()


def test_a_direction_that_hardly_descends_lowers_its_bound(run):
    solution, certificate = run
    assert (certificate(solution.trace).descent_bound > 1e-4).all()
    bad = certificate(planted(solution.trace, 4, slope=-1e-12))
    assert bad.descent_bound[2] < 1e-9
    assert (bad.descent_bound[[0, 1, 3, 4]] > 1e-4).all()


def test_a_huge_direction_raises_its_bound(run):
    solution, certificate = run
    assert (certificate(solution.trace).length_bound < 1e3).all()
    bad = certificate(planted(solution.trace, 4, direction_norm=1e30))
    assert bad.length_bound[2] > 1e20
    assert (bad.length_bound[[0, 1, 3, 4]] < 1e3).all()


def test_the_armijo_sum_stays_below_the_decrease_and_a_false_step_breaks_that(run):
    solution, certificate = run
    good = certificate(solution.trace)
    first, last = problem().evaluate(start()).value, problem().evaluate(solution.x).value
    torch.testing.assert_close(good.decrease, first - last)
    expected = sum(-C * r.step_size * r.slope for r in solution.trace)
    torch.testing.assert_close(good.armijo_sum, expected)
    assert (good.armijo_sum > 0).all()
    assert (good.armijo_sum <= good.decrease).all()
    bad = certificate(planted(solution.trace, 0, step_size=1e9))
    assert (bad.armijo_sum <= bad.decrease).tolist() == [True, True, False, True, True]


def test_the_lipschitz_constant_is_that_of_the_regulariser_in_t(run):
    """alpha_t grad R(x,t) at the iterates, evaluated anew."""
    objective, x = problem(), start()
    points = [x]
    solution = solve(solver(steps=30), objective, x, lambda s, r: points.append(s.point.x))
    t_min = torch.full((5,), T_MIN, dtype=torch.float64)
    quotients = []
    for point, record in zip(points, solution.trace, strict=False):
        weighted = [
            objective.alpha(t)[:, None] * objective.prior.score(point, t) for t in (record.t, t_min)
        ]
        quotient = (weighted[0] - weighted[1]).norm(dim=1) / (record.t - T_MIN)
        quotients.append(quotient.where(record.t > T_MIN, -torch.inf))
    constant = torch.stack(quotients).amax(0)
    found = solution.certificate
    torch.testing.assert_close(found.lipschitz, constant)
    final = objective.evaluate(solution.x).gradient.norm(dim=1)
    torch.testing.assert_close(found.certified_t, T_MIN + final / constant)


def test_directions_below_the_certified_time_descend_if_the_constant_is_the_true_one():
    """On a line of Gaussians the constant in t can be bounded from a fine grid."""
    objective, x = problem(gaussian=True), start()
    point = objective.evaluate(x)
    times = torch.linspace(T_MIN, 1, 400, dtype=torch.float64)[1:]
    gradients = [objective.gradient(point, t.expand(5)) for t in times]
    gaps = torch.stack([(g - point.gradient).norm(dim=1) for g in gradients])
    constant = (gaps / (times[:, None] - T_MIN)).amax(0)
    certified = T_MIN + point.gradient.norm(dim=1) / constant
    slopes = torch.stack([-(g * point.gradient).sum(1) for g in gradients])
    assert (slopes[times[:, None] < certified] < 0).all()
    assert (times[:, None] < certified).any()


def test_a_jump_in_t_raises_the_constant_and_lowers_the_certified_time(run):
    solution, certificate = run
    good, bad = certificate(solution.trace), certificate(planted(solution.trace, 3, gap=1e9))
    assert bad.lipschitz[2] > 1e6 * good.lipschitz[2]
    assert bad.certified_t[2] < good.certified_t[2]
    assert bad.certified_t[2] == pytest.approx(T_MIN, rel=1e-3)


def test_iterations_at_t_min_are_counted():
    solution = solve(solver(steps=30), problem(), start())
    counts = torch.stack([r.t == T_MIN for r in solution.trace]).sum(0)
    assert torch.equal(solution.certificate.final_iterations, counts)
    assert (counts >= 6).all()


class Reversed:
    """A planted violation: directions that climb, or are not finite, or nearly orthogonal."""

    def __init__(self, factor: float, size: float = 1.0):
        self.factor, self.size = factor, size

    def propose(self, problem, gradient: Tensor, t: Tensor) -> Ray:
        noise = torch.linspace(-1, 1, gradient.shape[1], dtype=gradient.dtype).expand_as(gradient)
        square = gradient.square().sum(1, keepdim=True)
        orthogonal = noise - (noise * gradient).sum(1, keepdim=True) / square * gradient
        return problem.ray(self.size * (self.factor * gradient + orthogonal))

    def ray(self, problem, proposal: Ray) -> Ray:
        return proposal

    def scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def cost(self, problem) -> tuple[int, int]:
        return 2, 0


@pytest.mark.parametrize(
    "direction",
    [Reversed(1.0), Reversed(-1e-12), Reversed(-1.0, size=1e12), Reversed(torch.nan)],
    ids=["uphill", "orthogonal", "huge", "nan"],
)
def test_the_safeguard_makes_any_direction_gradient_like(direction):
    """At t_min every bad direction gives way to -grad f, so the run converges all the same."""
    safe = solver(schedule=SCHEDULE[-3:], steps=400, direction=direction, tolerance=1e-5, memory=1)
    solution = solve(safe, problem(), start())
    found = solution.certificate
    assert found.gradient_like.all()
    assert (found.fallbacks == solution.state.iterations).all()
    assert (found.descent_bound >= 1e-8).all()
    assert (found.length_bound <= 1e8).all()
    assert (found.relative_stationarity <= 1e-5).all()
    torch.testing.assert_close(found.descent_bound, torch.ones(5).double())


def test_without_the_safeguard_the_certificate_reports_the_violation():
    free = solver(schedule=SCHEDULE[-3:], steps=5, direction=Reversed(1.0), descent_from=None)
    found = solve(free, problem(), start()).certificate
    assert (found.descent_bound < 0).all()
    assert not found.gradient_like.any()
    assert (found.fallbacks == 0).all()


@pytest.mark.parametrize(("kappa_1", "kappa_2"), [(0.9, 1e8), (1e-8, 1e-3)])
def test_strict_constants_hold_along_the_run(kappa_1, kappa_2):
    """With kappa_1 = 0.9 only nearly -grad f is left; 1e-3 excludes what is longer."""
    safeguard = Safeguard(kappa_1, kappa_2)
    strict = preconditioned(
        SCHEDULE, search=Armijo(C, max_trials=40), first_step=FixedFirstStep(), safeguard=safeguard
    )
    found = solve(strict, problem(), start()).certificate
    kept = found.fallbacks == 0
    assert (found.descent_bound >= min(kappa_1, 1)).all()
    assert (found.length_bound[kept] <= kappa_2).all()
    assert (found.length_bound[~kept] <= max(kappa_2, 1) * (1 + 1e-12)).all()
    free = dataclasses.replace(strict, safeguard=Safeguard())
    loose = solve(free, problem(), start()).certificate
    assert (loose.descent_bound < kappa_1).any() or (loose.length_bound > kappa_2).any()


def test_a_fallback_is_counted_as_one_projection_more():
    objective = problem()
    safe = solver(schedule=SCHEDULE[-1:], steps=4, direction=Reversed(1.0))
    before = objective.operator.applications
    solution = solve(safe, objective, start())
    made = objective.operator.applications - before
    assert int(solution.state.operator_evaluations.sum()) == made


def test_constant_steps_are_not_certified_as_armijo_steps():
    """Also where all descended and f fell all the way, as at this tiny step."""
    schedule = torch.full((10,), T_MIN, dtype=torch.float64)
    flow = gnc_flow(schedule, search=ConstantStep(), first_step=FixedFirstStep(1e-3))
    found = solve(flow, problem(), start()).certificate
    assert found.descent_share.eq(1).all()
    assert found.monotone.all()
    assert found.armijo_share.isnan().all()
    assert found.armijo_sum.isnan().all()
    assert not found.gradient_like.any()
    assert "steps followed no rule" in verdict(found)


def test_a_nonmonotone_certificate_refuses_what_no_recent_value_allows():
    objective = problem()
    solution = solve(solvers()["nonmonotone"], objective, start())
    norm0 = solution.state.initial_gradient_norm
    values = objective.evaluate(start()).value
    assert certify(solution.trace, C, T_MIN, values, norm0, memory=4).armijo_share.eq(1).all()
    record = solution.trace[5]
    broken = dataclasses.replace(record, value=record.value + 1e6)
    planted = [*solution.trace[:5], broken, *solution.trace[6:]]
    assert (certify(planted, C, T_MIN, values, norm0, memory=4).armijo_share < 1).all()
    # Below the first values, above the four before it.
    recent = torch.stack([values, *(r.value for r in solution.trace[:5])])
    between = 0.5 * (recent[-4:].amax(0) + recent.amax(0))
    assert (between > recent[-4:].amax(0)).all()
    planted[5] = dataclasses.replace(record, value=between)
    assert (certify(planted, C, T_MIN, values, norm0, memory=4).armijo_share < 1).all()


@pytest.mark.parametrize("field", ["slope", "value", "step_size"])
def test_certificate_fails_on_a_planted_violation(field):
    objective = problem()
    solution = solve(solvers()["gradient_like"], objective, start())
    initial = objective.evaluate(start())
    norm0 = solution.state.initial_gradient_norm
    good = certify(solution.trace, C, T_MIN, initial.value, norm0)
    assert good.gradient_like.all()
    assert good.monotone.all()
    row = torch.tensor([2])
    broken = list(solution.trace)
    planted = {"slope": 1.0, "value": 1e6, "step_size": 0.0}[field]
    value = getattr(broken[5], field).index_fill(0, row, planted)
    broken[5] = dataclasses.replace(broken[5], **{field: value})
    bad = certify(broken, C, T_MIN, initial.value, norm0)
    assert bad.gradient_like.tolist() == [True, True, False, True, True]


def test_certificate_reports_stationarity_at_the_end():
    objective = problem()
    solution = solve(solvers()["preconditioned"], objective, start())
    final = objective.evaluate(solution.x).gradient.norm(dim=1)
    first = objective.evaluate(start()).gradient.norm(dim=1)
    torch.testing.assert_close(
        solution.certificate.relative_stationarity, final / first, rtol=1e-6, atol=0
    )
