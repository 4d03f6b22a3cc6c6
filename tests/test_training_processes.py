"""Training as programs: killed and resumed, several processes, several nodes. All of it is slow."""

import csv
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gnclightning.priors import from_pretrained

ROOT = Path(__file__).parents[1]
STEPS = 12
TINY = [
    "network.channels=8",
    "network.multipliers=[1,2]",
    "network.blocks=[1,1]",
    "data.size=16",
    "data.train_count=12",
    "data.validation_count=4",
    "optimizer.batch_size=4",
    "optimizer.warmup_steps=2",
    "trainer.accelerator=cpu",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=5",
    "trainer.checkpoint_every_n_steps=1",
    "reconstruction.every_n_steps=0",
    "logger.mode=disabled",
    "progress=false",
]
"""Epochs of three steps of four images."""
TWO = ["trainer.strategy=ddp", "optimizer.batch_size=2"]
"""Half the batch for each of two processes."""

pytestmark = pytest.mark.slow


def command(output: Path, *settings: str, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, "train.py", *TINY, f"output={output}", *settings]


def train(output: Path, *settings: str) -> None:
    """Train to the end."""
    done = subprocess.run(
        command(output, *settings), cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def kill_after(
    output: Path, steps: int, delay: float, *settings: str, sign: signal.Signals = signal.SIGKILL
) -> None:
    """Train, and kill the whole process group some time after a number of steps was logged."""
    process = subprocess.Popen(
        command(output, *settings),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(losses(output)) >= steps:
            time.sleep(delay)
            break
        time.sleep(0.005)
    os.killpg(process.pid, sign)
    # Processes that a strategy has started may go first, with any status.
    assert process.wait(timeout=60) in (-sign, 128 + sign)


def losses(output: Path) -> dict[int, float]:
    """Loss after each step, of all starts of a run."""
    found: dict[int, float] = {}
    for path in sorted(output.glob("logs/version_*/metrics.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.get("train/loss") and row.get("step"):
                    found[int(row["step"])] = float(row["train/loss"])
    return found


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "prior.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_near(parts: Path, whole: Path, first: Path, *settings: str) -> None:
    """The weights differ by less than a tenth of the way that they went after the first step."""
    train(first, "trainer.max_steps=1", *settings)
    assert distance(weights(parts), weights(whole)) < 0.1 * distance(weights(first), weights(whole))


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5


@pytest.mark.parametrize("settings", [(), ("trainer.devices=2", *TWO)], ids=["one", "ddp"])
def test_a_run_killed_again_and_again_ends_with_the_weights_of_a_whole_one(settings, tmp_path):
    """SIGKILL at random moments, among them an end of an epoch; checkpoints are never torn."""
    train(tmp_path / "whole", *settings)
    moments = random.Random(0)
    for steps in (2, 3, moments.randint(4, STEPS - 2)):
        kill_after(tmp_path / "killed", steps, moments.uniform(0, 0.05), *settings)
        checkpoint = tmp_path / "killed" / "last.ckpt"
        if checkpoint.exists():
            torch.load(checkpoint, weights_only=True)
    assert 0 < len(losses(tmp_path / "killed")) < STEPS
    train(tmp_path / "killed", *settings)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert from_pretrained(tmp_path / "killed")[1].training["images_seen"] == 4 * STEPS


def test_a_scheduler_s_signal_keeps_a_checkpoint_to_go_on_from(tmp_path):
    train(tmp_path / "whole")
    kill_after(tmp_path / "stopped", 4, 0.0, sign=signal.SIGTERM)
    assert 0 < len(losses(tmp_path / "stopped")) < STEPS
    train(tmp_path / "stopped")
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_two_processes_train_as_one_with_their_joint_batch(tmp_path):
    """The same images, times and noise: only the order of additions differs.

    Muon's orthogonalisation makes more of that than plain gradients would; with other noise the
    losses differ by a tenth and more.
    """
    train(tmp_path / "one")
    train(tmp_path / "two", "trainer.devices=2", *TWO)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(one) == list(range(STEPS))
    assert two == pytest.approx(one, rel=1e-3)
    assert_near(tmp_path / "two", tmp_path / "one", tmp_path / "first")


def test_two_processes_of_two_batches_train_an_energy_as_one_with_their_joint_batch(tmp_path):
    """Image k of four is of batch k // 2 of process k % 2, and meets its own time and noise.

    Gradients of gradients, summed over batches and processes.
    """
    energy = "prior.parametrisation=energy"
    train(tmp_path / "one", energy)
    parts = ["optimizer.batch_size=1", "trainer.accumulate_grad_batches=2"]
    train(tmp_path / "four", energy, "trainer.devices=2", *TWO, *parts)
    assert from_pretrained(tmp_path / "four")[1].training["images_seen"] == 4 * STEPS
    assert_near(tmp_path / "four", tmp_path / "one", tmp_path / "first", energy)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    """One, then two, then one again with half the batch at a time; all epochs have three steps."""
    train(tmp_path / "whole")
    kill_after(tmp_path / "parts", 4, 0.0)
    kill_after(tmp_path / "parts", 8, 0.0, "trainer.devices=2", *TWO)
    halves = ["optimizer.batch_size=2", "trainer.accumulate_grad_batches=2"]
    train(tmp_path / "parts", *halves)
    assert from_pretrained(tmp_path / "parts")[1].training["images_seen"] == 4 * STEPS
    assert_near(tmp_path / "parts", tmp_path / "whole", tmp_path / "first")


def test_processes_that_diverge_end_together_with_one_message(tmp_path):
    """The checkpoint of the training before, in the same folder, stays."""
    train(tmp_path, "trainer.max_steps=2")
    before = (tmp_path / "last.ckpt").read_bytes()
    wild = ["optimizer.lr=1e30", "optimizer.warmup_steps=0", "resume=false"]
    done = subprocess.run(
        command(tmp_path, "trainer.devices=2", *TWO, *wild),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.count("training diverged") == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "last.ckpt").read_bytes() == before


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_two_nodes_started_by_torchrun_train_as_two_processes_do(tmp_path):
    """One process each on loopback; mean losses of the ranks are those of one node's ranks."""
    train(tmp_path / "node", "trainer.devices=2", *TWO)
    port = free_port()
    started = []
    for rank in (0, 1):
        launcher = (
            *("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
            *(f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"),
        )
        nodes = ["trainer.devices=1", "trainer.num_nodes=2", *TWO]
        started.append(
            subprocess.Popen(
                command(tmp_path / "nodes", *nodes, launcher=launcher),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert same(weights(tmp_path / "nodes"), weights(tmp_path / "node"))
    assert losses(tmp_path / "nodes") == losses(tmp_path / "node")
