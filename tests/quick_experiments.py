"""Quick runs of the paper's experiments and the studies, shared by tests."""

import json
from pathlib import Path

from gnclightning.experiments.alpha_study import alpha_study
from gnclightning.experiments.ceiling import ceiling
from gnclightning.experiments.figure2 import figure2
from gnclightning.experiments.figure3 import figure3
from gnclightning.experiments.schedule_study import GROUPS, schedule_study
from gnclightning.experiments.table1 import table1
from gnclightning.experiments.table2 import table2

PROGRAMS = {
    "table1": table1,
    "table2": table2,
    "figure2": figure2,
    "figure3": figure3,
    "schedule_study": schedule_study,
    "alpha_study": alpha_study,
    "ceiling": ceiling,
}
ARMS = {
    "table1": ["gradient_descent-0", "gradient_descent-1", "gnc_flow-0", "gnc_flow-1"],
    "table2": ["constant", "adaptive", "preconditioned", "preconditioned-10"],
    "figure2": ["gnc_flow", "gradient_like", "preconditioned"],
    "figure3": ["preconditioned", "gnc_flow"],
    "schedule_study": ["default", *(f"{number:02d}-1" for number in range(1, 1 + len(GROUPS)))],
    "alpha_study": [
        *("factor-0.2", "factor-0.5", "factor-1"),
        *("gain-0", "gain-5", "discrepancy", "constant", "noise-scale-1", "noise-scale-2"),
    ],
    "ceiling": ["beside", *(f"sample-{number}" for number in (1, 2, 3, 4))],
}


def words(prior: Path, folder: Path, *more: str) -> list[str]:
    """Arguments of a quick run with an untrained prior."""
    small = ("--quick", "data.size=32", "geometry.angles=20", "device=cpu", "progress=false")
    return [*small, f"prior.path={prior}", f"output={folder}", *more]


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())
