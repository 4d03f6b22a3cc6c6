"""Diverging trainings and exhausted memory: told in one line, with what was good kept."""

import pytest
import torch
from safetensors.torch import load_file

from gnclightning import cli, memory
from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import Form, NetworkEnergy, NetworkScore, from_pretrained
from gnclightning.sde import VESDE, VPSDE
from gnclightning.training import guard
from gnclightning.training.module import DenoisingModule, TrainingPlan
from gnclightning.training.optimizers import MuonAdam
from trainings import TINY, differing, train

FEW = ["reconstruction.every_n_steps=0"]


def failed(folder, capsys, *settings: str, steps: int = 9) -> str:
    """The one line that a training ends with."""
    capsys.readouterr()
    arguments = [*TINY, *FEW, f"output={folder}", f"trainer.max_steps={steps}", *settings]
    assert cli.train(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def saved_step(folder) -> int:
    return torch.load(folder / "last.ckpt", weights_only=True)["global_step"]


def planted(monkeypatch, at: int, factor: float) -> None:
    """Let the optimiser's step of number `at` multiply the weights."""
    step, count = MuonAdam.step, [0]

    def spoiling(self, closure=None):
        result = step(self, closure)
        count[0] += 1
        if count[0] == at:
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(factor)
        return result

    monkeypatch.setattr(MuonAdam, "step", spoiling)


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("kind", ["score", "energy"])
def test_weights_that_a_step_spoils_replace_no_checkpoint(
    factor, kind, tmp_path, capsys, monkeypatch
):
    """The loss of step 4 is still good, and its checkpoint is due: that of step 3 stays."""
    setting = f"prior.parametrisation={kind}"
    planted(monkeypatch, 4, factor)
    error = failed(tmp_path / "spoilt", capsys, setting)
    assert "training diverged: the loss is" in error
    assert "after 4 steps" in error
    assert f"keeps the weights after 2 steps: to go on from them, give init={tmp_path}" in error
    assert saved_step(tmp_path / "spoilt") == 3
    monkeypatch.undo()
    kept = load_file(tmp_path / "spoilt" / "prior.safetensors")
    assert differing(kept, train(tmp_path / "two", 2, setting, *FEW)) == []
    # The advice works.
    init = f"init={tmp_path / 'spoilt' / 'prior.safetensors'}"
    train(tmp_path / "again", 1, setting, *FEW, init, "optimizer.lr=1e-5")
    # And so does going on from the checkpoint, here without what spoilt the weights.
    whole = train(tmp_path / "whole", 5, setting, *FEW)
    assert differing(train(tmp_path / "spoilt", 5, setting, *FEW), whole) == []


def test_a_loss_that_is_not_finite_ends_a_training(tmp_path, capsys, monkeypatch):
    """Images with NaN, say, which the checks of files missed."""
    loss = DenoisingModule._loss

    def planted(self, x, *arguments):
        x = x * float("nan") if self.global_step == 3 else x
        return loss(self, x, *arguments)

    monkeypatch.setattr(DenoisingModule, "_loss", planted)
    monkeypatch.setattr(DenoisingModule, "loss_on", lambda *_: 1.0)
    assert "the loss is nan after 4 steps" in failed(tmp_path, capsys)


def test_a_loss_that_stays_high_ends_a_training_and_replaces_nothing(tmp_path, capsys, monkeypatch):
    """Finite all the time: the checkpoints of its steps are passed over."""
    train(tmp_path, 2, *FEW)
    before = (tmp_path / "prior.safetensors").read_bytes()
    monkeypatch.setattr(guard, "PATIENCE", 4)
    planted(monkeypatch, 1, 30.0)
    still = ["optimizer.gradient_clip=1e-9", "optimizer.lr=1e-9", "optimizer.matrix_lr=1e-9"]
    settings = [*still, f"init={tmp_path / 'prior.safetensors'}"]
    fresh = tmp_path / "fresh"
    error = failed(fresh, capsys, *settings, "trainer.val_check_interval=1")
    assert "is above 100 for 4 batches in a row (a prior that knows nothing has 1)" in error
    assert "after 5 steps" in error
    assert "there were no good weights to keep yet" in error
    assert not (fresh / "last.ckpt").exists()
    assert not (fresh / "prior.safetensors").exists()
    assert (tmp_path / "prior.safetensors").read_bytes() == before


def test_one_high_loss_ends_nothing(tmp_path, monkeypatch):
    loss = DenoisingModule._loss

    def planted(self, *arguments):
        return loss(self, *arguments) + 100 * (self.global_step % 2)

    monkeypatch.setattr(guard, "PATIENCE", 2)
    monkeypatch.setattr(DenoisingModule, "_loss", planted)
    train(tmp_path, 5, *FEW)
    assert saved_step(tmp_path) == 4  # those of steps 1, 3 and 5 were passed over


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("kind", [NetworkScore, NetworkEnergy])
@pytest.mark.parametrize("sde", [VPSDE(), VESDE()])
def test_a_fresh_network_is_far_below_the_limit(sde, kind, form):
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16))
    module = DenoisingModule(kind(sde, network, form), TrainingPlan(steps=1))
    assert module.loss_on(torch.rand(64, 1, 16, 16)) < guard.LIMIT / 4


MESSAGES = [
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
]
ERRORS = [
    *(RuntimeError(message) for message in MESSAGES),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 3 GiB"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(e).__name__ for e in ERRORS])
def test_exhausted_memory_is_explained_and_smaller_batches_go_on(
    error, tmp_path, capsys, monkeypatch
):
    step = DenoisingModule.training_step

    def exhausted(self, batch, batch_idx):
        if self.global_step == 3:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", exhausted)
    line = failed(tmp_path, capsys)
    assert line.startswith(f"error: not enough memory for 2 images at a time ({error}); ")
    advice = "optimizer.batch_size=1 trainer.accumulate_grad_batches=2"
    assert f"the last checkpoint is kept, and the same command with {advice}" in line
    assert saved_step(tmp_path) == 3
    monkeypatch.undo()
    train(tmp_path, 4, *FEW, *advice.split())
    assert from_pretrained(tmp_path)[1].training["images_seen"] == 8


def test_what_one_image_needs_cannot_be_shared_out(tmp_path, capsys, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DenoisingModule, "training_step", exhausted)
    line = failed(tmp_path, capsys, "optimizer.batch_size=1")
    assert "batch_size" not in line
    assert "and trainer.precision=bf16-mixed, smaller images or a smaller network.* need" in line


def test_other_errors_are_not_taken_for_exhausted_memory():
    assert not memory.ran_out(RuntimeError("shape mismatch"))
    assert not memory.ran_out(ValueError("out of memory"))
