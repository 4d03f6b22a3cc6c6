"""Tables for readers, in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True)
class Table:
    """A table for readers.

    Attributes:
        title: above it; "": none.
        columns: their headings.
        rows: cells as text.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """In Markdown."""
        title = [f"{self.title}:", ""] if self.title else []
        body = [self.columns, ["---"] * len(self.columns), *self.rows]
        return [*title, *(f"| {' | '.join(cells)} |" for cells in body)]


def number(value: float, digits: int) -> str:
    """A number of a table; nothing where there is none."""
    return "" if isnan(value) else f"{value:.{digits}f}"


def signed(mean: float, error: float) -> str:
    """A difference with its standard error, where there is one."""
    return f"{mean:+.2f}" if isnan(error) else f"{mean:+.2f} ± {error:.2f}"
