"""What the benchmarks share: reconstructions, kept results, and the page that shows these."""

import csv
import datetime
import json
import platform
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from gnclightning import cli
from gnclightning.files import write_json

RESULTS = Path("docs/results")
PAGE = Path("docs/results.md")

ELLIPSES = ["data.name=ellipses", "overwrite=true", "logger.mode=disabled"]
"""Settings of all reconstructions of phantoms."""


def reconstruction(settings: Sequence[str], output: Path) -> list[str]:
    """The arguments of the command line that reconstructs phantoms."""
    return [*ELLIPSES, *settings, f"output={output}"]


def reconstruct(settings: Sequence[str], output: Path) -> dict[str, Any]:
    """Reconstruct phantoms through the command line; its summary and the command."""
    arguments = reconstruction(settings, output)
    if cli.reconstruct(arguments) != 0:
        raise SystemExit(f"the reconstruction in {output} failed")
    summary = json.loads((output / "summary.json").read_text())
    return {"command": command(arguments), **summary}


def command(arguments: Sequence[str]) -> str:
    """What a shell is given."""
    return shlex.join(["python", "reconstruct.py", *arguments])


def metrics(output: Path) -> list[dict[str, str]]:
    """The rows of a run folder's `metrics.csv`."""
    with (output / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def keep(name: str, result: dict[str, Any], reproduce: str, hardware: str | None = None) -> None:
    """Write a result with the command that gives it, the date and the hardware."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    made = {
        "reproduce": reproduce,
        "date": datetime.date.today().isoformat(),
        "hardware": hardware or f"{torch.get_num_threads()} CPU threads, {platform.machine()}",
    }
    write_json(RESULTS / f"{name}.json", result | made)


def load(name: str) -> dict[str, Any] | None:
    """The kept result of an experiment."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def header(columns: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [row(columns), row(["---"] * len(columns))]


def row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def write_section(section: str, lines: Iterable[str], page: Path = PAGE) -> None:
    """Replace what stands between the markers of a section of a page."""
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")
