"""Laws of the solvers, on small problems in float64."""

import dataclasses
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.solvers import (
    Armijo,
    FixedFirstStep,
    SolverState,
    Status,
    gradient_descent,
    gradient_like,
    iterate,
    linear_schedule,
    log_schedule,
    solve,
)
from gnclightning.tensors import inner, norm
from problems import T_MIN, C, Counting, problem, solvers, start

NAMES = list(solvers())
ARMIJO = [n for n in NAMES if n != "constant"]


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_one_by_one(name):
    solver, objective, x = solvers()[name], problem(), start()
    whole = solve(solver, objective, x)
    for i in range(5):
        row = torch.tensor([i])
        single = solve(solver, objective.select(row), x[row])
        torch.testing.assert_close(single.x, whole.x[row], rtol=1e-9, atol=1e-11)
        assert single.status == [whole.status[i]]
        assert single.state.network_evaluations == whole.state.network_evaluations[i]
        assert single.state.operator_evaluations == whole.state.operator_evaluations[i]


@pytest.mark.parametrize("name", NAMES)
@given(order=st.permutations(range(5)))
def test_permuting_the_images_permutes_the_solution(name, order):
    solver, objective, x = solvers(8)[name], problem(), start()
    index = torch.tensor(order)
    expected = solve(solver, objective, x).x[index]
    permuted = solve(solver, objective.select(index), x[index]).x
    torch.testing.assert_close(permuted, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ARMIJO)
def test_armijo_holds_at_each_accepted_step(name):
    """From the trace: f_new <= reference + c step slope, the reference being recent values of f."""
    solver, objective = solvers()[name], problem()
    solution = solve(solver, objective, start())
    values = [objective.evaluate(start()).value] + [r.value for r in solution.trace]
    accepted = 0
    for i, record in enumerate(solution.trace):
        reference = torch.stack(values[max(0, i + 1 - solver.memory) : i + 1]).amax(0)
        bound = reference + C * record.step_size * record.slope
        ok = (record.value <= bound + 1e-12 * bound.abs()) | (record.step_size == 0)
        assert ok.all()
        accepted += int((record.step_size > 0).sum())
    assert accepted > 40


@pytest.mark.parametrize("name", ["gnc_flow", "gradient_like", "preconditioned"])
def test_the_descent_condition_is_the_cosine_of_grad_f_and_the_direction(name):
    """From the iterates: the direction is where a step has gone."""
    objective, points = problem(), []
    solution = solve(solvers()[name], objective, start(), lambda s, _: points.append(s.point))
    compared = 0
    for (old, new), record in zip(pairwise(points), solution.trace, strict=True):
        moved = new.x - old.x
        cosine = inner(old.gradient, moved) / (norm(old.gradient) * norm(moved))
        rows = record.active & (norm(moved) > 1e-6 * norm(old.x))
        torch.testing.assert_close(record.descent[rows], cosine[rows], rtol=1e-6, atol=0)
        compared += int(rows.sum())
    assert compared > 20


@pytest.mark.parametrize("name", ["gradient_like", "nonmonotone", "preconditioned"])
def test_adaptive_smoothing_always_descends(name):
    solution = solve(solvers()[name], problem(), start())
    for record in solution.trace:
        assert (record.slope[record.active] < 0).all()
        assert (record.descent[record.active] < 0).all()
    assert (solution.certificate.descent_share == 1).all()


def test_adaptive_smoothing_takes_the_largest_descending_time():
    """Checked against a search over the whole schedule, independent of the solver."""
    schedule = linear_schedule(1.0, T_MIN, 40)
    solver = gradient_like(schedule, search=Armijo(C), first_step=FixedFirstStep(1.0))
    objective, x = problem(batch=40), start(40)
    state = solver.init(objective, x)
    skipped = 0
    for _ in range(6):
        level, point = state.level, state.point
        state, record = solver.step(objective, state)
        for i in range(40):
            if not record.active[i]:
                continue
            row = torch.tensor([i])
            part = objective.select(row)
            for j in range(int(level[i]) + 1, 40):
                gradient = part.gradient(point.select(row), schedule[j : j + 1])
                if (point.gradient[i] * gradient[0]).sum() > 0 or j == 39:
                    break
            assert record.t[i] == schedule[j]
            skipped += j - int(level[i]) - 1
    assert skipped > 0


