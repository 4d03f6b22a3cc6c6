"""The best prior per unit of compute: arms trained side by side for equally long, then judged.

    python benchmarks/prior_ablation.py run GROUP [--minutes 30] [--size 128] [--arms a,b]
    python benchmarks/prior_ablation.py table   # docs/results/ablation-*.json -> docs/results.md

Each arm is a process with one thread that trains through `train.py` for `--minutes`
(`trainer.max_time`), which the stages of an arm share. The time is cut into `--points` legs, each
going on from the checkpoint of the one before, which all arms start together; after each leg the
averaged weights are kept, and when all are done these reconstruct 20 validation phantoms with the
default solver. Learning rates stay constant after their warm-up, so that weights kept after a while
are those of a training that ended there. When the command is given again, legs that were finished
are not repeated, and one that was interrupted is done from its beginning, since it had other
neighbours on the processor: their number and the processor time are kept with each point. An arm
that diverges is told of, while the others go on. Arms whose settings changed are trained again, and
all are judged again after a change of the package, so that no table mixes results
made in two ways.

`--train` adds settings to all trainings. The arms are in `ablation_groups.py`; evaluate_at and
t_min train nothing but judge the shipped weights, so minutes, points and size mean nothing there.
"""

import argparse
import os
import platform
import shlex
from pathlib import Path

from ablation_groups import GROUPS
from ablation_judging import judge
from ablation_plan import Plan
from ablation_tables import draw, tables
from ablation_training import arm_folder, diverged, legs, train
from kept import keep, load, write_section

from gnclightning.interruption import terminable

FIGURE = Path("docs/images/prior-ablation.png")


def run(group: str, names: list[str], plan: Plan) -> None:
    """Train arms of a group; judge these, and those that an earlier run trained just so."""
    arms = GROUPS[group]
    folders = {name: arm_folder(group, name, arm, plan) for name, arm in arms.items()}
    parts = {name: legs(arm, plan, folders[name]) for name, arm in arms.items()}
    with terminable():
        train(parts[name] for name in names if parts[name])
    found = {}
    for name, arm in arms.items():
        kept = [leg.kept for leg in parts[name] if leg.kept.is_file()]
        end = diverged(folders[name])
        ended = bool(parts[name]) and (end is not None or len(kept) == len(parts[name]))
        if name not in names and not ended:
            continue
        last = {leg.stage: leg for leg in parts[name]}
        found[name] = {
            "train": [shlex.join(["python", "train.py", *leg.arguments]) for leg in last.values()],
            "diverged": end and end | {"minutes": end["leg"] * plan.minutes / plan.points},
            "curve": [
                judge(prior, folders[name], plan, arm.settings)
                for prior in (kept if parts[name] else ["ellipses-128"])
            ],
        }
    hardware = f"one thread per arm, {os.cpu_count()} cores, {platform.machine()}"
    keep(f"ablation-{group}", {"group": group, "arms": found}, plan.command(group), hardware)


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
    runner.add_argument(
        "--minutes",
        type=float,
        default=whole.minutes,
        help="training of an arm; means nothing where a group judges the shipped weights",
    )
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
    plan = Plan(given.minutes, given.size, given.points, given.images, *further)
    if not any(arm.stages for arm in GROUPS[given.group].values()):
        trains = ("minutes", "size", "points", "train")
        if vain := [f"--{n}" for n in trains if getattr(plan, n) != getattr(whole, n)]:
            parser.error(
                f"{', '.join(vain)}: {given.group} trains nothing, it judges the shipped "
                f"weights, which are for {whole.size} x {whole.size} pixels; leave them away"
            )
    run(given.group, names, plan)


if __name__ == "__main__":
    main()
