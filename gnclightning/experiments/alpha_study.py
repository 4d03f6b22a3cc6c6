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
SCALES, QUICK_SCALES = (0.5, 1.0, 2.0), (1.0, 2.0)
"""The paper's rule, alpha nu_t / gamma_t: its value at t_min in units of the default's mean."""
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
    """Run the sweep, then the rules; among them one alpha for all images, from the sweep.

    So the value of the paper's rule, too, is chosen with the ground truth.
    """
    from gnclightning.experiments.alpha_study_figure import draw
    from gnclightning.experiments.arms.findings import Findings, table_of

    scales = QUICK_SCALES if config.quick else SCALES
    later = [*RULES, _constant(1.0), *(_noise_scale(s, 1.0) for s in scales)]
    tried = laboratory.run(sweep(config), later)
    usual = next(r for r in tried if r.arm.name == f"factor-{DEFAULT:g}")
    alpha = usual.mean("alpha")
    paper = [_noise_scale(s, s * alpha / _noise_to_signal(usual)) for s in scales]
    rules = laboratory.run([*RULES, _constant(alpha)])
    scaled = laboratory.run(paper)
    best = max(scaled, key=lambda result: result.mean("psnr"))
    arms = [*tried, *rules, *scaled]
    oracle = [max(psnr) for psnr in zip(*map(_psnr, tried), strict=True)]
    shortfall = {r.arm.name: fmean(oracle) - r.mean("psnr") for r in arms}
    note = (
        f"The oracle takes for each image the alpha of the sweep with the best PSNR: "
        f"{fmean(oracle):.2f} dB. Factor {DEFAULT:g} is the default, {MAP:g} what maximum a "
        "posteriori estimation asks for. The figure shows the best of the paper's rule."
    )
    return Findings(
        arms,
        [_table(arms, shortfall), table_of(arms, "Cost")],
        {"alpha_study": draw(tried, [*rules, best], oracle)},
        [note],
        {"oracle_psnr": oracle, "shortfall": shortfall},
    )


def _constant(alpha: float) -> Arm:
    settings = ("alpha.rule=constant", f"alpha.value={alpha:.6g}")
    return Arm("constant", "the same alpha for all images and times", settings)


def _noise_scale(scale: float, value: float) -> Arm:
    settings = ("alpha.rule=noise_scale", f"alpha.value={value:.6g}")
    return Arm(
        f"noise-scale-{scale:g}", f"the paper's, {scale:g} of the default at t_min", settings
    )


def _noise_to_signal(result: "Result") -> float:
    """nu_t / gamma_t at the t_min of a run."""
    import torch

    from gnclightning.config import load_reconstruct_config
    from gnclightning.priors import from_pretrained
    from gnclightning.reconstruction.folder import CONFIG

    config = load_reconstruct_config(result.folder / CONFIG)  # with t_min where it was left open
    prior, _ = from_pretrained(config.prior.path)
    return float(prior.sde.noise_to_signal(torch.tensor(config.solver.last_time).double()))


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
