"""Rules for the weight alpha, against the best alpha of each image.

`python -m gnclightning.experiments.alpha_study`; `--help` lists the settings.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.tables import Table

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.experiments.arms.results import Result

FACTORS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""alpha at t_min in units of sigma_y^2; the oracle is the best of them for each image."""
QUICK_FACTORS = (0.2, 0.5, 1.0)
DEFAULT, MAP = 0.5, 1.0
RULES = (
    Arm("gain-0", "the default, not growing with t", ("alpha.rule=auto", "alpha.gain=0")),
    Arm("gain-5", "the default, growing five times as fast", ("alpha.rule=auto", "alpha.gain=5")),
    Arm("discrepancy", "discrepancy principle", ("alpha.rule=discrepancy",)),
)


@dataclass(kw_only=True)
class AlphaStudyConfig(ExperimentConfig):
    """Rules that choose alpha against an oracle that knows the best alpha of each image."""


def defaults(config: AlphaStudyConfig) -> list[str]:
    """What users may change."""
    few = ["solver.steps=4"] if config.quick else []
    return ["data.split=validation", f"data.count={1 if config.quick else 5}", *few]


def sweep(config: AlphaStudyConfig) -> list[Arm]:
    """One alpha after the other."""
    return [
        Arm(f"factor-{f:g}", f"{f:g} sigma_y^2", ("alpha.rule=auto", f"alpha.value={f:g}"))
        for f in (QUICK_FACTORS if config.quick else FACTORS)
    ]


def conduct(config: AlphaStudyConfig, laboratory: "Laboratory") -> "Findings":
    """Run the sweep, then the rules; among them one alpha for all images, from the sweep."""
    from gnclightning.experiments.alpha_study_figure import draw
    from gnclightning.experiments.arms.findings import Findings, table_of

    tried = laboratory.run(sweep(config), later=[*RULES, _constant(1.0)])
    usual = next(r for r in tried if r.arm.name == f"factor-{DEFAULT:g}")
    rules = laboratory.run([*RULES, _constant(usual.mean("alpha"))])
    oracle = [max(psnr) for psnr in zip(*map(_psnr, tried), strict=True)]
    shortfall = {r.arm.name: fmean(oracle) - r.mean("psnr") for r in [*tried, *rules]}
    note = (
        f"The oracle takes for each image the alpha of the sweep with the best PSNR: "
        f"{fmean(oracle):.2f} dB. Factor {DEFAULT:g} is the default, {MAP:g} what maximum a "
        "posteriori estimation asks for."
    )
    return Findings(
        [*tried, *rules],
        [_table([*tried, *rules], shortfall), table_of([*tried, *rules], "Cost")],
        {"alpha_study": draw(tried, rules, oracle)},
        [note],
        {"oracle_psnr": oracle, "shortfall": shortfall},
    )


def _constant(alpha: float) -> Arm:
    settings = ("alpha.rule=constant", f"alpha.value={alpha:.6g}")
    return Arm("constant", "the same alpha for all images and times", settings)


def _psnr(result: "Result") -> list[float]:
    return [row.psnr for row in result.metrics()]


def _table(results: "Sequence[Result]", shortfall: dict[str, float]) -> Table:
    rows = [
        [r.arm.title, f"{r.mean('psnr'):.2f}", f"{shortfall[r.arm.name]:.2f}", _alphas(r)]
        for r in results
    ]
    return Table("", ["alpha", "PSNR, dB", "below the oracle, dB", "alpha at t_min"], rows)


def _alphas(result: "Result") -> str:
    values = [row.alpha for row in result.metrics()]
    return f"{min(values):.3g} to {max(values):.3g}"


EXPERIMENT = Experiment(
    "alpha_study",
    "Rules for alpha against the best alpha of each image",
    AlphaStudyConfig,
    defaults,
    conduct,
    ("noise.relative=0.01 output=runs/alpha-1",),
)


def alpha_study(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(alpha_study())
