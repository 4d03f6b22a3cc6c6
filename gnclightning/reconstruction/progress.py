"""The progress bar."""

from math import isnan
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gnclightning.reconstruction.records import BatchResult, MeasuredBatch, label
from gnclightning.reconstruction.runner import Iteration, Observer


class ProgressBar(Observer):
    """Shows images done, iteration, mean objective and PSNR of the batch, and the time left.

    Args:
        images: of the run.
        steps: iterations of the solver, at most.
        console: to draw on.
    """

    def __init__(self, images: int, steps: int, console: Console):
        self._images, self._steps, self._console = images, steps, console
        self._done = self._present = 0
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
            self._describe("starting"), total=images * steps, numbers=""
        )

    def batch_started(self, batch: MeasuredBatch) -> None:
        """Show the bar, from the first batch on."""
        self._present = len(batch.names)
        self._bar.start()

    def method_started(self, name: str) -> None:
        """Name the method."""
        self._bar.update(self._task, description=self._describe(label(name)), numbers="")

    def iterated(self, iteration: Iteration) -> None:
        """Move on."""
        objective = fmean(row.objective for row in iteration.rows)
        psnr = fmean(row.psnr for row in iteration.rows)
        quality = "" if isnan(psnr) else f"  PSNR {psnr:.2f} dB"
        self._bar.update(
            self._task,
            completed=self._done * self._steps + self._present * iteration.number,
            numbers=f"{iteration.number}/{self._steps}  f {objective:.4g}{quality}",
        )

    def batch_finished(self, result: BatchResult) -> None:
        """Count the images; those that stopped early leave a gap to close."""
        self._done += self._present
        if not self._console.is_terminal:
            # In a log, where no bar is drawn, a line says that something is going on.
            self._console.print(self._describe("done"), highlight=False)
        self._bar.update(
            self._task, completed=self._done * self._steps, description=self._describe("done")
        )

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def _describe(self, doing: str) -> str:
        return f"{self._done}/{self._images} images, {doing}"
