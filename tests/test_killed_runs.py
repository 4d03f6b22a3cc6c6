"""Runs in processes of their own that are killed, and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gnclightning.cli import reconstruct
from run_folders import settings
from stopped_runs import WORK, assert_same

ROOT = Path(__file__).parents[1]


def start(arguments: list[str], *launcher: str) -> subprocess.Popen[str]:
    command = [*(launcher or (sys.executable,)), str(ROOT / "reconstruct.py"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_killed_and_started_again(prior, tmp_path, undisturbed):
    """SIGKILL as soon as the first chunk is there; a second run beside the first is refused."""
    arguments = settings(prior, tmp_path / "run", *WORK, "solver.steps=6")
    process = start(arguments)
    while not list((tmp_path / "run").glob("chunks/*.sha256")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    assert reconstruct(arguments) == 2
    process.kill()
    process.communicate()
    left = len(list((tmp_path / "run").glob("chunks/*.sha256")))
    assert left >= 1
    assert reconstruct(arguments) == 0
    assert_same(tmp_path / "run", undisturbed)


@pytest.mark.slow
class TestSeveralProcesses:
    def test_two_give_what_one_does(self, prior, tmp_path, undisturbed):
        process = start(settings(prior, tmp_path / "run", *WORK, "devices=2"))
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)

    def test_torchrun(self, prior, tmp_path, undisturbed):
        launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
        arguments = settings(prior, tmp_path / "run", *WORK)
        process = start(arguments, *launcher, "--nproc-per-node=2")
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)

    @pytest.mark.parametrize("victim", ["first", "other"])
    def test_either_is_killed(self, prior, tmp_path, undisturbed, victim):
        """Without the first the others end; without another the first does all."""
        arguments = settings(prior, tmp_path / "run", *WORK, "devices=2")
        process = start(arguments)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not list((tmp_path / "run").glob("chunks/*.sha256")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        others = [int(pid) for pid in children.read_text().split()]
        os.kill(process.pid if victim == "first" else others[-1], signal.SIGKILL)
        _, error = process.communicate(timeout=300)
        if victim == "other":
            assert process.returncode == 0, error
            assert "was killed by signal 9: what it has left is done now" in error
        else:
            assert reconstruct(arguments) == 0
        assert_same(tmp_path / "run", undisturbed)

    @pytest.mark.parametrize("devices", [1, 2])
    def test_killed_at_random_moments(self, prior, tmp_path, undisturbed, devices):
        draw = np.random.default_rng(devices)
        arguments = settings(prior, tmp_path / "run", *WORK, f"devices={devices}")
        for _ in range(4):
            process = start(arguments)
            time.sleep(draw.uniform(1.0, 6.0))
            process.kill()
            process.communicate()
        process = start(arguments)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert_same(tmp_path / "run", undisturbed)
