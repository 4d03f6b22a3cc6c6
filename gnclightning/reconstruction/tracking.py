"""Tracking with Weights & Biases; a failure of it never ends a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    label,
)
from gnclightning.reconstruction.runner import Iteration, Observer

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

PREFIX = "reconstruct"
STEP = f"{PREFIX}/iteration"
SPREAD = f"{PREFIX}/spread"
COLUMNS = TraceRow._fields[TraceRow._fields.index("iteration") + 1 :]
"""The columns of the trace that are logged."""
_MOST_IMAGES = 16
_ERROR_FACTOR = 5
"""Errors are shown this many times as large as the images."""

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

    With one batch the values of an iteration are the means over its active images, as they come,
    and below `reconstruct/spread/` their standard deviations. With several batches the means carry
    the batch's number, as in `reconstruct/batch_2/psnr`, and means and standard deviations over all
    images follow at the end. The x axis is `reconstruct/iteration`.

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
            for group in (PREFIX, SPREAD, *(f"{PREFIX}/{column}" for column in COLUMNS)):
                run.define_metric(f"{group}/*", step_metric=STEP)
        self._batches += 1
        self._batch = batch
        if not self._one_batch:
            self._run.define_metric(f"{self._prefix}/*", step_metric=STEP)

    @_guarded
    def iterated(self, iteration: Iteration) -> None:
        """Log means, each image's values, and pictures now and then."""
        pictures: dict[str, Any] = {}
        if self._images_every and iteration.number % self._images_every == 0:
            assert self._batch is not None
            pictures = {f"{PREFIX}/images": _pictures(self._batch, iteration.x)}
        # Images that entered the batch later are in earlier iterations of theirs.
        for number, rows in _by_iteration(iteration.rows).items():
            values: dict[str, Any] = {STEP: number, **_means(rows, self._prefix), **pictures}
            if self._one_batch:
                values |= _spread(rows)
            if self._each_image:
                for row in rows:
                    values |= _means([row], PREFIX, f"/{row.image}")
            self._run.log(values)

    @_guarded
    def batch_finished(self, result: BatchResult) -> None:
        """Log the results, which the last step makes of what the last iteration showed."""
        for method in _traced([result]):
            last = max(row.iteration for row in method.trace)
            pictures = _pictures(result.batch, method.x)
            self._run.log({STEP: last, f"{PREFIX}/images": pictures})

    @_guarded
    def close(self, results: Sequence[BatchResult]) -> None:
        """Log what concerns all images, and end the run."""
        if self._logger is None:
            return
        run = self._run
        if not self._one_batch:
            trace = [row for method in _traced(results) for row in method.trace]
            for number, rows in _by_iteration(trace).items():
                run.log({STEP: number, **_means(rows, PREFIX), **_spread(rows)})
        rows = [row for result in results for row in result.metrics]
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


def _by_iteration(trace: Iterable[TraceRow]) -> dict[int, list[TraceRow]]:
    grouped: dict[int, list[TraceRow]] = {}
    for row in trace:
        grouped.setdefault(row.iteration, []).append(row)
    return dict(sorted(grouped.items()))


def _means(rows: Iterable[TraceRow], prefix: str, suffix: str = "") -> dict[str, float]:
    """Means over the rows by key; without the values that the start does not have."""
    means = {name: fmean(values) for name, values in _columns(rows).items()}
    return {f"{prefix}/{k}{suffix}": mean for k, mean in means.items() if not np.isnan(mean)}


def _spread(rows: Iterable[TraceRow]) -> dict[str, float]:
    """Standard deviations over the rows by key, as `_means`; of finite values."""
    columns = {k: np.array(values, dtype=np.float64) for k, values in _columns(rows).items()}
    return {f"{SPREAD}/{k}": float(v.std()) for k, v in columns.items() if np.isfinite(v).all()}


def _columns(rows: Iterable[TraceRow]) -> dict[str, list[float]]:
    return {name: [getattr(row, name) for row in rows] for name in COLUMNS}


def _pictures(batch: MeasuredBatch, x: Tensor) -> list[Any]:
    """Direct reconstruction, iterate, and if known truth and error, of the first images."""
    import wandb

    parts = {label(batch.direct_name): batch.direct, "reconstruction": x}
    if batch.truth is not None:
        error = _ERROR_FACTOR * (x - batch.truth.to(x)).abs()
        parts |= {"ground truth": batch.truth, f"{_ERROR_FACTOR} |error|": error}
    panels = [part[:_MOST_IMAGES, 0].cpu().numpy() for part in parts.values()]
    pixels = (255 * np.nan_to_num(np.concatenate(panels, axis=-1)).clip(0, 1)).round()
    captions = [f"{name}: {', '.join(parts)}" for name in batch.names]
    pictures = zip(pixels.astype(np.uint8), captions, strict=False)
    return [wandb.Image(picture, caption=caption) for picture, caption in pictures]
