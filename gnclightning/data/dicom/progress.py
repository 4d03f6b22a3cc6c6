"""A progress bar for work on files."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

ResultT = TypeVar("ResultT")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s")


def tracked(
    results: Iterable[ResultT], total: int, description: str, show: bool
) -> Iterator[ResultT]:
    """Pass results on, with a progress bar on standard error: count, rate, time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, expand=True, disable=not show) as bar:
        task = bar.add_task(description, total=total)
        for result in results:
            yield result
            bar.advance(task)
