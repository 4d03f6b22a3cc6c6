"""The 2D experiment: its problem, its minima and its rates."""

import math
from dataclasses import replace

import pytest
import torch

from gnclightning.experiments.toy2d.critical_points import derivatives, find_minima
from gnclightning.experiments.toy2d.jobs import Job, grouped, perform
from gnclightning.experiments.toy2d.methods import PAPER, algorithm_1_then_2, schedules
from gnclightning.experiments.toy2d.problem import mixture, objective, start_grid
from gnclightning.experiments.toy2d.rates import measure, trajectories
from gnclightning.solvers import Status, solve

STEPS = 40


@pytest.fixture(scope="module")
def minima():
    return find_minima()


def job(method: str, *t_max: float, starts: int = 5, steps: int = STEPS) -> Job:
    return Job(method, t_max, starts, steps, (1.0, 1.0))


def assert_equal_rates(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a.curves == b.curves).all()
        assert (a.reached == b.reached).all()


class TestProblem:
    def test_the_mixture_is_the_published_instance(self):
        state = torch.get_rng_state()
        torch.manual_seed(2)
        torch.rand(5)
        means = [(torch.rand(2) * 2 - 1) * 10 for _ in range(5)]
        variances = [2 * torch.rand(1) for _ in range(5)]
        torch.set_rng_state(state)
        prior = mixture()
        assert prior.means[0].tolist() == [1, 1]
        assert prior.eigenvalues[0].tolist() == pytest.approx([0.1, 0.1], rel=1e-12)
        assert prior.means[1:].tolist() == [mean.tolist() for mean in means[1:]]
        for found, variance in zip(prior.eigenvalues[1:], variances[1:], strict=True):
            assert found.tolist() == pytest.approx([variance.item()] * 2, rel=1e-12)
        assert prior.log_weights.exp().tolist() == pytest.approx([0.2] * 5)

    def test_the_objective_is_the_papers_times_a_hundredth(self):
        prior = mixture()
        x = torch.tensor([[3.0, -2.0], [0.5, 0.25], [-7.0, 9.0]]).double()
        t = torch.full((3,), 1e-3, dtype=torch.float64)
        variance = (10 ** (2 * 1e-3) - 1) / (2 * math.log(10))
        assert prior.sde.std(t).square().tolist() == pytest.approx([variance] * 3)
        papers = 0.5 * (x.sum(1) - 2) ** 2 + 5 * prior.energy(x, t)
        torch.testing.assert_close(objective(3).evaluate(x).value, 0.01 * papers)

    def test_starts_are_a_grid_on_the_square(self):
        grid = start_grid(3)
        assert grid.tolist() == [[a, b] for a in (-10, 0, 10) for b in (-10, 0, 10)]

    def test_the_papers_tolerance_is_met_by_an_eighth_of_the_starts(self):
        """The share that makes a strict tolerance necessary, of the whole starting grid."""
        gradient = objective(10_000).evaluate(start_grid(100)).gradient
        assert (gradient.norm(dim=1) <= 0.1).double().mean().item() == pytest.approx(
            0.128, abs=5e-4
        )


