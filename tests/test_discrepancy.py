"""The discrepancy principle on small problems whose answer is known, and in runs."""

from dataclasses import replace

import h5py
import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import Matrix
from gnclightning.reconstruction.discrepancy import (
    LARGEST,
    Discrepancy,
    Found,
    solve_to_discrepancy,
)
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.sde import VPSDE
from gnclightning.solvers import solve
from gnclightning.tensors import norm
from problems import T_MIN, gaussian_prior, mixture_prior, random, solvers
from run_folders import PHANTOMS, column, run, table

F64 = torch.float64
SIGMA = torch.tensor([0.02, 0.04, 0.08, 0.15], dtype=F64)
M, N = 8, 12
VARIANCE = 0.01


def problem(index: slice = slice(None), mixture: bool = False) -> GraduatedObjective:
    """Eight measurements of twelve unknowns, four noise levels, weights that are too small."""
    sde = VPSDE()
    prior = mixture_prior(sde, N, 0.5) if mixture else gaussian_prior(sde, N, VARIANCE)
    operator = Matrix(random(M, N, seed=1))
    x = 0.5 + VARIANCE**0.5 * random(4, N, seed=4)
    y = operator(x) + SIGMA[:, None] * random(4, M, seed=2)
    alpha = Alpha.from_noise_level(sde, SIGMA[index], T_MIN, 1.0, 0.1)
    return GraduatedObjective(operator, y[index], prior, alpha, T_MIN, cg_factor=0, cg_steps=N)


def search(
    index: slice = slice(None), rule: Discrepancy | None = None, mixture: bool = False
) -> Found:
    objective = problem(index, mixture)
    rule = rule or Discrepancy(tolerance=1e-3, steps=30)
    target = rule.tau * SIGMA[index] * M**0.5
    solver = solvers(30)["preconditioned"]
    start = torch.zeros(4, N, dtype=F64)[index]
    return solve_to_discrepancy(solver, objective, start, target, rule, lambda *_: None)


def test_the_target_is_the_noise_of_the_rays_that_count():
    """Tau sigma sqrt(m) for 3 x 5 rays, of which four have no weight in the second image."""
    y = torch.zeros(2, 1, 3, 5)
    sigma = torch.tensor([0.5, 2.0], dtype=F64)
    batch = MeasuredBatch(("a", "b"), None, y, sigma, y, (0, 1))
    rule = Discrepancy(tau=1.5)
    assert rule.target(batch).tolist() == pytest.approx([0.75 * 15**0.5, 3 * 15**0.5])
    weights = torch.full_like(y, 1.25)
    weights[1, 0, 0, 1:] = 0
    found = rule.target(replace(batch, weights=weights)).tolist()
    assert found == pytest.approx([0.75 * 15**0.5, 3 * 11**0.5])


@pytest.mark.parametrize("mixture", [False, True])
def test_the_residual_is_what_the_noise_is(mixture):
    """To a thousandth; to a hundredth where f is not convex."""
    tolerance = 1e-2 if mixture else 1e-3
    found = search(rule=Discrepancy(tolerance=tolerance, steps=30), mixture=mixture)
    operator, y = Matrix(random(M, N, seed=1)), problem().y
    residual = norm(operator(found.solution.x) - y)
    torch.testing.assert_close(residual, SIGMA * M**0.5, rtol=tolerance, atol=0)
    assert found.reached.all()
    assert bool((found.factor > 1).all())


def test_the_weight_is_the_one_that_tikhonov_needs():
    """At t_min the Gaussian prior is one again, and the minimiser a linear function of y."""
    found = search(rule=Discrepancy(tolerance=1e-4, steps=100, tries=30))
    objective = problem()
    t = torch.full((4,), T_MIN, dtype=F64)
    sde = objective.alpha.sde
    variance = float(VARIANCE * sde.mean_scale(t)[0] ** 2 + sde.std(t)[0] ** 2)
    mean = 0.5 * sde.mean_scale(t)[0]
    matrix = random(M, N, seed=1)
    for n in range(4):

        def residual(factor: float, n: int = n) -> float:
            weight = factor * objective.alpha(t)[n] / variance
            normal = matrix.T @ matrix + weight * torch.eye(N, dtype=F64)
            x = torch.linalg.solve(normal, matrix.T @ objective.y[n] + weight * mean)
            return float((matrix @ x - objective.y[n]).norm())

        low, high = 1e-6, 1e9
        for _ in range(100):
            middle = (low * high) ** 0.5
            below = residual(middle) < float(SIGMA[n]) * M**0.5
            low, high = (middle, high) if below else (low, middle)
        assert float(found.factor[n]) == pytest.approx(low, rel=0.03)


