"""Which settings of the solver give which PSNR for how many network evaluations.

`python -m gnclightning.experiments.schedule_study`; `--help` lists the settings.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnclightning.experiments.arms.arm import Arm, key_of
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.tables import Table, number

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.experiments.arms.results import Result

DEFAULT = "default"
_FROM_FBP = "start=fbp solver.t_max=0.2"
_FIRST_ORDER = "solver.steps=100 solver.name="
GROUPS: dict[str, tuple[str, ...]] = {
    "number of steps": tuple(f"solver.steps={n}" for n in (3, 4, 6, 8, 14, 20, 40)),
    "from the filtered back-projection": tuple(
        f"{_FROM_FBP} solver.steps={n}" for n in (2, 3, 4, 6, 10)
    ),
    "start of the schedule": ("solver.t_max=0.1", "solver.t_max=0.3", "solver.t_max=0.025"),
    "spacing": ("solver.schedule=linear",),
    "end of the schedule": ("solver.t_min=0.0125", "solver.t_min=0.05"),
    "where R is evaluated": ("prior.evaluate_at=scaled",),
    "preconditioner": (
        "solver.damping=1",
        "solver.damping=4",
        "solver.cg_factor=0",
        "solver.cg_steps=8 solver.cg_factor=0.75",
        "solver.cg_factor=3",
    ),
    "last denoising": tuple(f"solver.mean_steps={n}" for n in (0, 1, 2, 8)),
    "adaptive smoothing off": ("solver.descent_from=1000",),
    "nonmonotone search": ("solver.nonmonotone=5",),
    "without preconditioner": (
        f"{_FIRST_ORDER}gradient_like",
        f"{_FIRST_ORDER}gnc_flow",
        f"{_FIRST_ORDER}gnc_flow solver.step_rule=constant",
    ),
}
"""The settings of each arm, by what it is about; a quick study has the first of each."""
QUICK_STEPS = 3
COLUMNS = (
    *("about", "settings", "PSNR, dB", "change, dB", "SSIM", "network evaluations"),
    *("processor s / image", "gradient-like"),
)


@dataclass(kw_only=True)
class ScheduleStudyConfig(ExperimentConfig):
    """PSNR against network evaluations for other settings of the solver than the defaults."""


def defaults(config: ScheduleStudyConfig) -> list[str]:
    """What users may change."""
    return ["data.split=validation", f"data.count={1 if config.quick else 5}"]


def arms(config: ScheduleStudyConfig) -> dict[str, list[Arm]]:
    """By group; the defaults are the first."""
    found = {DEFAULT: [Arm(DEFAULT, "the defaults", _words("", config.quick))]}
    for group, variants in GROUPS.items():
        tried = variants[:1] if config.quick else variants
        found[group] = [
            Arm(f"{len(found):02d}-{place}", f"`{settings}`", _words(settings, config.quick))
            for place, settings in enumerate(tried, start=1)
        ]
    return found


def _words(settings: str, quick: bool) -> tuple[str, ...]:
    words = settings.split()
    if quick:
        words = [word for word in words if key_of(word) != "solver.steps"]
        words.append(f"solver.steps={QUICK_STEPS}")
    return tuple(words)


def conduct(config: ScheduleStudyConfig, laboratory: "Laboratory") -> "Findings":
    """Run all; the usual table with the group of each arm, and the change against the defaults."""
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.schedule_study_figure import draw

    groups = arms(config)
    results = laboratory.run([arm for group in groups.values() for arm in group])
    places = iter(results)
    by_group = {group: [next(places) for _ in members] for group, members in groups.items()}
    return Findings(
        results,
        [_table(by_group)],
        {"schedule_study": draw(by_group)},
        [_note(results)],
        {"groups": {g: [r.arm.name for r in members] for g, members in by_group.items()}},
    )


def _table(by_group: "dict[str, list[Result]]") -> Table:
    (default,) = by_group[DEFAULT]
    rows: list[list[str]] = []
    for group, members in by_group.items():
        for result in members:
            (row,) = result.rows()
            numbers = [
                number(row.psnr, 2),
                f"{row.psnr - default.mean('psnr'):+.2f}",
                number(row.ssim, 3),
                number(row.network_evaluations, 0),
                number(row.cpu_seconds, 2),
                f"{row.gradient_like:.0f} of {row.images}",
            ]
            rows.append([group, result.arm.title, *numbers])
    return Table("", COLUMNS, rows)


def _note(results: "Sequence[Result]") -> str:
    default, *others = results
    config, budget = default.config.solver, default.mean("network_evaluations")
    affordable = [r for r in others if r.mean("network_evaluations") <= budget]
    best = max([default, *affordable], key=lambda r: r.mean("psnr"))
    return (
        f"The defaults are {config.steps} steps, {config.steps_towards_mean} towards the mean, and "
        f"what else `--help` says: {default.mean('psnr'):.2f} dB for {budget:.0f} network "
        f"evaluations an image. The most for no more evaluations has {best.arm.title}: "
        f"{best.mean('psnr'):.2f} dB for {best.mean('network_evaluations'):.0f}. "
        "Each arm changes nothing but the settings it names."
    )


EXPERIMENT = Experiment(
    "schedule_study",
    "Settings of the solver: PSNR against network evaluations",
    ScheduleStudyConfig,
    defaults,
    conduct,
    ("noise.relative=0.01 output=runs/schedule-1",),
)


def schedule_study(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(schedule_study())
