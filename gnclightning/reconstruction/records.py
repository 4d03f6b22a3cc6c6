"""What passes between the parts of a reconstruction: measurements, results, rows of tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import nan, sqrt
from typing import Any, NamedTuple

from torch import Tensor

from gnclightning.diagnostics import Inspection
from gnclightning.solvers import Certificate

_LABELS = {
    "fbp": "FBP",
    "zero_filled": "zero-filled",
    "tv": "TV",
    "tikhonov": "Tikhonov",
    "plug_and_play": "plug-and-play",
    "diffpir": "DiffPIR",
    "dds": "DDS",
    "dps": "DPS",
    "langevin": "posterior sample",
    "nmapg": "nmAPG",
    "preconditioned": "GNC",
    "gradient_like": "GNC",
    "gnc_flow": "GNC",
    "gradient_descent": "gradient descent",
}
_MEAN, _WEIGHT = "_mean", "_alpha_"
LEFT_OUT = "left out"
"""Status of an image that could not be used."""


def label(method: str) -> str:
    """A method's name for readers; a run has one solver, so that `GNC` is clear."""
    solver = method.removesuffix(_MEAN).partition(_WEIGHT)[0]
    return _LABELS.get(solver, solver) + method.removeprefix(solver).replace("_", " ")


def mean_name(method: str) -> str:
    """The name of the mean over several starts of a method."""
    return method + _MEAN


def weight_name(method: str, value: float) -> str:
    """The name of a method with another weight, `value`, than it has in the run."""
    return f"{method}{_WEIGHT}{value:g}"


def has_other_weight(method: str) -> bool:
    """Whether a method's name is one that `weight_name` gave."""
    return _WEIGHT in method


class MetricsRow(NamedTuple):
    """One row of `metrics.csv`; `seconds` is the time of the batch over its number of images.

    Without ground truth `psnr` and `ssim` are NaN. `residual` is |A x - y| of the reconstruction
    over its expectation for the true image, NaN for exact measurements. `alpha` is the weight of
    the regulariser at t_min, NaN for a method without. `cpu_seconds` is the processor time, of all
    threads together, over the number of images; NaN where a GPU does the work.
    """

    image: str
    method: str
    psnr: float
    ssim: float
    iterations: int
    network_evaluations: int
    operator_evaluations: int
    seconds: float
    status: str
    residual: float = nan
    alpha: float = nan
    cpu_seconds: float = nan


def row_of_left_out(image: str) -> MetricsRow:
    """The row of an image that could not be used, to which no method was applied."""
    return MetricsRow(image, "", nan, nan, 0, 0, 0, nan, LEFT_OUT)


class TraceRow(NamedTuple):
    """One row of `trace.csv`: an image after an iteration in which it took part.

    Iteration 0 is the start, without step: `t`, `step_size`, `line_search_trials` and
    `descent_condition` (the cosine of the angle between grad f and the direction) are NaN. So is
    `psnr` without ground truth.
    """

    image: str
    method: str
    iteration: int
    t: float
    objective: float
    data_fidelity: float
    regulariser: float
    step_size: float
    line_search_trials: float
    descent_condition: float
    gradient_norm: float
    psnr: float


@dataclass(frozen=True)
class MeasuredBatch:
    """Measurements, and the images that they are of as far as these are known.

    Attributes:
        names: one per image.
        truth: the images (B, 1, H, W), float32; None if they are not known.
        y: noisy measurements (B, 1, ...), of projections (B, 1, angles, detectors) with lengths in
            pixels.
        sigma_y: standard deviation of their noise, (B,) float64.
        direct: direct reconstructions from `y`, (B, 1, H, W).
        start_seeds: seeds of the random starts, one per image.
        weights: of the rays in the data term, like `y`, mean 1; None if all are alike. The noise of
            a ray has the standard deviation sigma_y / sqrt(weight).
        first: number of the first image among all of the run.
        direct_name: name of the method that made `direct`.
        values: measured of each image, where less than all of `y` is; None: all.
    """

    names: tuple[str, ...]
    truth: Tensor | None
    y: Tensor
    sigma_y: Tensor
    direct: Tensor
    start_seeds: tuple[int, ...]
    weights: Tensor | None = None
    first: int = 0
    direct_name: str = "fbp"
    values: int | None = None

    @property
    def noise_norm(self) -> Tensor:
        """Expected norm of the (weighted) noise, sigma_y sqrt(m) for m rays that count, (B,)."""
        if self.weights is None:
            return self.sigma_y * sqrt(self.values or self.y[0].numel())
        return self.sigma_y * (self.weights > 0).flatten(1).sum(1).double().sqrt()

    def part(self, rows: slice) -> "MeasuredBatch":
        """Some consecutive images; `rows` has a start."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        parts: dict[str, Any] = {
            name: value[rows] if isinstance(value, Tensor | tuple) else value
            for name, value in values.items()
        }
        return MeasuredBatch(**parts | {"first": self.first + rows.start})


@dataclass(frozen=True)
class MethodResult:
    """What a method made of a batch.

    Attributes:
        method: its name.
        x: reconstructions (B, 1, H, W).
        metrics: one row per image.
        trace: rows of all iterations, in their order.
        certificate: of an iterative solver.
        inspection: of its prior at `x`, if that was asked for.
        maps: images or sinograms (B, 1, ...) that say something of `x`, by name.
    """

    method: str
    x: Tensor
    metrics: list[MetricsRow]
    trace: list[TraceRow]
    certificate: Certificate | None
    inspection: Inspection | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class BatchResult:
    """A finished batch: what was measured, and the result of each method."""

    batch: MeasuredBatch
    methods: list[MethodResult]

    @property
    def metrics(self) -> list[MetricsRow]:
        """The rows of `metrics.csv`: image after image, the methods of each together."""
        return [
            row for rows in zip(*(m.metrics for m in self.methods), strict=True) for row in rows
        ]