def test_the_descent_condition_is_enforced_from_the_stated_iteration_on():
    """Before it, the schedule is followed level by level, descending or not."""
    schedule = linear_schedule(1.0, T_MIN, 40)
    armijo, first = Armijo(C), FixedFirstStep(1.0)
    solver = gradient_like(schedule, search=armijo, first_step=first, descent_from=6)
    solution = solve(solver, problem(batch=40), start(40))
    early = torch.stack([r.slope for r in solution.trace[:6]])
    late = torch.stack([r.slope[r.active].max() for r in solution.trace[6:]])
    assert (early >= 0).any()
    assert (late < 0).all()
    for level, record in enumerate(solution.trace[:6]):
        assert (record.t[record.active] == schedule[level]).all()


def test_schedule_moves_on_and_ends_at_t_min():
    solution = solve(solvers()["gradient_like"], problem(), start())
    times = torch.stack([r.t for r in solution.trace])
    ends = times[-1]
    assert (ends[~ends.isnan()] == T_MIN).all()
    for previous, t in pairwise(times):
        both = ~t.isnan()
        assert ((t < previous) | (t == T_MIN))[both].all()


def test_direction_sees_the_graduated_objective_and_search_sees_f():
    """One step of Algorithm 1 with constant step, written out (eq. 10)."""
    objective, x = problem(), start()
    solver = solvers()["constant"]
    state, record = solver.step(objective, solver.init(objective, x))
    residual = x @ objective.operator.matrix.mT - objective.y
    t = torch.ones(5, dtype=torch.float64)
    score = objective.prior.score(x, t)
    expected = x - 0.02 * (
        residual @ objective.operator.matrix - objective.alpha(t)[:, None] * score
    )
    torch.testing.assert_close(state.point.x, expected)
    torch.testing.assert_close(record.value, objective.evaluate(expected).value)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_and_resumed_run_equals_a_whole_one(name):
    solver, objective = solvers()[name], problem()
    whole = solve(solver, objective, start())
    with torch.no_grad():
        first = solver.init(objective, start())
        stopped = list(islice(iterate(solver, objective, first), 10))[-1][0]
        state = list(iterate(solver, objective, stopped))[-1][0]
    for field in dataclasses.fields(SolverState):
        mine, theirs = getattr(state, field.name), getattr(whole.state, field.name)
        if field.name == "point":
            mine, theirs = mine.x, theirs.x
        assert torch.equal(mine.nan_to_num(7), theirs.nan_to_num(7)), field.name


def test_stopped_images_are_frozen_bit_for_bit():
    objective, x = problem(), start()
    solver = dataclasses.replace(solvers(60)["preconditioned"], tolerance=1e-2)
    seen: dict[int, torch.Tensor] = {}
    for state, _ in iterate(solver, objective, solver.init(objective, x)):
        for i in (state.status != Status.RUNNING).nonzero().flatten().tolist():
            now = state.point.x[i].clone()
            assert torch.equal(seen.setdefault(i, now), now)
    stopped = [int(k) for k in state.iterations]
    assert min(stopped) < max(stopped), "the images should stop at different iterations"


@pytest.mark.parametrize("name", ["preconditioned", "gradient_descent", "gradient_like"])
def test_a_gaussian_prior_ends_at_the_linear_solution(name):
    """F is quadratic: the minimiser solves (A*A + alpha/v I) x = A*y + alpha m/v."""
    objective = problem(gaussian=True)
    objective.damping = 0.05  # the curvature of this prior is far below 1/nu^2
    solver = dataclasses.replace(solvers(80)[name], steps=3000, tolerance=1e-9)
    solution = solve(solver, objective, start())
    sde, t = objective.alpha.sde, torch.tensor([T_MIN], dtype=torch.float64)
    weight = objective.alpha(t) / (sde.mean_scale(t) ** 2 + sde.std(t) ** 2)
    matrix = objective.operator.matrix
    system = matrix.mT @ matrix + weight * torch.eye(6, dtype=torch.float64)
    right = objective.y @ matrix + weight * sde.mean_scale(t) * 0.5
    expected = torch.linalg.solve(system, right.mT).mT
    assert solution.status == [Status.CONVERGED] * 5
    # |x - x*| <= |grad f(x)| / smallest curvature
    bound = 1e-9 * solution.state.initial_gradient_norm / torch.linalg.eigvalsh(system).min()
    assert ((solution.x - expected).norm(dim=1) <= bound).all()
    assert bound.max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_recorded_evaluations_are_those_made(name):
    objective = problem()
    objective.operator.norm()  # once for all runs, and not one of the iterations
    objective.operator.applications = 0
    solution = solve(solvers()[name], objective, start())
    assert objective.prior.evaluations == solution.state.network_evaluations.sum()
    assert objective.operator.applications == solution.state.operator_evaluations.sum()


