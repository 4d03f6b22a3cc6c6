"""The shipped network: forward, energy, score and second derivative; training step and data."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training import BATCH, optimiser

from gnclightning.data.ellipses import phantoms
from gnclightning.experiments.toy2d.jobs import Job
from gnclightning.losses import denoising_score_matching
from gnclightning.priors import NetworkEnergy, NetworkScore, from_pretrained

FLOAT, HALF = "float32", "bfloat16"


@pytest.fixture
def prior(device: torch.device) -> NetworkEnergy:
    """The shipped one."""
    found, _ = from_pretrained("ellipses-128")
    assert isinstance(found, NetworkEnergy)
    return found.to(device)


@pytest.mark.parametrize("precision", [FLOAT, HALF])
def test_peak(
    measure: Callable[..., Any], precision: str, device: torch.device, tiny: bool
) -> None:
    """The fastest that this machine is known to compute: a product of large matrices."""
    size = 64 if tiny else 2048
    a = torch.rand(size, size, device=device).to(getattr(torch, precision))
    measure(lambda: a @ a, rounds=5, operations=2 * size**3)


@pytest.mark.parametrize("what", ["forward", "energy", "energy and score", "second derivative"])
@pytest.mark.parametrize("precision", [FLOAT, HALF])
@pytest.mark.parametrize("batch", [1, 8])
def test_network(
    measure: Callable[..., Any],
    prior: NetworkEnergy,
    device: torch.device,
    batch: int,
    precision: str,
    what: str,
    tiny: bool,
) -> None:
    """One evaluation; the second derivative is that of score matching, by the parameters."""
    size = 16 if tiny else 128
    x = torch.rand(batch, 1, size, size, device=device)
    t = torch.full((batch,), 0.05, device=device)
    prior.requires_grad_(what == "second derivative")

    def second_derivative() -> None:
        prior.zero_grad()
        prior.score(x, t).square().sum().backward()

    def function() -> Any:
        half = torch.autocast(device.type, torch.bfloat16)
        with half if precision == HALF else nullcontext():
            if what == "second derivative":
                return second_derivative()
            with torch.no_grad():
                if what == "forward":
                    return prior.noise_prediction(x, t)
                return prior.energy(x, t) if what == "energy" else prior.energy_and_score(x, t)

    with FlopCounterMode(display=False) as counter:
        function()
    measure(function, rounds=3, operations=counter.get_total_flops())


@pytest.mark.parametrize("kind", ["score", "energy"])
def test_training_step(
    measure: Callable[..., Any], prior: NetworkEnergy, device: torch.device, kind: str, tiny: bool
) -> None:
    """Loss, gradient, clipping and optimiser in bfloat16 autocast, without making the images."""
    trained = prior if kind == "energy" else NetworkScore(prior.sde, prior.network)
    trained.requires_grad_(True)
    steps, size = optimiser(trained), 16 if tiny else 128
    x = torch.from_numpy(phantoms(range(BATCH), 0, "train", size)).to(device)
    t, noise = torch.full((BATCH,), 0.05, device=device), torch.randn_like(x)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = denoising_score_matching(trained, trained.sde, x, t, noise).mean()
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        steps.step()

    measure(step, rounds=2, images=BATCH)


def test_phantoms(measure: Callable[..., Any], tiny: bool) -> None:
    """ELLIPSES phantoms of 128 x 128, on the CPU."""
    count = 2 if tiny else 64
    measure(lambda: phantoms(range(count), 0, "train"), rounds=5, images=count)


@pytest.mark.parametrize("method", ["alg1", "alg2"])
def test_toy2d(measure: Callable[..., Any], method: str, tiny: bool) -> None:
    """One value of t_max of the 2D experiment, all starts, a tenth of the iterations; CPU."""
    job = Job(method, (1.0,), 10 if tiny else 100, 3 if tiny else 130, (1.0, 1.0))
    measure(job, rounds=2, iterations=job.steps, starts=job.starts**2)