class TestMinima:
    def test_are_critical_points_with_positive_definite_hessians(self, minima):
        gradient, hessian = derivatives(minima.points)
        assert gradient.norm(dim=1).max() < 1e-12
        assert torch.linalg.eigvalsh(hessian).min() > 0

    def test_derivatives_are_those_of_f(self):
        x, h = torch.tensor([[0.7, 1.2], [5.0, -4.0]]).double(), 1e-5
        gradient, hessian = derivatives(x)
        for i, shift in enumerate(h * torch.eye(2, dtype=torch.float64)):
            up, down = objective(2).evaluate(x + shift), objective(2).evaluate(x - shift)
            slope = (up.value - down.value) / (2 * h)
            curvature = (up.gradient - down.gradient) / (2 * h)
            torch.testing.assert_close(gradient[:, i], slope, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(hessian[:, i], curvature, rtol=1e-6, atol=1e-9)

    def test_are_all_those_of_a_fine_grid(self, minima):
        """Points of a grid that lie below their eight neighbours are near minima, and each is."""
        side = 401
        values = objective(side**2).evaluate(start_grid(side)).value.reshape(side, side)
        inner = values[1:-1, 1:-1]
        shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
        lowest = torch.ones_like(inner, dtype=torch.bool)
        for i, j in shifts:
            lowest &= inner < values[i : i + side - 2, j : j + side - 2]
        cells = torch.nonzero(lowest).double() * 0.05 - 9.95
        distances = torch.cdist(cells, minima.points)
        assert len(cells) == len(minima.points)
        assert distances.amin(0).max() < 0.05
        assert distances.amin(1).max() < 0.05
        torch.testing.assert_close(values.min(), minima.values[0], rtol=0, atol=1e-4)
        assert (minima.values.diff() > 0).all()

    def test_the_global_one_is_at_the_true_image(self, minima):
        assert (minima.points[0] - 1).norm() < 1e-2


class TestRates:
    @pytest.mark.parametrize("method", ["alg1", "alg2"])
    def test_equal_those_of_stored_iterates(self, method, minima):
        starts, t_max = start_grid(6), [1.2, 0.3]
        found = Job(method, tuple(t_max), 6, STEPS, tuple(minima.points[0].tolist()))()
        for rates, value in zip(found, t_max, strict=True):
            plan = PAPER[method](schedules([value], STEPS))
            problem, x = objective(36), []
            solve(plan.then, problem, starts, lambda state, _, x=x: x.append(state.point.x))
            x = torch.stack(x)
            norms = torch.stack([problem.evaluate(points).gradient.norm(dim=1) for points in x])
            near = (x - minima.points[0]).norm(dim=2) <= 0.1
            for curve, flags in zip(rates.curves, (near, norms <= 0.1, norms <= 1e-3), strict=True):
                assert curve.tolist() == pytest.approx(flags.double().mean(1).tolist(), abs=1e-12)
            assert rates.reached.tolist() == near[-1].tolist()

    @pytest.mark.parametrize("method", ["alg1", "alg2", "nonmonotone", "preconditioned"])
    def test_values_of_t_max_together_equal_one_by_one(self, method):
        together = job(method, 2.0, 0.5, 0.05)()
        one_by_one = [job(method, value)()[0] for value in (2.0, 0.5, 0.05)]
        assert_equal_rates(together, one_by_one)

    def test_starts_that_stop_early_keep_counting(self):
        """From the minimiser on nothing moves; with others that go on, its share stays."""
        starts = torch.tensor([[1.0, 1.0], [-4.0, 6.0]]).double()
        minimiser = find_minima().points[0]
        starts[0] = minimiser
        plan = PAPER["alg2"](schedules([0.5], STEPS))
        (found,) = measure(
            plan, objective(2), starts, torch.zeros(2, dtype=torch.int64), STEPS, minimiser
        )
        assert (found.curves[:, 1:] >= 0.5).all()
        assert found.reached.tolist() == [True, False]

    def test_switching_plans_are_algorithm_1_before_and_2_after(self):
        starts, times = start_grid(4), schedules([0.4], STEPS)
        first, whole = PAPER["alg1"](times), algorithm_1_then_2(times, 15)
        paths = trajectories(whole, objective(16), starts, STEPS)
        flow = trajectories(first, objective(16), starts, STEPS)
        assert (paths[:16] == flow[:16]).all()
        assert (paths[-1] != flow[-1]).any()
        values = [objective(16).evaluate(torch.from_numpy(x)).value for x in paths[15:]]
        assert (torch.stack(values).diff(dim=0) <= 1e-15).all()

    def test_workers_do_not_matter(self):
        jobs = [job(method, value, starts=3) for method in PAPER for value in (1.5, 0.2)]
        alone = {j: rates for j, rates in perform(jobs, 1)}
        shared = {j: rates for j, rates in perform(jobs, 2)}
        assert alone.keys() == shared.keys() == set(jobs)
        for j in jobs:
            assert_equal_rates(shared[j], alone[j])

    def test_groups_hold_each_value_once(self):
        values = [float(n) for n in range(1, 31)]
        groups = grouped("alg1", values, 30)
        assert [value for group in groups for value in group] == values
        assert max(map(len, groups)) == 11
        assert grouped("alg1", values, 100) == [(value,) for value in values]
        assert grouped("alg2", values, 100)[0] == (1.0, 2.0, 3.0, 4.0, 5.0)


class TestPublishedBands:
    def test_algorithm_1_finds_the_global_minimum_from_most_starts_in_the_band_only(self):
        good, bad = job("alg1", 1.5, 0.1, starts=20, steps=1300)()
        assert good.curves[0, -1] >= 0.75
        assert bad.curves[0, -1] < 0.1

    def test_algorithm_2_ends_at_stationary_points_but_rarely_at_the_global_minimum(self):
        (rates,) = job("alg2", 0.2, starts=10, steps=1300)()
        assert rates.curves[1, -1] > 0.95
        assert rates.curves[0, -1] < 0.25


def test_looking_ahead_does_not_change_what_is_found():
    """Levels and steps are those of a search that tries one at a time."""
    starts, times = start_grid(8), schedules([2.0], STEPS)
    solver = PAPER["alg2"](times).then
    assert solver.lookahead > 1
    many = solve(solver, objective(64), starts)
    assert solver.search.at_once > 1
    one_by_one = replace(solver, lookahead=1, search=replace(solver.search, at_once=1))
    single = solve(one_by_one, objective(64), starts)
    skipped = torch.stack([record.t for record in many.trace]).diff(dim=0).abs() > 2 * 2.0 / STEPS
    assert skipped.any()
    for a, b in zip(many.trace, single.trace, strict=True):
        torch.testing.assert_close(a.t, b.t, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(many.x, single.x, rtol=0, atol=1e-12)
    assert many.status == single.status
    assert any((record.step_size[record.active] < 1).any() for record in many.trace)
    assert (many.state.network_evaluations >= single.state.network_evaluations).all()
    assert Status.BUDGET_SPENT in many.status
