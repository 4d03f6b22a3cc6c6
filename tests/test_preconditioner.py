"""The preconditioner: directions by conjugate gradients, and how many steps they take."""

import math

import pytest
import torch

from gnclightning.sde import VPSDE
from gnclightning.tensors import inner
from problems import problem, random


def test_preconditioner_solves_its_system_when_given_enough_steps():
    objective = problem()
    objective.cg_steps = 6
    gradient = random(5, 6, seed=5)
    t = torch.tensor([0.02, 0.1, 0.3, 0.7, 1.0], dtype=torch.float64)
    ray = objective.preconditioned_ray(gradient, t)
    matrix = objective.operator.matrix
    rho = objective.damping * objective.alpha(t) / VPSDE().std(t) ** 2
    system = (matrix.mT @ matrix)[None] + rho[:, None, None] * torch.eye(6, dtype=torch.float64)
    expected = -torch.linalg.solve(system, gradient)
    torch.testing.assert_close(ray.direction, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_preconditioned_ray_descends_and_knows_its_images(steps):
    objective = problem()
    objective.cg_steps = steps
    gradient = random(5, 6, seed=6)
    ray = objective.preconditioned_ray(gradient, torch.full((5,), 0.3).double())
    assert (inner(gradient, ray.direction) < 0).all()
    exact = objective.ray(ray.direction)
    torch.testing.assert_close(ray.image, exact.image)
    torch.testing.assert_close(ray.normal, exact.normal)


def test_preconditioner_takes_steps_by_the_condition_number_of_each_image():
    """As many for an image as if it were alone; the error falls at least by exp(-2 cg_factor)."""
    objective = problem()
    objective.cg_steps, objective.cg_factor = 1, 2.0
    gradient = random(5, 6, seed=5)
    t = torch.tensor([0.02, 0.1, 0.3, 0.7, 1.0], dtype=torch.float64)
    ray = objective.preconditioned_ray(gradient, t)
    rho = objective.damping * objective.alpha(t) / VPSDE().std(t) ** 2
    matrix = objective.operator.matrix
    largest = torch.linalg.matrix_norm(matrix, 2) ** 2
    steps = (2 * (1 + largest / rho).sqrt()).ceil()
    assert ray.projections.tolist() == (2 * steps).tolist()
    assert len(steps.unique()) > 1
    system = (matrix.mT @ matrix)[None] + rho[:, None, None] * torch.eye(6, dtype=torch.float64)
    exact = -torch.linalg.solve(system, gradient)

    def energy(error):
        return torch.einsum("bi,bij,bj->b", error, system, error).sqrt()

    assert (energy(ray.direction - exact) <= 2 * math.exp(-4) * energy(exact)).all()
    for row in range(5):
        alone = objective.select(torch.tensor([row]))
        found = alone.preconditioned_ray(gradient[row : row + 1], t[row : row + 1])
        torch.testing.assert_close(found.direction[0], ray.direction[row])
        assert found.projections.tolist() == [2 * int(steps[row])]


def test_preconditioner_of_a_zero_gradient_is_zero():
    objective = problem(batch=2)
    gradient = torch.stack([torch.zeros(6), torch.ones(6)]).double()
    ray = objective.preconditioned_ray(gradient, torch.full((2,), 0.3).double())
    assert torch.equal(ray.direction[0], torch.zeros(6).double())
    assert (ray.direction[1] != 0).any()
