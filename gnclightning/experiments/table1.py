"""Table 1 of the paper: how far the start decides, for gradient descent on f and Algorithm 1.

`python -m gnclightning.experiments.table1`; `--help` lists the settings.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from gnclightning.config.sections import bounded
from gnclightning.experiments import published
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.tables import Table

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.experiments.arms.results import Result

METHODS = {"gradient_descent": "gradient descent on f", "gnc_flow": "Algorithm 1"}
STEPS, QUICK_STEPS = 300, 3
QUICK_STARTS = 2
QUALITIES = ("psnr", "ssim")


@dataclass(kw_only=True)
class Table1Config(ExperimentConfig):
    """What the start decides with gradient descent and with Algorithm 1 (Table 1 of the paper)."""

    starts: int = bounded(10, ">= 2")
    """Random starts of each image, each a run of its own; the noise is the same."""


def defaults(config: Table1Config) -> list[str]:
    """What users may change."""
    return [f"data.count={1 if config.quick else 10}"]


def arms(config: Table1Config) -> list[Arm]:
    """A run for each method and start, the starts of a method together."""
    starts = min(config.starts, QUICK_STARTS) if config.quick else config.starts
    steps = QUICK_STEPS if config.quick else STEPS
    return [
        Arm(
            f"{method}-{start}",
            f"{title}, start {start}",
            (
                f"solver.name={method}",
                f"solver.steps={steps}",
                "start=random",
                f"start_seed={start}",
            ),
        )
        for method, title in METHODS.items()
        for start in range(starts)
    ]


def conduct(config: Table1Config, laboratory: "Laboratory") -> "Findings":
    """Run all; PSNR and SSIM by method, image and start."""
    from gnclightning.experiments.arms.findings import Findings, table_of
    from gnclightning.experiments.table1_figure import draw

    results = laboratory.run(arms(config))
    by_method = {m: [r for r in results if r.solver == m] for m in METHODS}
    reported = {} if config.quick else published.comparable(published.STARTS, results[0].config)
    values = {method: _spread(of_method) for method, of_method in by_method.items()}
    cost = {
        method: {
            name: fmean(result.mean(name) for result in of_method)
            for name in ("network_evaluations", "operator_evaluations", "seconds", "cpu_seconds")
        }
        for method, of_method in by_method.items()
    }
    note = (
        "Mean over images and starts; the standard deviation is that over the starts of an image, "
        "averaged over the images. Published: arXiv 2404.18699, Table 1, with a larger network."
    )
    psnr = {
        METHODS[method]: [[row.psnr for row in result.metrics()] for result in of_method]
        for method, of_method in by_method.items()
    }
    return Findings(
        results,
        [_table(values, cost, reported), table_of(results, "Each start")],
        {"table1": draw(psnr)},
        [note],
        {"methods": {method: values[method] | cost[method] for method in METHODS}},
    )


def _spread(results: "Sequence[Result]") -> dict[str, float]:
    """Mean, and mean standard deviation over the starts, of PSNR and SSIM."""
    found: dict[str, float] = {}
    for name in QUALITIES:
        starts = [[getattr(row, name) for row in result.metrics()] for result in results]
        images = list(zip(*starts, strict=True))
        found[name] = fmean(map(fmean, images))
        found[f"{name}_std"] = fmean(map(stdev, images))
    return found


def _table(
    values: dict[str, dict[str, float]],
    cost: dict[str, dict[str, float]],
    reported: Mapping[str, published.Published],
) -> Table:
    columns = ["", "PSNR, dB (std)", "SSIM (std)"]
    columns += ["network evals", "CPU s"]
    columns += ["published PSNR", "published SSIM"] if reported else []
    rows: list[list[str]] = []
    for method, title in METHODS.items():
        v, c = values[method], cost[method]
        row = [
            title,
            f"{v['psnr']:.2f} ({v['psnr_std']:.3f})",
            f"{v['ssim']:.3f} ({v['ssim_std']:.4f})",
            f"{c['network_evaluations']:.0f}",
            f"{c['cpu_seconds']:.2f}",
        ]
        if reported:
            p = reported[method]
            row += [f"{p.psnr:.2f} ({p.psnr_std:g})", f"{p.ssim:.3f} ({p.ssim_std:g})"]
        rows.append(row)
    return Table("", columns, rows)


EXPERIMENT = Experiment(
    "table1",
    "Gradient descent on f and Algorithm 1 from several starts",
    Table1Config,
    defaults,
    conduct,
    ("starts=3 data.count=4 output=runs/starts",),
)


def table1(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(table1())
