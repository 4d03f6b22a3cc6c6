"""Figure 3 of the paper: reconstructions, with a part of each enlarged.

`python -m gnclightning.experiments.figure3`; `--help` lists the settings.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnclightning.config.sections import bounded
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory

ARMS = (
    Arm("gnc_flow", "Algorithm 1", ("solver.name=gnc_flow", "methods=[]")),
    Arm("preconditioned", "preconditioned", ("solver.name=preconditioned", "methods=[fbp,tv]")),
)


@dataclass(kw_only=True)
class Figure3Config(ExperimentConfig):
    """Reconstructions side by side, with a part of each enlarged (Fig. 3 of the paper)."""

    zoom: float = bounded(3.0, "> 1")
    """How many times the part is enlarged: that with most detail in the ground truth."""


def defaults(config: Figure3Config) -> list[str]:
    """What users may change."""
    if config.quick:
        return ["data.count=1", "solver.steps=4", "tv.iterations=20"]
    return ["data.count=3"]


def conduct(config: Figure3Config, laboratory: "Laboratory") -> "Findings":
    """Reconstruct the same measurements with all methods."""
    from gnclightning.experiments.arms.findings import Findings, table_of
    from gnclightning.experiments.figure3_figure import columns_of, draw
    from gnclightning.reconstruction.records import label

    results = laboratory.run(ARMS)
    algorithm_1, both = results
    columns = [
        *(columns_of(both, method, label(method)) for method in ("fbp", "tv")),
        *(columns_of(result, result.solver, result.arm.title) for result in results),
    ]
    truth = both.arrays("ground_truth")
    note = (
        "Grey levels are [0,1] in all panels, below them PSNR in dB and SSIM. The part that is "
        "enlarged is the one in which the ground truth varies most."
    )
    return Findings(
        [both, algorithm_1],
        [table_of([both, algorithm_1])],
        {"figure3": draw(truth, columns, config.zoom)},
        [note],
    )


EXPERIMENT = Experiment(
    "figure3",
    "Reconstructions by filtered back-projection, total variation and the solvers",
    Figure3Config,
    defaults,
    conduct,
    ("data.start=20 zoom=4 output=runs/others",),
)


def figure3(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(figure3())
