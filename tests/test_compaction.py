"""Images enter the batch as others stop: the same as one by one, certificates included."""

from dataclasses import fields, replace

import pytest
import torch

from gnclightning.solvers import Solver, Status, solve
from problems import problem, solvers, start


def stopping(tolerance: float) -> dict[str, Solver]:
    return {name: replace(solver, tolerance=tolerance) for name, solver in solvers().items()}


@pytest.mark.parametrize("name", list(solvers()))
@pytest.mark.parametrize("width", [1, 2])
def test_a_narrow_batch_gives_what_a_wide_one_does(name, width):
    solver = stopping(0.05)[name]
    objective, x = problem(), start()
    whole, narrow = solve(solver, objective, x), solve(solver, objective, x, width=width)
    assert narrow.status == whole.status
    assert narrow.state.iterations.tolist() == whole.state.iterations.tolist()
    torch.testing.assert_close(narrow.x, whole.x, rtol=1e-4, atol=1e-7)
    for entry in fields(whole.certificate):
        ours, theirs = (getattr(s.certificate, entry.name) for s in (narrow, whole))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-9, equal_nan=True)


def test_the_batch_stays_full_while_images_wait():
    """Each iteration sees two images until fewer are left, and one that stopped never returns."""
    solver = stopping(0.05)["gradient_descent"]
    objective, x = problem(), start()
    solution = solve(solver, objective, x, width=2)
    active = torch.stack([record.active for record in solution.trace])
    left = solution.state.iterations[None] - active.long().cumsum(0) + active.long()
    expected = (left > 0).sum(1).clamp(max=2)
    assert active.sum(1).tolist() == expected.tolist()
    assert len(set(solution.state.iterations.tolist())) > 1
    for column in active.T:
        runs = torch.diff(column.int(), prepend=torch.zeros(1, dtype=torch.int32)) == 1
        assert int(runs.sum()) == 1
    assert set(solution.status) <= {Status.CONVERGED, Status.BUDGET_SPENT}


def test_the_network_sees_no_more_than_the_width():
    seen = []
    objective = problem()
    original = objective.prior.energy_and_score
    objective.prior.energy_and_score = lambda x, t: (seen.append(len(x)), original(x, t))[1]
    solve(stopping(0.0)["gradient_descent"], objective, start(), width=2)
    assert max(seen) == 2
