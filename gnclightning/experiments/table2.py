"""Table 2 of the paper: a constant step against an adaptive one, and the preconditioned method.

`python -m gnclightning.experiments.table2`; `--help` lists the settings.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

from gnclightning.experiments import published
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.tables import Table
from gnclightning.experiments.tune.grids import Grid, Point
from gnclightning.experiments.tune.search import search

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.experiments.arms.results import Result

STEPS = {"constant": 1200, "adaptive": 300, "preconditioned": 40, "preconditioned-10": 10}
TITLES = {
    "constant": "Algorithm 1, constant step",
    "adaptive": "Algorithm 1, adaptive step",
    "preconditioned": "preconditioned",
    "preconditioned-10": "preconditioned, few steps",
}
QUICK_STEPS = {"constant": 12, "adaptive": 4, "preconditioned": 4, "preconditioned-10": 2}
GRID = Grid({"step": [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3]}, {"step": 2**0.5})
"""Around the published step, 5e-4; then by a smaller factor from the best, as far as it helps."""
QUICK_GRID = Grid({"step": [5e-4, 1e-3]})


_SPLIT = {"data.name=ellipses", "data.name=ldct"}
"""Images that have a validation set."""


@dataclass(kw_only=True)
class Table2Config(ExperimentConfig):
    """Constant against adaptive step size, and the preconditioned method (Table 2 of the paper)."""


def defaults(config: Table2Config) -> list[str]:
    """What users may change."""
    return [f"data.count={1 if config.quick else 100}"]


def arms(config: Table2Config, step: float) -> list[Arm]:
    """The rows of the table, the first with this constant step."""
    more = {
        "constant": ("solver.name=gnc_flow", *_constant(step)),
        "adaptive": ("solver.name=gnc_flow", "solver.step_rule=armijo"),
    }
    return [
        Arm(
            name,
            title,
            (
                *more.get(name, ("solver.name=preconditioned",)),
                f"solver.steps={_steps(name, config)}",
            ),
        )
        for name, title in TITLES.items()
    ]


def tuning_arm(config: Table2Config, step: float) -> Arm:
    """A run on one image, of the validation set where there is one."""
    settings = ("solver.name=gnc_flow", *_constant(step), "data.count=1")
    images = [text for text in config.settings if text.startswith("data.name=")]
    split = ("data.split=validation",) if set(images) <= _SPLIT else ()
    steps = f"solver.steps={_steps('constant', config)}"
    return Arm(f"step-{step:g}", f"constant step {step:g}", (*settings, steps, *split))


def conduct(config: Table2Config, laboratory: "Laboratory") -> "Findings":
    """Tune the constant step, then run the rows."""
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.table2_figure import draw

    tried: dict[float, float] = {}

    def quality(point: Point) -> float:
        step = float(point["step"])
        if step not in tried:
            arm = tuning_arm(config, step)
            (result,) = laboratory.run([arm], later=arms(config, step))
            psnr = result.mean("psnr")
            tried[step] = psnr if isfinite(psnr) else -inf
        return tried[step]

    best = float(search(QUICK_GRID if config.quick else GRID, quality)["step"])
    rows = laboratory.run(arms(config, best))
    reported = {} if config.quick else published.comparable(published.STEPS, rows[0].config)
    sweep = Table(
        "The constant step on one image",
        ["step", "PSNR, dB"],
        [[f"{step:g}", f"{psnr:.2f}"] for step, psnr in sorted(tried.items())],
    )
    note = (
        f"The constant step, {best:g} (times t), is the best of those tried on one image. "
        "Published: arXiv 2404.18699, Table 2, with a larger network."
    )
    return Findings(
        rows,
        [_table(rows, reported), sweep],
        {"table2": draw(rows)},
        [note],
        {"constant_step": best, "steps_tried": {f"{s:g}": p for s, p in sorted(tried.items())}},
    )


def _constant(step: float) -> tuple[str, str]:
    return "solver.step_rule=constant", f"solver.constant_step={step:g}"


def _steps(name: str, config: Table2Config) -> int:
    return (QUICK_STEPS if config.quick else STEPS)[name]


def _table(results: "Sequence[Result]", reported: Mapping[str, published.Published]) -> Table:
    from gnclightning.experiments.arms.findings import table_of

    usual = table_of(results)
    if not reported:
        return usual
    rows: list[list[str]] = []
    for result, row in zip(results, usual.rows, strict=True):
        known = reported.get(result.arm.name)
        rows.append([*row, *((f"{known.psnr:.2f}", f"{known.ssim:.3f}") if known else ("", ""))])
    return Table("", [*usual.columns, "published PSNR", "published SSIM"], rows)


EXPERIMENT = Experiment(
    "table2",
    "Constant and adaptive steps, and the preconditioned method",
    Table2Config,
    defaults,
    conduct,
    ("data.count=10 output=runs/steps",),
)


def table2(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(table2())
