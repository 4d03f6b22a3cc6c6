"""Trains the arms of `prior_ablation.py` side by side, each for the same time."""

import hashlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from ablation_groups import Arm, Stage
from ablation_plan import Plan

from gnclightning.config import load_train_config, to_yaml
from gnclightning.priors import NetworkEnergy, from_pretrained, save_pretrained

ROOT = Path(__file__).parents[1]
STEPS = 1_000_000
"""So many that the cosine of the learning rates does not begin to fall."""


@dataclass(frozen=True)
class Leg:
    """A part of an arm's training, and where the weights after it are kept.

    Attributes:
        folder: the arm's.
        stage: number of the stage that the leg is part of.
        arguments: of `train.py`.
        kept: file of the weights after the leg.
    """

    folder: Path
    stage: int
    arguments: list[str]
    kept: Path

    @property
    def output(self) -> Path:
        """The run folder of the stage."""
        return stage_folder(self.folder, self.stage)

    def start(self) -> subprocess.Popen[bytes]:
        """Train in a process of its own with one thread."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "train.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, relative("train.py"), *self.arguments],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def keep(self) -> None:
        """Keep the weights as an energy (a score as what it would become by a warm start)."""
        stages = [stage_folder(self.folder, number) for number in range(self.stage + 1)]
        prior, metadata = from_pretrained(self.output)
        training = {
            **metadata.training,
            "arm_seconds": sum(trained_seconds(stage / "last.ckpt") for stage in stages),
            "arm_images": sum(from_pretrained(s)[1].training["images_seen"] for s in stages),
        }
        energy = NetworkEnergy(prior.sde, prior.network, prior.form)
        save_pretrained(energy, replace(metadata, training=training), self.kept)


def relative(path: str) -> str:
    """The path of a file of this repository, seen from the working directory."""
    return os.path.relpath(ROOT / path)


def stage_folder(folder: Path, stage: int) -> Path:
    """The run folder of one of an arm's stages."""
    return folder / f"stage-{stage}"


def trained_seconds(checkpoint: Path) -> float:
    """How long the training was at work, by Lightning's timer."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return state["callbacks"]["Timer"]["time_elapsed"]["train"]


def stage_arguments(stage: Stage, plan: Plan) -> list[str]:
    """What `train.py` is told of a stage, save where it begins, writes and ends."""
    return [
        "--config",
        relative(f"configs/train/{stage.config}.yaml"),
        f"data.size={plan.size}",
        f"trainer.max_steps={STEPS}",
        f"trainer.val_check_interval={STEPS}",
        "trainer.devices=1",
        "reconstruction.every_n_steps=0",
        "logger.mode=disabled",
        "progress=false",
        *plan.train,
        *stage.settings,
    ]


def arm_folder(group: str, name: str, arm: Arm, plan: Plan) -> Path:
    """Of an arm that is trained just so.

    After a change of its settings, or of the files and defaults that complete them, it is another
    one: what was trained before is not taken for it.
    """
    digest = hashlib.sha256()
    for stage in arm.stages:
        _, config, *settings = stage_arguments(stage, plan)
        digest.update(repr((stage.share, stage.start)).encode())
        digest.update(to_yaml(load_train_config(config, settings)).encode())
    return plan.folder(group) / f"{name}-{digest.hexdigest()[:8]}"


def legs(arm: Arm, plan: Plan, folder: Path) -> list[Leg]:
    """All legs of an arm."""
    each, share = 60 * plan.minutes / plan.points, 0.0
    found: list[Leg] = []
    for number, stage in enumerate(arm.stages):
        share += stage.share
        count = round(share * plan.points) - len(found)
        if count < 1 or each < 1:
            raise SystemExit("--points: each stage of an arm needs one, of at least a second")
        fixed = [*stage_arguments(stage, plan), f"output={stage_folder(folder, number)}"]
        if stage.start is not None:
            fixed.append(f"{stage.start}={stage_folder(folder, number - 1)}/prior.safetensors")
        for leg in range(1, count + 1):
            days, seconds = divmod(round(leg * each), 86400)
            limit = f"{days:02}:" + time.strftime("%H:%M:%S", time.gmtime(seconds))
            kept = folder / "points" / f"{len(found) + 1}.safetensors"
            found.append(Leg(folder, number, [*fixed, f"trainer.max_time={limit}"], kept))
    return found


def train(queues: Mapping[str, deque[Leg]]) -> None:
    """Train the arms side by side, each its legs one after the other."""
    running: dict[str, tuple[Leg, subprocess.Popen[bytes]]] = {}
    try:
        while running or any(queues.values()):
            for name, queue in queues.items():
                if name in running:
                    leg, process = running[name]
                    if process.poll() is None:
                        continue
                    if process.returncode:
                        raise SystemExit(f"{name}: training failed, see {leg.folder}/train.log")
                    del running[name]
                    leg.keep()
                    print(f"{name}: {leg.kept}", flush=True)
                if queue:
                    running[name] = (queue[0], queue.popleft().start())
            time.sleep(0.2)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()
