"""Algorithm 1: our evaluations beside the published pattern, with the same network and results.

An iteration costs what a longer run takes beyond a shorter one, the first iterations of the same:
the start, where ours has a score that no iteration has, and the first step drop out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from published import Published
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.data.ellipses import phantoms
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.priors import NetworkEnergy, from_pretrained
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    gnc_flow,
    log_schedule,
    solve,
)

T_MAX, T_MIN, GAIN = 0.1, 0.025, 5.0
SHORT, LONG = 1, 5
ANGLES, NOISE = 60, 0.1


@dataclass
class Task:
    """Measured phantoms, starts and all that both sides need."""

    operator: Radon
    prior: NetworkEnergy
    alpha: Alpha
    times: Tensor
    steps: int
    y: Tensor
    x: Tensor

    def ours(self) -> tuple[Tensor, int]:
        """The last iterates, and the network's evaluations for an image."""
        problem = GraduatedObjective(self.operator, self.y, self.prior, self.alpha, T_MIN)
        solver = gnc_flow(self.times, search=Armijo(), first_step=BarzilaiBorweinFirstStep())
        found = solve(replace(solver, steps=self.steps), problem, self.x)
        return found.x, int(found.state.network_evaluations.sum())

    def published(self) -> tuple[Tensor, Published]:
        """The last iterates, and the counts of the algorithm."""
        with torch.no_grad():
            times = self.times[: self.steps].tolist()
            algorithm = Published(self.operator, self.prior, self.alpha, times, T_MIN)
            return algorithm(self.y, self.x), algorithm


def task(
    batch: int,
    prior: NetworkEnergy,
    size: int = 128,
    steps: int = LONG,
    device: torch.device | str = "cpu",
) -> Task:
    """Phantoms with noise, seen by the first `steps` iterations of Algorithm 1."""
    truth = torch.from_numpy(phantoms(range(batch), 0, "test", size)).to(device)
    operator = Radon(ParallelBeam2D.for_image(size, ANGLES)).to(device)
    y, sigma = add_noise(operator(truth), relative=NOISE, seeds=range(batch))
    gain = GAIN * operator.mean_gain()
    alpha = Alpha.from_noise_level(prior.sde, sigma, T_MIN, gain)
    x = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0)).to(device)
    times = log_schedule(T_MAX, T_MIN, LONG)
    return Task(operator, prior.requires_grad_(False).to(device), alpha, times, steps, y, x)


@pytest.mark.parametrize("steps", [SHORT, LONG])
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("who", ["ours", "published"])
def test_algorithm_1(
    measure: Callable[..., Any],
    benchmark: Any,
    who: str,
    batch: int,
    steps: int,
    tiny: bool,
    device: torch.device,
) -> None:
    """A few iterations of the whole batch."""
    prior, _ = from_pretrained("ellipses-128")
    assert isinstance(prior, NetworkEnergy)
    given = task(batch, prior, 16 if tiny else 128, steps, device)
    if who == "ours":
        _, gradients = measure(given.ours, rounds=2)
        energies = 0
    else:
        _, counts = measure(given.published, rounds=1)
        gradients, energies = counts.gradients, counts.energies
    benchmark.extra_info.update(gradients=gradients, energies=energies)