def test_batch_is_one_by_one():
    together = search()
    for n in range(4):
        alone = search(slice(n, n + 1))
        torch.testing.assert_close(together.factor[n : n + 1], alone.factor, rtol=1e-9, atol=0)
        torch.testing.assert_close(together.solution.x[n : n + 1], alone.solution.x)
        for name in ("iterations", "network_evaluations", "operator_evaluations"):
            ours, theirs = (getattr(f.solution.state, name) for f in (together, alone))
            assert ours[n] == theirs[0]


def test_each_weight_goes_on_from_the_last_solution():
    """One step of the second run ends below where the first one did, in the new f."""
    solver, start = solvers(300)["gradient_descent"], torch.zeros(4, N, dtype=F64)
    first = solve(solver, problem(), start)
    rule = Discrepancy(tolerance=1e-6, tries=1, steps=1)
    found = solve_to_discrepancy(solver, problem(), start, SIGMA * M**0.5, rule, lambda *_: None)
    objective = problem().scaled(found.factor)
    before, after, anew = (objective.evaluate(x).value for x in (first.x, found.solution.x, start))
    assert bool((after < before).all())
    assert bool((before < 0.5 * anew).all())


def test_what_cannot_be_reached_is_said():
    """No weight takes the residual beyond that of the prior's mean."""
    found = search(rule=Discrepancy(tau=1000, tries=6, steps=5))
    assert not found.reached.any()
    assert found.factor.tolist() == pytest.approx([LARGEST] * 4)


def test_the_trace_goes_on_and_the_certificate_is_of_the_last_run():
    told = []
    rule = Discrepancy(tolerance=1e-3, steps=7)
    target = SIGMA * M**0.5
    start = torch.zeros(4, N, dtype=F64)
    found = solve_to_discrepancy(
        solvers(30)["preconditioned"],
        problem(),
        start,
        target,
        rule,
        lambda objective, state, record: told.append((objective, state, record)),
    )
    assert [record is None for *_, record in told] == [True] + [False] * len(found.solution.trace)
    objective, state, record = told[-1]
    values = objective.evaluate(state.point.x).value
    torch.testing.assert_close(values[record.active], record.value[record.active])
    iterations = sum(record.active.long() for record in found.solution.trace)
    assert torch.equal(iterations, found.solution.state.iterations)
    assert found.solution.certificate.final_iterations.tolist() == [7] * 4


class TestRuns:
    OVERRIDES = ("methods=[]", "noise.relative=0.1", "solver.t_min=0.025", "alpha.tau=1.02")

    def reached(self, prior, folder, *overrides, data) -> list[bool]:
        """Whether the trace ends with the residual asked for, image by image; checks the status."""
        more = (*self.OVERRIDES, "alpha.rule=discrepancy", *overrides)
        run(prior, folder, *more, data=data)
        rows = table(folder / "metrics.csv")
        with h5py.File(folder / "reconstructions.h5") as file:
            rays, sigmas = file["sinogram"][0].size, file.attrs["sigma_y"]
        found = []
        for row, sigma in zip(rows, sigmas, strict=True):
            fidelity = column(folder / "trace.csv", "data_fidelity", image=row["image"])[-1]
            found.append(abs((2 * fidelity / rays) ** 0.5 / (1.02 * sigma) - 1) <= 0.0101)
            assert found[-1] == (row["status"] != "discrepancy missed")
            assert float(row["alpha"]) > 0
        return found

    def test_a_run_says_whether_it_got_there(self, prior, tmp_path):
        """An untrained prior need not; each image has a weight of its own."""
        self.reached(prior, tmp_path / "run", "solver.steps=8", "alpha.tries=5", data=PHANTOMS)
        plain = run(prior, tmp_path / "plain", *self.OVERRIDES, "solver.steps=8", data=PHANTOMS)
        found, usual = (column(f / "metrics.csv", "alpha") for f in (tmp_path / "run", plain))
        assert len(set(found)) == 3
        assert all(abs(ours / theirs - 1) > 0.1 for ours, theirs in zip(found, usual, strict=True))

    @pytest.mark.slow
    def test_the_shipped_prior_gets_there(self, tmp_path):
        """With the default iterations: a weight's quarter of them would be too few."""
        data = ("data.name=ellipses", "data.count=2")
        more = ("solver.steps=10", "geometry.angles=60")
        assert self.reached("ellipses-128", tmp_path, *more, data=data) == [True, True]
        assert min(column(tmp_path / "metrics.csv", "psnr")) > 28

    def test_a_method_without_weight_has_none(self, prior, tmp_path):
        rows = table(run(prior, tmp_path, "methods=[fbp]") / "metrics.csv")
        assert [row["alpha"] == "" for row in rows] == [True, False] * 3
