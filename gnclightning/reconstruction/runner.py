"""The loop over batches and methods; it knows no file formats and no trackers.

Observers are told what happens. Their time, and that of the metrics, is not a method's time.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from math import nan

import torch
from torch import Tensor

from gnclightning import metrics
from gnclightning.operators import LinearOperator, weighted
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.methods import Method, Outcome, Step
from gnclightning.reconstruction.records import (
    BatchResult,
    MeasuredBatch,
    MethodResult,
    MetricsRow,
    TraceRow,
)
from gnclightning.tensors import norm


@dataclass(frozen=True)
class Iteration:
    """What observers see of an iteration.

    Attributes:
        number: of the batch; 0 is the start. An image that entered later has done fewer, which
            its row says.
        x: what the method would return now (B, 1, H, W), on the device; see `methods.Step`.
        rows: one for each image that took part.
    """

    number: int
    x: Tensor
    rows: list[TraceRow]


class Observer:
    """Told what happens; ignores all of it unless a subclass says otherwise."""

    def batch_started(self, batch: MeasuredBatch) -> None:
        """A batch is measured and about to be reconstructed."""

    def method_started(self, name: str) -> None:
        """A method is about to reconstruct the batch."""

    def iterated(self, iteration: Iteration) -> None:
        """A method with an objective did an iteration."""

    def memory_ran_out(self, limit: int) -> None:
        """The method begins again, with `limit` images at once."""

    def batch_finished(self, result: BatchResult) -> None:
        """All methods have reconstructed the batch."""

    def waiting(self) -> None:
        """Other processes are still at work; told now and then."""

    def close(self, results: Sequence[BatchResult]) -> None:
        """The run has ended, be it finished or not.

        Args:
            results: all batches that are finished, in order, whichever run or process did it.
        """


def run(
    batches: Iterable[MeasuredBatch],
    operator: LinearOperator,
    methods: Sequence[Method],
    observers: Sequence[Observer],
    gather: Callable[[], Sequence[BatchResult]] | None = None,
    limit: BatchLimit | None = None,
) -> None:
    """Reconstruct all batches with all methods.

    Args:
        batches: measured batches, each made when it is needed.
        operator: A, for the residuals of what the methods give.
        methods: applied in this order.
        observers: told in this order; all are closed however the run ends.
        gather: gives all finished batches at the end; None: those of this call.
        limit: of the methods; halved where memory runs out.
    """
    finished: list[BatchResult] = []
    gather_once = cache(gather or (lambda: finished))
    with ExitStack() as stack:
        for observer in reversed(observers):
            stack.callback(_close, observer, gather_once)
        for batch in batches:
            for observer in observers:
                observer.batch_started(batch)
            results = [
                r for method in methods for r in _apply(method, batch, operator, observers, limit)
            ]
            result = BatchResult(_on_cpu(batch), results)
            for observer in observers:
                observer.batch_finished(result)
            if gather is None:
                finished.append(result)


def _close(observer: Observer, gather: Callable[[], Sequence[BatchResult]]) -> None:
    observer.close(gather())


class _Stopwatch:
    """Time between `go` and `halt`, of work that a device has really finished.

    Attributes:
        wall: seconds of the clock.
        cpu: seconds of all threads of this process: other programs on the machine add little to
            them. NaN for a GPU, for which they say nothing.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._since = (0.0, 0.0)
        self.wall, self.cpu = 0.0, 0.0 if device.type == "cpu" else nan

    def go(self) -> None:
        self._wait()
        self._since = time.perf_counter(), time.process_time()

    def halt(self) -> None:
        self._wait()
        wall, cpu = self._since
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _apply(
    method: Method,
    batch: MeasuredBatch,
    operator: LinearOperator,
    observers: Sequence[Observer],
    limit: BatchLimit | None,
) -> list[MethodResult]:
    """Apply a method, once more with half the limit where memory runs out."""
    while True:
        try:
            return _applied(method, batch, operator, observers)
        except (RuntimeError, MemoryError) as error:
            if limit is None or not limit.halve(error):
                raise
        # Outside of the handler nothing refers to the tensors of the failed attempt any more.
        if batch.y.device.type == "cuda":
            torch.cuda.empty_cache()
        for observer in observers:
            observer.memory_ran_out(limit.size)


