"""The progress bar."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Shows the runs done (one method, one t_max), the rate and the time left.

    Args:
        total: runs.
        work: iterations of all starts together in one run.
        shown: whether to show it.
    """

    def __init__(self, total: int, work: int, shown: bool):
        self._work = work
        self._bar = Progress(
            TextColumn("values of t_max"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            expand=True,
            disable=not shown,
        )
        self._task = self._bar.add_task("", total=total, rate="")

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, runs: int) -> None:
        """So many more runs are done."""
        self._bar.advance(self._task, runs)
        task = self._bar.tasks[self._task]
        rate = task.completed * self._work / max(task.elapsed or 0, 1e-3)
        self._bar.update(self._task, rate=f"{rate / 1e6:.1f} million iterations/s")
