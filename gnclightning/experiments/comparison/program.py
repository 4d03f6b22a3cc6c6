"""The comparison as a program."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.comparison.plan import ComparisonConfig, arms, defaults

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory

NOTES = (
    "Methods and their tuning: docs/baselines.md. Methods with fewer images have the first ones of "
    "the same phantoms, with the same noise; the column that says by how much GNC is above them is "
    "of these images alone, with its standard error. GNC is the default solver, 10 steps unless it "
    "says otherwise. Batches of 8; processor time is that of all threads.",
    "Other conditions change one thing each. All methods keep the settings tuned at 60 angles and "
    "10 % noise, save what follows the noise level by itself. The best other method is that with "
    "the highest mean PSNR. The residual is |Ax - y| / (sigma sqrt(m)) of the result, 1 for "
    "the truth. A run warns if it was not gradient-like, or if that is above 1 by more than three "
    "standard deviations of pure noise.",
)


def conduct(config: ComparisonConfig, laboratory: "Laboratory") -> "Findings":
    """Run all arms, and say what they show."""
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.comparison import figures, tables

    results = laboratory.run(arms(config))
    by_name = {result.arm.name: result for result in results}
    curves, duels = tables.curves(by_name), tables.condition_duels(by_name)
    return Findings(
        results,
        [tables.main_table(by_name), tables.condition_table(duels), tables.curve_table(curves)],
        {"curves": figures.draw_curves(curves), "conditions": figures.draw_conditions(duels)},
        NOTES,
        {
            "curves": {title: [p._asdict() for p in points] for title, points in curves.items()},
            "conditions": {title: asdict(one) | {"best": one.best} for title, one in duels.items()},
        },
    )


EXPERIMENT = Experiment(
    "comparison",
    "Graduated non-convexity beside what a user would pick instead",
    ComparisonConfig,
    defaults,
    conduct,
    ("images=16 samplers=8 slow=4", "prior.path=runs/own output=runs/comparison-own"),
    any_images=False,
)


def comparison(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)
