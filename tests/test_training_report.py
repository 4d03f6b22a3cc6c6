"""What a training tells of its size and time."""

from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from rich.console import Console

from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import NetworkEnergy, NetworkScore
from gnclightning.sde import VPSDE
from gnclightning.training import report
from gnclightning.training.report import (
    ExpectedTime,
    StepProgressBar,
    flops_per_image,
    parameter_count,
)


def network() -> UNet:
    return UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16))


def test_parameters_and_operations():
    """Four times the pixels are nearly four times the work; an energy costs twice a score."""
    score, energy = NetworkScore(VPSDE(), network()), NetworkEnergy(VPSDE(), network())
    assert parameter_count(score) == sum(p.numel() for p in score.parameters())
    small, large = (flops_per_image(score, (size, size)) for size in (32, 64))
    assert 3.5 * small < large <= 4 * small
    # A convolution forward costs 2 k^2 c_in c_out per pixel, and twice that backward.
    assert small > 3 * 2 * 9 * 8 * 8 * 16**2
    assert flops_per_image(energy, (32, 32)) > 2 * small
    assert all(p.grad is None for p in energy.parameters())


@pytest.mark.parametrize(
    ("max_time", "left"),
    [(None, "0:29:44"), ("00:01:00:00", "0:29:44"), ("00:00:10:00", "0:08:46")],
)
def test_the_expected_time_is_told_once(max_time, left, monkeypatch):
    """Two seconds per step, of two batches each, after a slow first one; or the time allowed."""
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    file = StringIO()
    callback = ExpectedTime(Console(file=file, width=100), first=2, steps=5)
    timer = Timer(max_time)
    trainer = SimpleNamespace(
        max_steps=1000, global_step=100, is_global_zero=True, callbacks=[timer]
    )
    timer.on_train_start(trainer, None)
    for step in range(101, 131):
        now[0] += 60 if step == 101 else 1
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, torch.zeros(1), 0)
        now[0] += 1
        callback.on_train_batch_end(trainer, None, None, torch.zeros(1), 1)
    # Told after step 108 and 74 seconds, with 892 steps left.
    assert file.getvalue() == f"2 s per step, {left} left\n"


def test_other_ranks_are_silent():
    file = StringIO()
    callback = ExpectedTime(Console(file=file), first=0, steps=1)
    for step in range(5):
        trainer = SimpleNamespace(max_steps=9, global_step=step, is_global_zero=False, callbacks=[])
        callback.on_train_batch_end(trainer, None, None, torch.zeros(1), 0)
    assert file.getvalue() == ""


def test_the_bar_counts_steps():
    bar = StepProgressBar()
    bar._trainer = SimpleNamespace(global_step=50, max_steps=60)
    assert bar._get_train_description(2) == "Epoch 2, from step 50 of 60"
