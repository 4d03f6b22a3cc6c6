"""The best prior per unit of compute: arms trained side by side for equally long, then judged.

    python benchmarks/prior_ablation.py run GROUP [--minutes 30] [--size 128] [--arms a,b]
    python benchmarks/prior_ablation.py table   # docs/results/ablation-*.json -> docs/results.md

Each arm is a process with one thread that trains through `train.py` for `--minutes`
(`trainer.max_time`), which the stages of an arm share. The time is cut into `--points` legs, each
going on from the checkpoint of the one before; after each leg the averaged weights are kept, and
when all are done these reconstruct 20 validation phantoms with the default solver. Learning rates
stay constant after their warm-up, so that weights kept after a while are those of a training that
ended there. What was interrupted goes on with what is missing when the command is given again.
`--train` adds settings to all trainings. The arms are in `ablation_groups.py`.
"""

import argparse
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ablation_groups import GROUPS, Arm
from ablation_tables import draw, tables
from kept import keep, load, metrics, reconstruct, write_section

from gnclightning.interruption import terminable
from gnclightning.priors import NetworkEnergy, from_pretrained, save_pretrained

ROOT = Path(__file__).parents[1]
FIGURE = Path("docs/images/prior-ablation.png")
STEPS = 1_000_000
"""So many that the cosine of the learning rates does not begin to fall."""


@dataclass(frozen=True)
class Plan:
    """How a group is trained.

    Attributes:
        minutes: training time of an arm.
        size: pixels a side.
        points: legs, after each of which weights are kept.
        images: validation phantoms that judge.
        train: further settings of all trainings.
        solve: further settings of all reconstructions.
    """

    minutes: float = 30
    size: int = 128
    points: int = 6
    images: int = 20
    train: tuple[str, ...] = ()
    solve: tuple[str, ...] = ()

    def folder(self, group: str) -> Path:
        """Of the trainings; those of another plan are not mixed with these."""
        text = f"{self.minutes:g}min-{self.points}-{self.size}px"
        changed = hashlib.sha256(repr(self.train).encode()).hexdigest()[:8] if self.train else ""
        return Path("runs/ablation") / f"{group}-{text}{'-' * bool(changed)}{changed}"

    def command(self, group: str) -> str:
        """What trains and judges a whole group so."""
        words = ["python", "benchmarks/prior_ablation.py", "run", group]
        for name in ("minutes", "size", "points", "images"):
            if (value := getattr(self, name)) != getattr(Plan, name):
                words += [f"--{name}", f"{value:g}"]
        for name in ("train", "solve"):
            if value := getattr(self, name):
                words += [f"--{name}", *value]
        return shlex.join(words)


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


def legs(arm: Arm, plan: Plan, folder: Path) -> list[Leg]:
    """All legs of an arm."""
    each, share = 60 * plan.minutes / plan.points, 0.0
    found: list[Leg] = []
    for number, stage in enumerate(arm.stages):
        share += stage.share
        count = round(share * plan.points) - len(found)
        if count < 1 or each < 1:
            raise SystemExit("--points: each stage of an arm needs one, of at least a second")
        fixed = [
            "--config",
            relative(f"configs/train/{stage.config}.yaml"),
            f"output={stage_folder(folder, number)}",
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


def judge(prior: str | Path, folder: Path, plan: Plan, settings: tuple[str, ...]) -> dict[str, Any]:
    """What reconstructions of validation phantoms are like; these weights do them only once."""
    weights, metadata = from_pretrained(prior)
    arguments = [
        "data.split=validation",
        f"data.count={plan.images}",
        f"data.size={plan.size}",
        f"prior.path={prior}",
        "methods=[tv]",
        "progress=false",
        *plan.solve,
        *settings,
    ]
    digest = hashlib.sha256(repr(arguments).encode())
    for value in weights.state_dict().values():
        digest.update(value.numpy().tobytes())
    output = folder / f"judged-{digest.hexdigest()[:12]}"
    if not (output / "summary.json").is_file():
        reconstruct(arguments, output)
    quality = {
        method: {
            key: [float(row[key]) for row in metrics(output) if (row["method"] == "tv") == other]
            for key in ("psnr", "ssim")
        }
        for method, other in (("gnc", False), ("tv", True))
    }
    training = {key: metadata.training.get(f"arm_{key}") for key in ("seconds", "images")}
    parameters = sum(p.numel() for p in weights.parameters())
    command = shlex.join(["python", "reconstruct.py", *arguments])
    return {**training, "parameters": parameters, "reconstruction": command, **quality}


def run(group: str, names: list[str], plan: Plan) -> None:
    """Train and judge arms of a group; those of earlier runs with the same plan are kept."""
    folder = plan.folder(group)
    parts = {name: legs(GROUPS[group][name], plan, folder / name) for name in names}
    missing = {n: deque(leg for leg in p if not leg.kept.is_file()) for n, p in parts.items()}
    with terminable():
        train(missing)
    known = load(f"ablation-{group}")
    command = plan.command(group)
    found = known["arms"] if known and known["reproduce"] == command else {}
    for name in names:
        last = {leg.stage: leg for leg in parts[name]}
        kept = [leg.kept for leg in parts[name]] or ["ellipses-128"]
        settings = GROUPS[group][name].settings
        found[name] = {
            "train": [shlex.join(["python", "train.py", *leg.arguments]) for leg in last.values()],
            "curve": [judge(prior, folder / name, plan, settings) for prior in kept],
        }
    ordered = {name: found[name] for name in GROUPS[group] if name in found}
    hardware = f"one thread per arm, {len(names)} arms at a time, {platform.machine()}"
    keep(f"ablation-{group}", {"group": group, "arms": ordered}, command, hardware)


def table() -> None:
    """Write the section of docs/results.md, and the figure."""
    results = [found for group in GROUPS if (found := load(f"ablation-{group}"))]
    write_section("ablation", tables(results))
    draw(results, FIGURE)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("group", choices=GROUPS)
    whole = Plan()
    runner.add_argument("--minutes", type=float, default=whole.minutes, help="training of an arm")
    runner.add_argument("--size", type=int, default=whole.size, help="pixels a side")
    runner.add_argument("--points", type=int, default=whole.points, help="times to keep weights")
    runner.add_argument("--images", type=int, default=whole.images, help="phantoms that judge")
    runner.add_argument("--arms", help="some of the group, such as paper,scaled")
    runner.add_argument("--train", nargs="*", default=[], help="further settings of trainings")
    runner.add_argument("--solve", nargs="*", default=[], help="and of reconstructions")
    commands.add_parser("table")
    given = parser.parse_args()
    if given.command == "table":
        table()
        return
    names = given.arms.split(",") if given.arms else list(GROUPS[given.group])
    if unknown := set(names) - GROUPS[given.group].keys():
        parser.error(f"--arms: {given.group} has {', '.join(GROUPS[given.group])}, got {unknown}")
    further = tuple(given.train), tuple(given.solve)
    run(given.group, names, Plan(given.minutes, given.size, given.points, given.images, *further))


if __name__ == "__main__":
    main()
