"""First trials, nonmonotone searches and schedules."""

import dataclasses

import pytest
import torch

from gnclightning.problem import barzilai_borwein
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    FixedFirstStep,
    linear_schedule,
    log_schedule,
    solve,
)
from problems import T_MIN, C, problem, solvers, start


def test_barzilai_borwein_on_a_quadratic_lies_between_inverse_curvatures():
    objective = problem(gaussian=True)
    old = objective.evaluate(start(seed=3))
    new = objective.evaluate(start(seed=4))
    step = barzilai_borwein(old, new)
    t = torch.tensor([T_MIN], dtype=torch.float64)
    sde, matrix = objective.alpha.sde, objective.operator.matrix
    weight = objective.alpha(t) / (sde.mean_scale(t) ** 2 + sde.std(t) ** 2)
    curvatures = torch.linalg.eigvalsh(
        matrix.mT @ matrix + weight * torch.eye(6, dtype=torch.float64)
    )
    assert (step >= 1 / curvatures.max()).all()
    assert (step <= 1 / curvatures.min()).all()
    change, moved = new.gradient - old.gradient, new.x - old.x
    second = (moved * change).flatten(1).sum(1) / change.square().flatten(1).sum(1)
    first = moved.square().flatten(1).sum(1) / (moved * change).flatten(1).sum(1)
    torch.testing.assert_close(step, second)
    assert (second < 0.99 * first).all()


def test_barzilai_borwein_is_rejected_where_it_is_negative_or_undefined():
    objective = problem(gaussian=True)
    old, new = objective.evaluate(start(seed=3)), objective.evaluate(start(seed=4))
    concave = dataclasses.replace(new, gradient=2 * old.gradient - new.gradient)
    assert barzilai_borwein(old, concave).isnan().all()
    assert barzilai_borwein(old, old).isnan().all()
    rule = BarzilaiBorweinFirstStep(initial=0.3, factor=4.0)
    nan, scale = torch.tensor([torch.nan]).double(), torch.tensor([0.5]).double()
    assert rule(nan, nan, scale).item() == 0.3
    assert rule(nan, torch.tensor([0.25]).double(), scale).item() == 0.5
    assert rule(nan, torch.tensor([0.0]).double(), scale).item() == 0.3
    assert rule(torch.tensor([1.0]).double(), nan, scale).item() == 8.0


@pytest.mark.parametrize(("proposed", "tried"), [(1e30, 1e10), (1e-30, 1e-10), (0.3, 0.3)])
def test_the_first_trial_is_bounded_whatever_was_proposed(proposed, tried):
    seen = []

    class Spy(Armijo):
        def __call__(self, problem, point, ray, step, reference, slope):
            seen.append(step)
            return super().__call__(problem, point, ray, step, reference, slope)

    first = FixedFirstStep(proposed)
    solver = dataclasses.replace(solvers()["gradient_like"], first_step=first, search=Spy(C))
    objective = problem()
    solver.step(objective, solver.init(objective, start()))
    assert seen[0].tolist() == [tried] * 5


def test_nonmonotone_search_may_rise_but_not_above_recent_values():
    objective, x = problem(batch=60), start(60)
    solver = dataclasses.replace(
        solvers(40)["nonmonotone"], first_step=BarzilaiBorweinFirstStep(0.5, 40.0)
    )
    solution = solve(solver, objective, x)
    values = torch.stack([objective.evaluate(x).value] + [r.value for r in solution.trace])
    rises = (values[1:] > values[:-1]).sum()
    assert rises > 0
    for i, record in enumerate(solution.trace):
        ceiling = values[max(0, i - 3) : i + 1].amax(0)
        assert (record.value <= ceiling + 1e-9)[record.active].all()


def test_schedules():
    linear = linear_schedule(1.0, 0.01, 12)
    torch.testing.assert_close(linear.diff(), torch.full((11,), -0.09).double())
    log = log_schedule(1.0, 0.01, 12)
    torch.testing.assert_close(log[1:] / log[:-1], torch.full((11,), 0.01 ** (1 / 11)).double())
    assert linear[-1] == log[-1] == 0.01
    with pytest.raises(ValueError, match="0 < t_min <= t_max"):
        log_schedule(0.1, 0.5, 4)
    with pytest.raises(ValueError, match="at least one step"):
        linear_schedule(1.0, 0.5, 0)
