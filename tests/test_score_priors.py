"""Priors without an energy: f is integrated along the moves, and what a run says of that."""

import dataclasses
import json

import pytest
import torch

from gnclightning.cli import reconstruct
from gnclightning.diagnostics import Inspection, asymmetry, check_gradient, curvature
from gnclightning.objectives import GraduatedObjective
from gnclightning.priors import NetworkScore, ScaledEnergy, ScaledPrior
from gnclightning.quadrature import simpson
from gnclightning.reconstruction.certification import verdict
from gnclightning.sde import VPSDE
from gnclightning.solvers import Solver, Status, certify, solve
from gnclightning.tensors import inner
from problems import T_MIN, C, ScoreOnly, mixture_prior, problem, random, solvers, start
from run_folders import (
    COUNT,
    STEPS,
    column,
    run,
    settings,
    table,
    tiny_prior,
)

ORDERS = {"trapezoidal": 3, "simpson": 5}


def scores(**options) -> GraduatedObjective:
    """`problem` without the prior's energy."""
    objective = problem(**options)
    objective.prior = ScoreOnly(objective.prior.prior)
    return objective


def energy_values(solver: Solver, objective: GraduatedObjective, x):
    """Run without an energy; also f by the energy at the start and after each iteration."""
    exact, values = problem(), []
    solution = solve(
        solver, objective, x, lambda state, _: values.append(exact.evaluate(state.point.x).value)
    )
    return solution, torch.stack(values)


class TestRule:
    def test_a_polynomial_of_degree_four_is_integrated_exactly(self):
        step = torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64)
        slopes = [4 * s**3 - 3 * s**2 + 2 * s - 1 for s in (0 * step, step / 2, step)]
        found = simpson(step, *slopes)
        torch.testing.assert_close(found.value, step**4 - step**3 + step**2 - step)
        trapezoidal = step / 2 * (slopes[0] + slopes[2])
        torch.testing.assert_close(found.error, (found.value - trapezoidal).abs())

    def test_orders_of_convergence_along_a_move(self):
        """Errors against the energy of a mixture fall with the step's fifth and third power."""
        objective, exact, x = scores(), problem(), start()
        point = objective.evaluate(x)
        ray = objective.ray(-point.gradient / point.gradient.norm(dim=1, keepdim=True))
        errors = {rule: [] for rule in ORDERS}
        for length in (0.05, 0.025, 0.0125):
            step = torch.full((5,), length, dtype=torch.float64)
            moved = objective.move(point, ray, step)
            change = exact.evaluate(moved.x).value - exact.evaluate(x).value
            slopes = inner(point.gradient + moved.gradient, ray.direction)
            errors["trapezoidal"].append((step / 2 * slopes - change).abs().sum())
            errors["simpson"].append((moved.value - point.value - change).abs().sum())
            true = (moved.value - point.value - change).abs()
            assert (moved.error + 1e-12 >= true).all()
        for rule, order in ORDERS.items():
            ratios = torch.stack(errors[rule])[:-1] / torch.stack(errors[rule])[1:]
            torch.testing.assert_close(
                ratios.log2(), torch.full((2,), order).double(), atol=0.2, rtol=0
            )


