"""The progress bar, and the live table of the images under way."""

from collections.abc import Callable
from math import isnan
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gnclightning.reconstruction.records import BatchResult, MeasuredBatch, TraceRow, label
from gnclightning.reconstruction.runner import Iteration, Observer
from gnclightning.solvers import Status

_FAILURES = (Status.SEARCH_FAILED.label, Status.NOT_FINITE.label)
_MOST_ROWS = 16
_COLUMNS = ("iteration", "t", "f", "|grad f|", "PSNR, dB")


class ProgressBar(Observer):
    """Shows images done, iteration, mean objective and PSNR of the batch, failures, and time left.

    Args:
        images: of the run.
        steps: iterations of the solver, at most.
        console: to draw on.
        table: whether a table of the images under way is shown below the bar, on a terminal.
        finished: how many images are finished, by other processes and earlier runs too; None:
            those whose batches this bar was told of.
        failed: how many images of earlier runs failed.
    """

    def __init__(
        self,
        images: int,
        steps: int,
        console: Console,
        table: bool = False,
        finished: Callable[[], int] | None = None,
        failed: int = 0,
    ):
        self._images, self._steps, self._console = images, steps, console
        self._with_table, self._finished = table and console.is_terminal, finished
        self._done = 0 if finished is None else finished()
        self._failed = failed
        self._rows: dict[str, TraceRow] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(
            self._describe("starting"),
            total=images * steps,
            completed=self._done * steps,  # before the clock starts: it took no time
            numbers="",
        )
        self._live = Live(
            get_renderable=self._shown, console=console, refresh_per_second=4, transient=False
        )

    def batch_started(self, batch: MeasuredBatch) -> None:
        """Show the bar, from the first batch on."""
        self._rows = {}
        if not self._live.is_started:
            self._live.start()

    def method_started(self, name: str) -> None:
        """Name the method."""
        self._bar.update(self._task, description=self._describe(label(name)), numbers="")

    def iterated(self, iteration: Iteration) -> None:
        """Move on by what each image has done."""
        rows = iteration.rows
        objective = fmean(row.objective for row in rows)
        psnr = fmean(row.psnr for row in rows)
        quality = "" if isnan(psnr) else f"  PSNR {psnr:.2f} dB"
        self._rows |= {row.image: row for row in rows}
        self._bar.update(
            self._task,
            completed=self._done * self._steps + sum(r.iteration for r in self._rows.values()),
            numbers=f"{rows[0].iteration}/{self._steps}  f {objective:.4g}{quality}",
        )

    def memory_ran_out(self, limit: int) -> None:
        """Say so, as it costs time."""
        self._rows = {}
        self._console.print(f"out of memory: going on with {limit} images at once")

    def batch_finished(self, result: BatchResult) -> None:
        """Count the images; those that stopped early leave a gap to close."""
        if self._finished is None:
            self._done += len(result.batch.names)
        self._rows = {}
        self._failed += failures(result)
        self._update("done")
        if not self._console.is_terminal:
            # In a log, where no bar is drawn, a line says that something is going on.
            self._console.print(self._describe("done"), highlight=False)

    def waiting(self) -> None:
        """Count what other processes finish."""
        self._update("waiting for other processes")

    def close(self, results: object) -> None:
        """Leave the bar as it is."""
        if self._live.is_started:
            self._live.stop()

    def _update(self, doing: str) -> None:
        if self._finished is not None:
            self._done = self._finished()
        self._bar.update(
            self._task,
            completed=self._done * self._steps,
            description=self._describe(doing),
        )

    def _describe(self, doing: str) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done}/{self._images} images{failed}, {doing}"

    def _shown(self) -> Group:
        if not self._with_table:
            return Group(self._bar)
        return Group(self._bar, _table(list(self._rows.values())[-_MOST_ROWS:], self._steps))


def failures(result: BatchResult) -> int:
    """Images of a batch with a method that failed."""
    return len({row.image for row in result.metrics if row.status in _FAILURES})


def _table(rows: list[TraceRow], steps: int) -> Table:
    table = Table("image", box=None)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        numbers = (row.t, row.objective, row.gradient_norm)
        cells = ["" if isnan(number) else f"{number:.4g}" for number in numbers]
        psnr = "" if isnan(row.psnr) else f"{row.psnr:.2f}"
        table.add_row(Text(row.image), f"{row.iteration}/{steps}", *cells, psnr)
    return table
