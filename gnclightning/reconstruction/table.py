"""The table at the end of a run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gnclightning.reconstruction.certification import verdicts
from gnclightning.reconstruction.folder import METRICS
from gnclightning.reconstruction.records import BatchResult, MetricsRow, label
from gnclightning.reconstruction.runner import Observer

_MOST_IMAGES = 20
_COLUMNS = ("PSNR", "SSIM", "iterations", "network\nevals", "seconds")


class FinalTable(Observer):
    """Prints what is finished when the run ends, and where it is kept.

    Args:
        folder: the run folder.
        console: to print on.
    """

    def __init__(self, folder: Path, console: Console):
        self._folder = folder
        self._console = console

    def close(self, results: Sequence[BatchResult]) -> None:
        """Print."""
        if results:
            self._console.print(_table([row for r in results for row in r.metrics]))
        for method, verdict in verdicts(results).items():
            self._console.print(Text(f"{label(method)} certificate: {verdict}."))
        # Never wrapped: a path is there to be copied.
        self._console.print(Text(f"run folder: {self._folder}"), soft_wrap=True)


def _table(rows: Sequence[MetricsRow]) -> Table:
    images = list(dict.fromkeys(row.image for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    # Without padding all columns fit a terminal of 80 characters.
    table = Table(
        Column("image", overflow="fold"), "method", box=box.SIMPLE, padding=0, pad_edge=False
    )
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    table.add_column("status")
    for image in images[:_MOST_IMAGES]:
        _add(table, image, [[row] for row in rows if row.image == image])
    if len(images) > _MOST_IMAGES:
        table.add_row(f"{len(images) - _MOST_IMAGES} more", f"in {METRICS}")
        table.add_section()
    _add(table, f"mean of {len(images)}", [[r for r in rows if r.method == m] for m in methods])
    return table


def _add(table: Table, heading: str, groups: Iterable[Sequence[MetricsRow]]) -> None:
    """A section of the table: one line per method, the mean of its rows."""
    for number, rows in enumerate(groups):
        table.add_row(Text(heading if number == 0 else ""), *_cells(rows))
    table.add_section()


def _cells(rows: Sequence[MetricsRow]) -> list[str]:
    statuses = Counter(row.status for row in rows)
    several = len(statuses) > 1
    return [
        label(rows[0].method),
        _quality(fmean(row.psnr for row in rows), 2),
        _quality(fmean(row.ssim for row in rows), 3),
        _count(fmean(row.iterations for row in rows)),
        _count(fmean(row.network_evaluations for row in rows)),
        f"{fmean(row.seconds for row in rows):.2f}",
        ", ".join(f"{n} {status}" if several else status for status, n in statuses.items()),
    ]


def _quality(mean: float, digits: int) -> str:
    return "" if isnan(mean) else f"{mean:.{digits}f}"


def _count(mean: float) -> str:
    return f"{mean:.1f}".removesuffix(".0")
