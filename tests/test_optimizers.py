"""Learning rates, and the pair of Muon and Adam."""

import itertools

import pytest
import torch

from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import NetworkScore
from gnclightning.sde import VPSDE
from gnclightning.training.module import BOUNDARY, TrainingPlan
from gnclightning.training.optimizers import MuonAdam, split_parameters


def test_learning_rate_warms_up_and_ends_at_zero():
    plan = TrainingPlan(steps=100, warmup=10)
    factors = [plan.lr_factor(k) for k in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert all(a < b for a, b in itertools.pairwise(factors[:11]))
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))


def test_muon_gets_hidden_matrices_and_adam_the_rest():
    prior = NetworkScore(VPSDE(), UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1))))
    matrices, others = split_parameters(prior, BOUNDARY)
    names = {id(p): n for n, p in prior.named_parameters()}
    assert len(matrices) + len(others) == len(names)
    chosen = {names[id(p)].removeprefix("network.") for p in matrices}
    blocks = ("down_levels.0.0", "down_levels.1.0", "up_levels.0.0")
    layers = ("first", "second", "modulation.linear")
    inner = {f"{block}.{layer}.weight" for block in blocks for layer in layers}
    around = ("squeeze", "shrink.0", "grow.0", "spread", "merge", "merge_modulation.linear", "gate")
    assert chosen == inner | {f"{layer}.weight" for layer in around}


def test_muon_update_is_orthogonal_and_adam_update_has_unit_size():
    torch.manual_seed(0)
    matrix, vector = (torch.nn.Parameter(torch.randn(s)) for s in ((6, 20), (5,)))
    before = matrix.detach().clone(), vector.detach().clone()
    optimizer = MuonAdam([matrix], [vector], matrix_lr=0.5, lr=0.1)
    matrix.grad, vector.grad = torch.randn(6, 20), torch.randn(5)
    optimizer.step()
    values = torch.linalg.svdvals((before[0] - matrix.detach()) / 0.5)
    assert values.min() > 0.5  # Newton-Schulz leaves singular values between about 0.7 and 1.2
    assert values.max() < 1.5
    torch.testing.assert_close(before[1] - vector.detach(), 0.1 * vector.grad.sign())


def test_optimizer_state_survives_a_round_trip():
    def make():
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(4, 6)), torch.nn.Parameter(torch.randn(3))]
        return parameters, MuonAdam(parameters[:1], parameters[1:])

    def run(parameters, optimizer, seeds):
        for seed in seeds:
            g = torch.Generator().manual_seed(seed)
            for p in parameters:
                p.grad = torch.randn(p.shape, generator=g)
            optimizer.step()

    whole, optimizer = make()
    run(whole, optimizer, range(6))
    first, optimizer = make()
    run(first, optimizer, range(3))
    second, resumed = make()
    resumed.load_state_dict(optimizer.state_dict())
    for p, q in zip(second, first, strict=True):
        p.data.copy_(q.data)
    run(second, resumed, range(3, 6))
    for p, q in zip(second, whole, strict=True):
        assert torch.equal(p, q)