def _applied(
    method: Method, batch: MeasuredBatch, operator: LinearOperator, observers: Sequence[Observer]
) -> list[MethodResult]:
    """Time a method on a batch; traced and measured with the stopwatch halted.

    Reconstructions that the same work gave come after its own result, with the same time.
    """
    for observer in observers:
        observer.method_started(method.name)
    watch = _Stopwatch(batch.y.device)
    trace: list[TraceRow] = []

    def callback(step: Step) -> None:
        watch.halt()
        rows = _trace_rows(method.name, batch, step)
        trace.extend(rows)
        for observer in observers:
            observer.iterated(Iteration(step.number, step.x, rows))
        watch.go()

    watch.go()
    outcome = method(batch, callback)
    watch.halt()

    def result(name: str, outcome: Outcome, trace: list[TraceRow]) -> MethodResult:
        return MethodResult(
            method=name,
            x=outcome.x.cpu(),
            metrics=_metrics_rows(name, batch, operator, outcome, watch),
            trace=trace,
            certificate=outcome.certificate,
            inspection=None if outcome.inspect is None else outcome.inspect(),
            maps={key: value.cpu() for key, value in outcome.maps.items()},
        )

    further = [result(name, more, []) for name, more in outcome.derived.items()]
    return [result(method.name, outcome, trace), *further]


def _trace_rows(method: str, batch: MeasuredBatch, step: Step) -> list[TraceRow]:
    psnr = _quality(metrics.psnr, step.x, batch.truth)
    table = torch.cat([step.values, psnr[:, None]], dim=1).tolist()
    rows = [
        TraceRow(name, method, number, *values)
        for name, number, values, active in zip(
            batch.names, step.iterations.tolist(), table, step.active.tolist(), strict=True
        )
        if active
    ]
    if step.number == 0:
        return rows
    return [row._replace(line_search_trials=int(row.line_search_trials)) for row in rows]


def _metrics_rows(
    method: str,
    batch: MeasuredBatch,
    operator: LinearOperator,
    outcome: Outcome,
    watch: _Stopwatch,
) -> list[MetricsRow]:
    seconds, cpu_seconds = watch.wall / len(batch.names), watch.cpu / len(batch.names)
    columns = zip(
        batch.names,
        _quality(metrics.psnr, outcome.x, batch.truth).tolist(),
        _quality(metrics.ssim, outcome.x, batch.truth).tolist(),
        outcome.iterations.tolist(),
        outcome.network_evaluations.tolist(),
        outcome.operator_evaluations.tolist(),
        [seconds] * len(outcome.x),
        outcome.status,
        _residual(batch, operator, outcome.x).tolist(),
        [nan] * len(outcome.x) if outcome.alpha is None else outcome.alpha.tolist(),
        [cpu_seconds] * len(outcome.x),
        strict=True,
    )
    return [MetricsRow(image, method, *values) for image, *values in columns]


def _residual(batch: MeasuredBatch, operator: LinearOperator, x: Tensor) -> Tensor:
    """|A x - y| over the expected norm of the noise, (B,); weighted where rays are."""
    a, y = weighted(operator, batch.y, batch.weights)
    return torch.where(batch.sigma_y > 0, norm(a(x) - y) / batch.noise_norm, torch.nan)


def _quality(
    measure: Callable[[Tensor, Tensor], Tensor], x: Tensor, truth: Tensor | None
) -> Tensor:
    """(B,); NaN where there is nothing to compare with."""
    return x.new_full((len(x),), torch.nan) if truth is None else measure(x, truth)


def _on_cpu(batch: MeasuredBatch) -> MeasuredBatch:
    return replace(
        batch,
        truth=None if batch.truth is None else batch.truth.cpu(),
        y=batch.y.cpu(),
        sigma_y=batch.sigma_y.cpu(),
        direct=batch.direct.cpu(),
        weights=None if batch.weights is None else batch.weights.cpu(),
    )
