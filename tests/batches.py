"""Finished batches with made-up numbers, shared by the tests of what is written of them."""

from collections.abc import Mapping
from pathlib import Path

import torch

from gnclightning.operators import ParallelBeam2D
from gnclightning.reconstruction.records import (
    BatchResult,
    MeasuredBatch,
    MethodResult,
    MetricsRow,
    TraceRow,
)
from gnclightning.reconstruction.writers import Projections, RunFolder
from gnclightning.solvers import Certificate

SIZE, ANGLES = 8, 3
GEOMETRY = ParallelBeam2D.for_image(SIZE, ANGLES, unit="cm")


def batch(*names: str) -> MeasuredBatch:
    generator = torch.Generator().manual_seed(len(names[0]))
    n, detectors = len(names), GEOMETRY.detector_count
    truth, fbp = torch.rand(2, n, 1, SIZE, SIZE, generator=generator)
    y = torch.rand(n, 1, ANGLES, detectors, generator=generator)
    sigma = torch.rand(n, generator=generator).double()
    return MeasuredBatch(names, truth, y, sigma, fbp, tuple(range(n)))


def result(*names: str, iterations: int = 2, psnr: float = 30.0) -> BatchResult:
    measured, n = batch(*names), len(names)
    trace = [
        TraceRow(name, "gnc_flow", i, 0.5, 10.0 - i, 6.0, 4.0 - i, 0.1, 1, -0.5, 3.0, psnr)
        for i in range(iterations + 1)
        for name in names
    ]
    metrics = [MetricsRow(name, "gnc_flow", psnr, 0.9, 2, 5, 9, 0.1, "converged") for name in names]
    ones = torch.ones(n, dtype=torch.float64)
    certificate = Certificate(
        descent_share=ones,
        descent_bound=ones / 8,
        length_bound=2 * ones,
        fallbacks=ones.long(),
        armijo_share=ones / 2,
        armijo_sum=ones,
        decrease=3 * ones,
        monotone=ones > 0,
        relative_stationarity=ones / 4,
        final_iterations=ones.long(),
        lipschitz=torch.nan * ones,
        certified_t=ones,
        failures=ones.long(),
        integration_error=torch.nan * ones,
        gradient_like=ones < 0,
    )
    return BatchResult(
        measured, [MethodResult("gnc_flow", measured.truth / 2, metrics, trace, certificate)]
    )


def run_folder(path: Path, images: int = 3, left_out: Mapping[str, str] | None = None) -> RunFolder:
    path.mkdir(exist_ok=True)
    kind = Projections("1/cm", GEOMETRY)
    return RunFolder(path, kind, images, torch.device("cpu"), left_out=left_out)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
