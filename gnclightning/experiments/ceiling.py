"""How good a reconstruction the prior allows: the mean of samples of the posterior.

`python -m gnclightning.experiments.ceiling`; `--help` lists the settings.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnclightning.config.sections import bounded
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment, run_program
from gnclightning.experiments.tables import Table, number, signed

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory
    from gnclightning.experiments.arms.results import Result
    from gnclightning.experiments.ceiling_estimate import Array, Estimate

    Quality = tuple[Array, Array]

SAMPLER = "langevin"
BESIDE = ("direct", "tv", "plug_and_play", "diffpir")
QUICK_SAMPLES = 4


@dataclass(kw_only=True)
class CeilingConfig(ExperimentConfig):
    """The best PSNR that the prior allows, from samples of the posterior, beside the solver's."""

    samples: int = bounded(32, ">= 3")
    """Samples of the posterior for each image."""


def defaults(config: CeilingConfig) -> list[str]:
    """What users may change."""
    few = ["solver.steps=3", f"{SAMPLER}.steps=4"] if config.quick else []
    return ["data.split=validation", f"data.count={1 if config.quick else 4}", *few]


def arms(config: CeilingConfig) -> list[Arm]:
    """The methods to compare with, then an arm for each sample; the solver runs in all of them."""
    count = min(config.samples, QUICK_SAMPLES) if config.quick else config.samples
    methods, random = (f"methods=[{SAMPLER}]", "start=random")
    samples = [
        Arm(f"sample-{n}", f"GNC, start {n}", (methods, random, f"start_seed={n}"))
        for n in range(1, count + 1)
    ]
    return [Arm("beside", "GNC", (f"methods=[{','.join(BESIDE)}]",)), *samples]


def conduct(config: CeilingConfig, laboratory: "Laboratory") -> "Findings":
    """Run all; what the mean of samples tends to, and how far from it the methods are."""
    import numpy as np

    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.ceiling_estimate import estimate, reliability, standard_error
    from gnclightning.experiments.ceiling_figure import draw

    beside, *drawn = laboratory.run(arms(config))
    truth = beside.arrays("ground_truth").astype(np.float64)
    samples = np.stack([result.arrays(SAMPLER) for result in drawn]).astype(np.float64)
    starts = np.stack([result.arrays(result.solver) for result in drawn]).astype(np.float64)
    found = estimate(samples, truth)
    means = {n: _quality(samples[:n].mean(0), truth) for n in _numbers(len(samples))}
    chance = standard_error(samples, truth)
    alike = reliability(samples, truth)
    measured = {n: float(psnr.mean()) for n, (psnr, _) in means.items()}
    return Findings(
        [beside, *drawn],
        [
            _methods(beside, means, _quality(starts.mean(0), truth), found),
            _over_samples(means, found),
            _images(beside, found),
        ],
        {"ceiling": draw(measured, found, beside, alike)},
        [_note(beside, found, chance)],
        {
            "error": found.error.tolist(),
            "variance": found.variance.tolist(),
            "standard_error": chance,
            "calibration": found.calibration,
            "psnr_of_mean": measured,
            "reliability": {"std": alike[0].tolist(), "error": alike[1].tolist()},
        },
    )


def _numbers(count: int) -> list[int]:
    """1, 2, 4 and so on, and `count`."""
    return [*(2**k for k in range((count - 1).bit_length())), count]


def _quality(images: "Array", truth: "Array") -> "Quality":
    """PSNR and SSIM of each image."""
    import torch

    from gnclightning.metrics import psnr, ssim

    x, reference = (torch.from_numpy(part)[:, None] for part in (images, truth))
    return psnr(x, reference).numpy(), ssim(x, reference).numpy()


def _methods(
    beside: "Result",
    means: "Mapping[int, Quality]",
    starts: "Quality",
    found: "Estimate",
) -> Table:
    """All methods against the ceiling; `starts` is of the mean over the solver's starts."""
    import numpy as np

    from gnclightning.experiments.comparison.images import mean_and_error
    from gnclightning.reconstruction.records import label

    ceiling, count = found.psnr(), max(means)
    rows = [["mean of infinitely many samples", f"{ceiling.mean():.2f}", "", ""]]

    def add(title: str, psnr: "Array", ssim: "Array") -> None:
        difference = signed(*mean_and_error((psnr - ceiling).tolist()))
        rows.append([title, f"{psnr.mean():.2f}", f"{ssim.mean():.3f}", difference])

    add(f"mean of {count} samples", *means[count])
    add("one sample", *means[1])
    add(f"GNC, mean of {count} starts", *starts)
    for method in reversed(beside.methods):
        rows_of = beside.metrics(method)
        add(label(method), *(np.array([getattr(r, q) for r in rows_of]) for q in ("psnr", "ssim")))
    return Table("", ["", "PSNR, dB", "SSIM", "from the ceiling, dB"], rows)


def _over_samples(means: "Mapping[int, Quality]", found: "Estimate") -> Table:
    rows = [
        [str(n), f"{psnr.mean():.2f}", f"{found.psnr(n).mean():.2f}", f"{ssim.mean():.3f}"]
        for n, (psnr, ssim) in means.items()
    ]
    rows.append(["infinitely many", "", f"{found.psnr().mean():.2f}", ""])
    columns = ["samples", "PSNR of the mean of the first, dB", "expected, dB", "SSIM"]
    return Table("The mean of samples", columns, rows)


def _images(beside: "Result", found: "Estimate") -> Table:
    rows: list[list[str]] = []
    columns = zip(beside.metrics(), found.psnr(), found.error, found.variance, strict=True)
    for row, ceiling, error, variance in columns:
        gain = row.psnr - ceiling
        decibels = [f"{ceiling:.2f}", f"{row.psnr:.2f}", f"{gain:+.2f}"]
        rows.append([row.image, *decibels, number(error / variance, 2)])
    titles = ["image", "ceiling, dB", "GNC, dB", "GNC from it, dB", "squared error / variance"]
    return Table("Each image", titles, rows)


def _note(beside: "Result", found: "Estimate", chance: float) -> str:
    difference = beside.mean("psnr") - found.psnr().mean()
    where = "above" if difference > 0 else "below"
    return (
        "The posterior mean has the least squared error that an estimate can have on average, if "
        "images and noise are what prior and likelihood say. The squared error of the mean of n "
        "samples is on average that of infinitely many, the ceiling, plus variance / n; both are "
        f"estimated from all samples. GNC is {abs(difference):.2f} dB {where} the ceiling, which "
        f"other samples would move by {chance:.2f} dB (standard error). Whether "
        "the prior is right shows in the squared error of the posterior mean over the variance of "
        f"samples, 1 for a right one and here {found.calibration:.2f}: above 1 the prior is surer "
        "than it may be, and its posterior mean is no bound."
    )


EXPERIMENT = Experiment(
    "ceiling",
    "The mean of samples of the posterior: what the prior allows",
    CeilingConfig,
    defaults,
    conduct,
    ("samples=64 data.count=2 output=runs/ceiling-64",),
)


def ceiling(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    return run_program(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(ceiling())
