"""Tracking with Weights & Biases; a failure of it never ends a run."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from statistics import fmean
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
from rich.console import Console
from torch import Tensor

from gnclightning.reconstruction.records import (
    BatchResult,
    MeasuredBatch,
    MethodResult,
    MetricsRow,
    TraceRow,
)
from gnclightning.reconstruction.runner import Iteration, Observer

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

PREFIX = "reconstruct"
STEP = f"{PREFIX}/iteration"
COLUMNS = TraceRow._fields[TraceRow._fields.index("iteration") + 1 :]
"""The columns of the trace that are logged."""
_MOST_IMAGES = 16

P = ParamSpec("P")


def _guarded(
    method: Callable[Concatenate["Tracking", P], None],
) -> Callable[Concatenate["Tracking", P], None]:
    """Let the first failure switch tracking off, with a warning."""

    @wraps(method)
    def call(self: "Tracking", *args: P.args, **kwargs: P.kwargs) -> None:
        if self.failed:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.failed = True
            reason = " ".join(str(error).split())
            self.console.print(f"W&B tracking stopped: {reason}", style="yellow", markup=False)

    return call


class Tracking(Observer):
    """Logs iterations, pictures and metrics, all below `reconstruct/`.

    With one batch the values of an iteration are the means over its active images, as they come.
    With several batches these carry the batch's number, as in `reconstruct/batch_2/psnr`, and the
    means over all images follow at the end. The x axis is `reconstruct/iteration`.

    Args:
        start: gives Lightning's logger; called with the first batch.
        config: the settings of the run.
        images: of the run; up to 16 get curves of their own, `reconstruct/psnr/NAME`.
        batch_size: images per batch.
        images_every: iterations between two pictures; 0: only the last.
        console: where a failure is reported.
    """

    def __init__(
        self,
        start: Callable[[], "WandbLogger"],
        config: Mapping[str, Any],
        images: int,
        batch_size: int,
        images_every: int,
        console: Console,
    ):
        self.failed = False
        self.console = console
        self._start = start
        self._config = config
        self._one_batch = images <= batch_size
        self._each_image = images <= _MOST_IMAGES
        self._images_every = images_every
        self._results: list[BatchResult] = []
        self._batches = 0
        self._batch: MeasuredBatch | None = None
        self._logger: WandbLogger | None = None

    @_guarded
    def batch_started(self, batch: MeasuredBatch) -> None:
        """Start the run before the first batch, while no method's time is measured."""
        if self._logger is None:
            self._logger = self._start()
            run = self._run
            run.config.update(dict(self._config))
            run.define_metric(STEP)
            # A star stands for one level of names, and only the last.
            for group in (PREFIX, *(f"{PREFIX}/{column}" for column in COLUMNS)):
                run.define_metric(f"{group}/*", step_metric=STEP)
        self._batches += 1
        self._batch = batch
        if not self._one_batch:
            self._run.define_metric(f"{self._prefix}/*", step_metric=STEP)

    @_guarded
    def iterated(self, iteration: Iteration) -> None:
        """Log means, each image's values, and pictures now and then."""
        values: dict[str, Any] = {STEP: iteration.number}
        values |= _means(iteration.rows, self._prefix)
        if self._each_image:
            for row in iteration.rows:
                values |= _means([row], PREFIX, f"/{row.image}")
        if self._images_every and iteration.number % self._images_every == 0:
            assert self._batch is not None
            values[f"{PREFIX}/images"] = _pictures(self._batch, iteration.x)
        self._run.log(values)

    @_guarded
    def batch_finished(self, result: BatchResult) -> None:
        """Log the results, which the last step makes of what the last iteration showed."""
        self._results.append(result)
        for method in _traced([result]):
            last = max(row.iteration for row in method.trace)
            pictures = _pictures(result.batch, method.x)
            self._run.log({STEP: last, f"{PREFIX}/images": pictures})

    @_guarded
    def close(self) -> None:
        """Log what concerns all images, and end the run."""
        if self._logger is None:
            return
        run = self._run
        if not self._one_batch:
            for number, rows in _by_iteration(_traced(self._results)).items():
                run.log({STEP: number, **_means(rows, PREFIX)})
        rows = [row for result in self._results for row in result.metrics]
        if rows:
            self._logger.log_table(
                f"{PREFIX}/metrics", list(MetricsRow._fields), [list(row) for row in rows]
            )
        for method in dict.fromkeys(row.method for row in rows):
            mine = [row for row in rows if row.method == method]
            for name in ("psnr", "ssim"):
                mean = fmean(getattr(row, name) for row in mine)
                if not np.isnan(mean):
                    run.summary[f"{name}/{method}"] = mean
        run.finish()

    @property
    def _run(self) -> Any:
        assert self._logger is not None
        return self._logger.experiment

    @property
    def _prefix(self) -> str:
        """Of means over the present batch."""
        return PREFIX if self._one_batch else f"{PREFIX}/batch_{self._batches}"


def _traced(results: Iterable[BatchResult]) -> list[MethodResult]:
    return [method for result in results for method in result.methods if method.trace]


def _by_iteration(methods: Iterable[MethodResult]) -> dict[int, list[TraceRow]]:
    grouped: dict[int, list[TraceRow]] = {}
    for row in (row for method in methods for row in method.trace):
        grouped.setdefault(row.iteration, []).append(row)
    return dict(sorted(grouped.items()))


def _means(rows: Iterable[TraceRow], prefix: str, suffix: str = "") -> dict[str, float]:
    """Means over the rows by key; without the values that the start does not have."""
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    means = {name: fmean(values) for name, values in columns.items()}
    return {f"{prefix}/{k}{suffix}": mean for k, mean in means.items() if not np.isnan(mean)}


def _pictures(batch: MeasuredBatch, x: Tensor) -> list[Any]:
    """Truth, if it is known, and iterate side by side, of the first images."""
    import wandb

    parts = [x] if batch.truth is None else [batch.truth, x]
    shown = np.concatenate([part[:_MOST_IMAGES, 0].cpu().numpy() for part in parts], axis=-1)
    pixels = (255 * np.nan_to_num(shown).clip(0, 1)).round().astype(np.uint8)
    return [wandb.Image(p, caption=name) for p, name in zip(pixels, batch.names, strict=False)]