@pytest.mark.parametrize(
    ("name", "network", "operator"),
    [("gradient_like", 2, 2), ("gnc_flow", 2, 2), ("constant", 2, 2), ("preconditioned", 2, 6)],
)
def test_usual_iteration_costs_two_prior_evaluations_and_one_pair_of_projections(
    name, network, operator
):
    """First trial accepted: one grad F(., t_i), one f with its gradient; A d and A* A d.

    The preconditioner's three conjugate-gradient steps bring A d and A* A d with them.
    """
    objective = problem()
    objective.operator.norm()
    solver = dataclasses.replace(solvers()[name], first_step=FixedFirstStep(1e-3))
    state = solver.init(objective, start())
    objective.prior.evaluations = objective.operator.applications = 0
    _, record = solver.step(objective, state)
    assert (record.trials == 1).all()
    assert (record.step_size > 0).all()
    assert objective.prior.evaluations == 5 * network
    assert objective.operator.applications == 5 * operator


def test_at_t_min_an_iteration_costs_one_prior_evaluation():
    objective = problem()
    solver = solvers()["gradient_descent"]
    state = solver.init(objective, start())
    before = objective.prior.evaluations
    _, record = solver.step(objective, state)
    assert objective.prior.evaluations - before == record.trials.sum()


class Poisoned(Counting):
    """A prior whose energy or score is NaN for images whose first entry exceeds a bound."""

    def __init__(self, prior, bound: float, what: str):
        super().__init__(prior)
        self.bound, self.what = bound, what

    def energy_and_score(self, x, t):
        energy, score = self.prior.energy_and_score(x, t)
        bad = x[:, 0] > self.bound
        if self.what == "energy":
            return torch.where(bad, torch.nan, energy), score
        return energy, torch.where(bad[:, None], torch.nan, score)


@pytest.mark.parametrize("what", ["energy", "score"])
def test_nan_is_never_accepted_and_stops_only_its_image(what):
    objective, x = problem(), start()
    objective.prior = Poisoned(objective.prior, float(x[:, 0].sort().values[3]), what)
    bad = int(x[:, 0].argmax())
    solution = solve(solvers()["gradient_like"], objective, x)
    assert solution.status[bad] is Status.NOT_FINITE
    assert torch.equal(solution.x[bad], x[bad])
    for i in set(range(5)) - {bad}:
        assert solution.status[i] is not Status.NOT_FINITE
        assert solution.state.point.value[i].isfinite()


@pytest.mark.parametrize("what", ["energy", "score"])
def test_steps_into_nan_are_refused(what):
    """Start below the bound: trials beyond it are shortened until they are finite."""
    objective, x = problem(), start()
    objective.prior = Poisoned(objective.prior, float(x[:, 0].max()) + 0.05, what)
    solution = solve(solvers()["preconditioned"], objective, x)
    point = solution.state.point
    assert point.value.isfinite().all()
    assert point.gradient.isfinite().all()
    assert (solution.x[:, 0] <= objective.prior.bound).all()


def test_a_failed_search_leaves_the_image_unchanged_and_says_so():
    """An energy that grows at every evaluation: no trial can ever be accepted."""

    class Growing(Counting):
        offset = 0.0

        def energy_and_score(self, x, t):
            energy, score = self.prior.energy_and_score(x, t)
            self.offset += 1e9
            return energy + self.offset, score

    objective, x = problem(), start()
    objective.prior = Growing(objective.prior)
    solver = gradient_like(
        log_schedule(1.0, T_MIN, 3), search=Armijo(C, max_trials=4), first_step=FixedFirstStep()
    )
    solution = solve(solver, objective, x)
    assert solution.status == [Status.SEARCH_FAILED] * 5
    assert torch.equal(solution.x, x)
    assert solution.state.failures.tolist() == [3] * 5
    assert [record.trials.tolist() for record in solution.trace] == [[4] * 5] * 3
    assert not solution.certificate.gradient_like.any()


def test_backtracking_shrinks_until_accepted():
    objective, x = problem(gaussian=True), start()
    solver = gradient_descent(
        T_MIN, 1, search=Armijo(C, shrink=0.5, max_trials=60), first_step=FixedFirstStep(2.0**20)
    )
    solution = solve(solver, objective, x)
    (record,) = solution.trace
    torch.testing.assert_close(record.step_size, 2.0 ** (21 - record.trials.double()))
    # The step before, twice as long, must have failed the rule.
    point = objective.evaluate(x)
    longer = objective.move(point, objective.ray(-point.gradient), 2 * record.step_size)
    assert (longer.value > point.value + C * 2 * record.step_size * record.slope).all()
