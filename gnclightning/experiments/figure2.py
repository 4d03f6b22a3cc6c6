"""Figure 2 of the paper: what happens over the iterations of Algorithms 1 and 2.

`python -m gnclightning.experiments.figure2`; `--help` lists the settings.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.reconstruction.records import TraceRow

ARMS = (
    Arm("gnc_flow", "Algorithm 1", ("solver.name=gnc_flow",)),
    Arm("gradient_like", "Algorithm 2", ("solver.name=gradient_like",)),
    Arm("preconditioned", "preconditioned", ("solver.name=preconditioned",)),
)


@dataclass(kw_only=True)
class Figure2Config(ExperimentConfig):
    """PSNR, objective, descent condition and step size while Algorithms 1 and 2 run (Fig. 2)."""


def defaults(config: Figure2Config) -> list[str]:
    """What users may change."""
    return ["data.count=1", *(["solver.steps=6"] if config.quick else [])]


def conduct(config: Figure2Config, laboratory: "Laboratory") -> "Findings":
    """Run the three algorithms on the same images from the same starts."""
    from gnclightning.experiments.arms.findings import Findings, table_of
    from gnclightning.experiments.figure2_figure import draw

    results = laboratory.run(ARMS)
    note = (
        "Values of the iterates, with several images the means over them, save PSNR, which is that "
        "of what the method would return. The descent condition is the cosine of the angle "
        "between the gradient of f and the direction; it holds where it is negative."
    )
    return Findings(
        results,
        [table_of(results)],
        {"figure2": draw(results)},
        [note],
        {"convergence": {result.arm.name: convergence(result.trace) for result in results}},
    )


def convergence(trace: "Sequence[TraceRow]") -> dict[str, float | bool]:
    """What the trace of an arm says about descent, over all images."""
    steps = [row for row in trace if row.iteration > 0]
    values: dict[str, list[float]] = {}
    for row in trace:
        values.setdefault(row.image, []).append(row.objective)
    rises = [after - before for series in values.values() for before, after in pairwise(series)]
    return {
        "descent_share": fmean(row.descent_condition < 0 for row in steps),
        "largest_cosine": max(row.descent_condition for row in steps),
        "largest_rise_of_f": max(rises),
        "monotone": max(rises) <= 0,
        "mean_trials": fmean(row.line_search_trials for row in steps),
    }


EXPERIMENT = Experiment(
    "figure2",
    "Algorithms 1 and 2 and the preconditioned method over their iterations",
    Figure2Config,
    defaults,
    conduct,
    ("data.start=3 solver.t_max=1 output=runs/from-1",),
)


def figure2(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(figure2())
