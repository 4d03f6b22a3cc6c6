"""Trains the arms of `prior_ablation.py` side by side, each for the same time."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ablation_groups import Arm, Stage
from ablation_plan import Plan

from gnclightning.build_trainer import LAST
from gnclightning.config import load_train_config, to_yaml
from gnclightning.errors import UserError
from gnclightning.files import replacing, write_json
from gnclightning.priors import NetworkEnergy, from_pretrained, save_pretrained

ROOT = Path(__file__).parents[1]
STEPS = 1_000_000
"""So many that the cosine of the learning rates does not begin to fall."""
DIVERGED = "training diverged"
"""How what `train.py` prints of a divergence begins."""
RECORD = "diverged.json"
"""File in the folder of an arm that diverged; without it the leg is tried once more."""


@dataclass(frozen=True)
class Leg:
    """A part of an arm's training, done whole or not at all.

    Attributes:
        folder: the arm's.
        stage: number of the stage that the leg is part of.
        number: of the leg among all of the arm, from 1.
        first: whether the stage begins with it.
        arguments: of `train.py`.
    """

    folder: Path
    stage: int
    number: int
    first: bool
    arguments: list[str]

    @property
    def output(self) -> Path:
        """The run folder of the stage."""
        return stage_folder(self.folder, self.stage)

    @property
    def kept(self) -> Path:
        """The weights after the leg."""
        return point(self.folder, self.number)

    @property
    def log(self) -> Path:
        """What the training printed."""
        return self.kept.with_suffix(".log")

    def start(self) -> subprocess.Popen[bytes]:
        """Train in a process of its own with one thread, from where the leg before ended.

        What an interrupted process left is not gone on from, as others ran beside it.
        """
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        if self.first:
            shutil.rmtree(self.output, ignore_errors=True)
        else:
            shutil.copyfile(point(self.folder, self.number - 1, ".ckpt"), self.output / LAST)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, relative("train.py"), *self.arguments],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def keep(self, processor_seconds: float, neighbours: int) -> None:
        """Keep the weights as an energy (a score as what it would become by a warm start).

        Args:
            processor_seconds: of the process that trained.
            neighbours: other arms that were trained at the same time.

        Raises:
            UserError: the training wrote no weights, or not those of its last step.
        """
        stages = [stage_folder(self.folder, number) for number in range(self.stage + 1)]
        prior, metadata = from_pretrained(self.output)
        before = 0
        if self.number > 1:
            earlier = from_pretrained(point(self.folder, self.number - 1))[1].training
            processor_seconds += earlier["arm_processor_seconds"]
            before = 0 if self.first else earlier["steps"]
        steps, exported = trained_steps(self.output / LAST), metadata.training["steps"]
        if not before < steps == exported:
            raise UserError(
                f"{self.output} holds weights after {exported} steps and a checkpoint after "
                f"{steps}, which should be equal and more than before"
            )
        training = {
            **metadata.training,
            "arm_seconds": sum(trained_seconds(stage / LAST) for stage in stages),
            "arm_images": sum(from_pretrained(s)[1].training["images_seen"] for s in stages),
            "arm_processor_seconds": processor_seconds,
            "arm_neighbours": neighbours,
        }
        with replacing(point(self.folder, self.number, ".ckpt")) as temporary:
            shutil.copyfile(self.output / LAST, temporary)
        energy = NetworkEnergy(prior.sde, prior.network, prior.form)
        save_pretrained(energy, replace(metadata, training=training), self.kept)
        point(self.folder, self.number - 1, ".ckpt").unlink(missing_ok=True)


def point(folder: Path, number: int, suffix: str = ".safetensors") -> Path:
    """The weights that an arm had after a leg, or the checkpoint to go on from."""
    return folder / "points" / f"{number}{suffix}"


def relative(path: str) -> str:
    """The path of a file of this repository, seen from the working directory."""
    return os.path.relpath(ROOT / path)


def stage_folder(folder: Path, stage: int) -> Path:
    """The run folder of one of an arm's stages."""
    return folder / f"stage-{stage}"


def trained_seconds(checkpoint: Path) -> float:
    """How long the training was at work, by Lightning's timer."""
    return _state(checkpoint)["callbacks"]["Timer"]["time_elapsed"]["train"]


def trained_steps(checkpoint: Path) -> int:
    """How many steps the training has made."""
    return _state(checkpoint)["global_step"]


def _state(checkpoint: Path) -> dict[str, Any]:
    if not checkpoint.is_file():
        raise UserError(f"the training wrote no {checkpoint}")
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


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
            arguments = [*fixed, f"trainer.max_time={limit}"]
            found.append(Leg(folder, number, len(found) + 1, leg == 1, arguments))
    return found


def train(arms: Iterable[Sequence[Leg]]) -> None:
    """Train arms side by side: all start a leg together, and the next when all have ended it.

    Legs whose weights are there already are not done again, nor those of an arm that diverged.
    """
    for together in zip(*arms, strict=True):
        missing = [leg for leg in together if not leg.kept.is_file() and not diverged(leg.folder)]
        failed: list[str] = []
        for leg, (status, processor_seconds) in zip(missing, _run(missing), strict=True):
            if not status:
                try:
                    leg.keep(processor_seconds, len(missing) - 1)
                except UserError as error:
                    failed.append(f"{error}; see {leg.log}")
                else:
                    print(leg.kept, flush=True)
            elif reason := re.search(f"{DIVERGED}[^;]*", leg.log.read_text(errors="replace")):
                write_json(leg.folder / RECORD, {"leg": leg.number, "reason": reason[0]})
                print(f"{leg.folder}: {reason[0]}", flush=True)
            else:
                failed.append(f"training failed, see {leg.log}")
        if failed:
            raise SystemExit("\n".join(failed))


def diverged(folder: Path) -> dict[str, Any] | None:
    """In which leg of an arm, and what the training said; None where it did not."""
    path = folder / RECORD
    return json.loads(path.read_text()) if path.is_file() else None


def _run(legs: Sequence[Leg]) -> list[tuple[int, float]]:
    """Exit status and processor seconds of each."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for leg in legs:
            running.append(leg.start())
        return [_ended(process) for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime
