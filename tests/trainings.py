"""Tiny trainings through the command line, shared by tests."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from gnclightning import cli

TINY = [
    "network.channels=8",
    "network.multipliers=[1,2]",
    "network.blocks=[1,1]",
    "data.size=16",
    "data.train_count=8",
    "data.validation_count=4",
    "optimizer.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=2",
    "trainer.checkpoint_every_n_steps=1",
    "reconstruction.every_n_steps=2",
    "reconstruction.count=2",
    "reconstruction.steps=2",
    "logger.mode=disabled",
    "progress=false",
]


def train(output: Path, steps: int, *settings: str) -> dict[str, torch.Tensor]:
    """Weights that the command line trains."""
    status = cli.train([*TINY, f"output={output}", f"trainer.max_steps={steps}", *settings])
    assert status == 0
    return load_file(output / "prior.safetensors")


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]
