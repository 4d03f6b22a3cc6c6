"""Rows that the suite's benchmarks gave, and cells of tables made of them."""

import statistics
from typing import Any

Rows = list[dict[str, Any]]


def of(rows: Rows, test: str, **wanted: Any) -> Rows:
    """The rows of a benchmark, of those values; none if it was not run or failed."""
    return [
        entry
        for entry in rows
        if entry["test"] == test and all(entry.get(key) == wanted[key] for key in wanted)
    ]


def seconds(rows: Rows, test: str, **wanted: Any) -> list[float] | None:
    """Seconds of a benchmark in each pass; None if it was not run."""
    return next((entry["seconds"] for entry in of(rows, test, **wanted)), None)


def rate(entry: dict[str, Any], unit: str) -> float:
    """How much of `unit` a benchmark does in a second, the median over passes."""
    return entry[unit] / statistics.median(entry["seconds"])


def ratio(slow: list[float] | None, fast: list[float] | None, images: int = 1) -> float | None:
    """How much faster `fast` is, for that many images in a call; the median over passes."""
    if slow is None or fast is None:
        return None
    return statistics.median(images * a / b for a, b in zip(slow, fast, strict=True))


def number(value: float | None, form: str = ".3g") -> str:
    """A cell; empty for what is not known."""
    return "" if value is None else f"{value:{form}}"


def per_image(found: list[float] | None, images: int = 1) -> str:
    """Milliseconds for an image."""
    return number(None if found is None else 1e3 * statistics.median(found) / images)
