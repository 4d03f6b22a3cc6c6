"""`benchmarks/training.py` and the plain U-Net that it compares ours with."""

import json
import sys
from pathlib import Path

import pytest
import torch

from gnclightning.priors import NetworkEnergy
from gnclightning.sde import VPSDE

ROOT = Path(__file__).parents[1]


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import training

    return training


def test_the_plain_network_has_the_asked_for_size_and_trains_as_an_energy(training):
    """Its energy's score is that of finite differences, and has gradients by all parameters."""
    for wanted in (2.65e6, training.PUBLISHED):
        size = sum(p.numel() for p in training.plain_unet(wanted).parameters())
        assert size == pytest.approx(wanted, rel=0.05)
    torch.manual_seed(0)
    prior = NetworkEnergy(VPSDE(), training.plain_unet(2e5)).double()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    t = torch.tensor([0.1, 0.5], dtype=torch.float64)
    direction, step = torch.randn_like(x), 1e-5
    ends = [prior.energy(x + sign * step * direction, t) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    score = prior.score(x, t)
    torch.testing.assert_close(-(score * direction).flatten(1).sum(1), slope, rtol=1e-5, atol=1e-5)
    score.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in prior.parameters())


def test_every_network_is_timed(training, monkeypatch):
    monkeypatch.setattr(training, "SIZE", 16)
    monkeypatch.setattr(training, "PUBLISHED", 4e5)
    for network in training.NETWORKS:
        setting = training.Setting(network, "score", "32-true", 1, 0, "cpu", 0)
        found = training.measure(setting)
        assert found["steps"] == 1
        assert found["images_per_second"] > 0
        assert 0 < found["waiting"] < 1
        assert found["peak_memory"] > 1e8


def test_the_table_compares_with_the_shipped_network(training, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    row = {"kind": "score", "precision": "32-true", "batch": 8, "parameters": 2e6, "waiting": 0.01}
    rates = {"shipped": 12.0, "plain": 3.0, "published size": 0.25}
    rows = [
        {**row, "network": name, "images_per_second": rate, "peak_memory": 2e9}
        for name, rate in rates.items()
    ]
    other = {**rows[0], "kind": "energy", "images_per_second": 99.0}
    result = {
        "rows": [other, *rows],
        "idle_memory": 5e8,
        "load": [1, 2, 3],
        "scaling": {"images_per_second": {"1": [4.0, 4.2], "2": [6.0, 6.3]}, "efficiency": 0.75},
    }
    training.keep("training", result, "command")
    assert json.loads(Path("docs/results/training.json").read_text())["reproduce"] == "command"
    Path("docs/results.md").write_text("<!-- begin training -->\n<!-- end training -->\n")
    monkeypatch.setattr(sys, "argv", ["training.py", "table"])
    training.main()
    lines = [line.split(" | ") for line in Path("docs/results.md").read_text().splitlines()]
    cells = {line[1]: line[5:7] for line in lines if line[0] == "| score"}
    assert cells == {
        "shipped": ["12", "1"],
        "plain": ["3", "4"],
        "published size": ["0.25", "48"],
    }
    text = Path("docs/results.md").read_text()
    assert "0.50 GB" in text
    assert "Two processes train 6.15 images / s, one 4.1: an efficiency of 75 %" in text