class TestRuns:
    @pytest.mark.parametrize("name", list(solvers()))
    def test_integrated_values_are_those_of_the_energy_up_to_a_constant(self, name):
        """At every iterate, to within 2 % of how far f has fallen, and to what the run claims."""
        solution, exact = energy_values(solvers()[name], scores(), start())
        values = torch.stack([record.value for record in solution.trace])
        fallen = exact[0] - exact[1:]
        off = (values - solution.trace[0].value + exact[1] - exact[1:]).abs()
        claimed = torch.stack([record.error for record in solution.trace]).nan_to_num().cumsum(0)
        assert (off <= claimed + 1e-9).all()
        assert (off <= 0.02 * fallen.amax(0)).all()

    def test_a_gaussian_is_integrated_to_rounding(self):
        objective, exact, x = scores(gaussian=True), problem(gaussian=True), start()
        solution = solve(solvers()["preconditioned"], objective, x)
        fallen = exact.evaluate(x).value - exact.evaluate(solution.x).value
        torch.testing.assert_close(solution.certificate.decrease, fallen, rtol=1e-12, atol=0)
        assert (solution.certificate.integration_error < 1e-10).all()

    @pytest.mark.parametrize("name", [n for n in solvers() if n != "gradient_descent"])
    def test_steps_are_those_with_the_energy(self, name):
        """The same trials are accepted, so that the iterates are the same.

        Of gradient descent one trial here is refused that decreases f by less than its error.
        """
        with_energy = solve(solvers()[name], problem(), start())
        without = solve(solvers()[name], scores(), start())
        for one, other in zip(with_energy.trace, without.trace, strict=True):
            assert torch.equal(one.trials, other.trials)
        torch.testing.assert_close(without.x, with_energy.x, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("name", list(solvers()))
    def test_recorded_evaluations_are_those_made(self, name):
        objective = scores()
        solution = solve(solvers()[name], objective, start())
        assert objective.prior.evaluations == solution.state.network_evaluations.sum()

    def test_a_trial_costs_two_scores(self):
        objective = scores()
        point = objective.evaluate(start())
        before = objective.prior.evaluations
        objective.move(point, objective.ray(-point.gradient), torch.full((5,), 0.1).double())
        assert objective.prior.evaluations - before == 5 * objective.move_cost == 10

    def test_a_batch_is_its_images_one_by_one(self):
        objective, x = scores(), start()
        whole = solve(solvers()["gradient_like"], objective, x)
        for i in range(5):
            rows = torch.tensor([i])
            alone = solve(solvers()["gradient_like"], objective.select(rows), x[rows])
            torch.testing.assert_close(alone.x[0], whole.x[i], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(
                alone.certificate.integration_error[0],
                whole.certificate.integration_error[i],
                rtol=1e-6,
                atol=0,
            )


class Uncertain(GraduatedObjective):
    """Claims that each change of f may be wrong by a share of it."""

    share: float

    def move(self, point, ray, step):
        moved = super().move(point, ray, step)
        return dataclasses.replace(moved, error=self.share * (moved.value - point.value).abs())


@pytest.mark.parametrize(("share", "status"), [(0.9, "BUDGET_SPENT"), (1.0, "SEARCH_FAILED")])
def test_a_decrease_that_may_be_an_error_is_refused(share, status):
    objective = scores()
    objective.__class__ = Uncertain
    objective.share = share
    solution = solve(solvers()["gradient_like"], objective, start())
    assert solution.status == [Status[status]] * 5
    assert torch.equal(solution.x, start()) == (share == 1)


class Swirl(ScoreOnly):
    """Adds a rotation, which is no gradient, to the score."""

    def __init__(self, prior, strength: float):
        super().__init__(prior)
        turn = random(6, 6, seed=4)
        self.turn = strength * (turn - turn.mT)

    def score(self, x, t):
        return super().score(x, t) + x @ self.turn.mT


class TestCertificate:
    def test_nothing_is_said_of_integrals_where_there_is_an_energy(self):
        found = solve(solvers()["gradient_like"], problem(), start()).certificate
        assert found.integration_error.isnan().all()
        assert "integrated" not in verdict(found)

    def test_the_error_is_the_largest_of_the_steps_relative_to_the_change_of_f(self):
        solution = solve(solvers()["preconditioned"], scores(), start())
        first = scores().evaluate(start()).value
        values = torch.stack([first, *(record.value for record in solution.trace)])
        errors = torch.stack([record.error for record in solution.trace])
        relative = torch.where(errors > 0, errors / values.diff(dim=0).abs(), 0.0)
        taken = torch.stack([record.step_size > 0 for record in solution.trace])
        torch.testing.assert_close(
            solution.certificate.integration_error, relative.where(taken, 0.0).amax(0)
        )
        assert solution.certificate.integration_error.max() > 0.01
        assert solution.certificate.gradient_like.all()

    def test_a_planted_error_that_eats_the_decrease_violates_armijo(self):
        solution = solve(solvers()["gradient_like"], scores(), start())
        first = scores().evaluate(start())

        def certified(trace):
            norm = solution.state.initial_gradient_norm
            return certify(trace, C, T_MIN, first.value, norm, integrated=True)

        assert certified(solution.trace).gradient_like.all()
        record = solution.trace[3]
        planted = record.error.index_fill(0, torch.tensor([2]), 1e6)
        broken = [*solution.trace]
        broken[3] = dataclasses.replace(record, error=planted)
        assert certified(broken).gradient_like.tolist() == [True, True, False, True, True]
        assert certified(broken).integration_error[2] > 1

    def test_a_score_that_is_a_gradient_is_told_from_one_that_is_not(self):
        prior = mixture_prior(VPSDE(), 6)
        t = torch.full((5,), T_MIN, dtype=torch.float64)
        for strength, words in ((0.0, "looks like a gradient"), (2.0, "the score is no gradient")):
            objective = scores()
            objective.prior = Swirl(prior, strength)
            solution = solve(solvers()["gradient_like"], objective, start())
            found = Inspection(asymmetry(objective.prior, solution.x, t))
            assert words in verdict(solution.certificate, found)
            assert "f was integrated from the score" in verdict(solution.certificate, found)

    def test_curvature_is_that_of_the_symmetric_part(self):
        prior, t = mixture_prior(VPSDE(), 6), torch.full((5,), 0.1, dtype=torch.float64)
        exact = curvature(prior, start(), t, steps=6)
        found = curvature(Swirl(prior, 3.0), start(), t, steps=6)
        torch.testing.assert_close(found.smallest, exact.smallest, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(found.largest, exact.largest, rtol=1e-8, atol=1e-8)


class TestGradientTest:
    def test_integrals_agree_with_the_integrand(self):
        check_gradient(scores(), start())


def test_the_scaled_score_is_that_of_the_scaled_energy():
    sde, t = VPSDE(), torch.linspace(0.1, 0.9, 5).double()
    prior = mixture_prior(sde, 6)
    scaled, energy = ScaledPrior(ScoreOnly(prior), sde), ScaledEnergy(prior, sde)
    torch.testing.assert_close(scaled.score(start(), t), energy.score(start(), t))
    torch.testing.assert_close(scaled.curvature(t), energy.curvature(t))


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    path = tmp_path_factory.mktemp("prior") / "score.safetensors"
    return tiny_prior(path, kind=NetworkScore)


@pytest.fixture(scope="module")
def folder(score, tmp_path_factory):
    more = ("methods=[gradient_descent,dps]", "dps.steps=2", "gradient_descent.steps=2")
    return run(score, tmp_path_factory.mktemp("run"), *more, "alpha.sweep=[1]", "starts=2")


class TestProgram:
    def test_a_run(self, folder):
        """An untrained score is no gradient, which the certificate says of every image."""
        found = json.loads((folder / "certificate.json").read_text())["preconditioned"]
        assert "f was integrated from the score" in found["verdict"]
        assert "the score is no gradient" in found["verdict"]
        assert len(found["images"]) == COUNT
        assert all(row["asymmetry"] > 1e-3 for row in found["images"])
        assert all(row["integration_error"] >= 0 for row in found["images"])
        assert "smallest_curvature" not in found["images"][0]
        assert found["verdict"] in (folder / "report.html").read_text()

    def test_its_evaluations(self, folder):
        """One at first, two of each trial, one of each direction but the last, four at the end."""
        for row in table(folder / "metrics.csv"):
            if row["method"] != "preconditioned":
                continue
            steps = [r for r in table(folder / "trace.csv") if r["image"] == row["image"]][1:]
            trials = sum(int(r["line_search_trials"]) for r in steps)
            assert int(row["network_evaluations"]) == 1 + 2 * trials + STEPS - 1 + 4

    def test_its_regulariser_starts_from_zero(self, folder):
        assert column(folder / "trace.csv", "regulariser", iteration="0") == [0.0] * COUNT

    @pytest.mark.parametrize(
        "more",
        [
            ("certificate.level=full", "solver.name=gradient_like"),
            ("alpha.rule=discrepancy", "alpha.tries=2", "prior.evaluate_at=scaled"),
        ],
    )
    def test_other_settings(self, score, tmp_path, more):
        folder = run(score, tmp_path / "run", "methods=[]", "data.count=1", *more)
        (method,) = json.loads((folder / "certificate.json").read_text()).values()
        (found,) = method["images"]
        assert found["integration_error"] >= 0
        assert ("smallest_curvature" in found) == (more[0] == "certificate.level=full")

    def test_before_a_run(self, score, tmp_path, capsys):
        assert reconstruct([*settings(score, tmp_path / "o", "methods=[]"), "--dry-run"]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "from finite differences" in out
        assert "GB with 3 images at a time" in out
