"""What an experiment found, and the files that say so."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gnclightning.experiments.arms.results import Result, ResultRow
from gnclightning.experiments.tables import Table, number
from gnclightning.files import replacing, write_csv, write_json

RESULTS, PAGE, SUMMARY = "results.csv", "results.md", "summary.json"
COLUMNS = (
    *("", "PSNR, dB", "SSIM", "iterations", "network evals", "A and A*"),
    *("seconds", "CPU s"),
)


@dataclass(frozen=True)
class Findings:
    """What an experiment found.

    Attributes:
        results: all arms that are part of the result, for `results.csv`.
        tables: for `results.md`; the first is shown on the screen too.
        figures: by their names, without ending.
        notes: paragraphs of `results.md`, in Markdown.
        values: for `summary.json`, beside the rows of `results.csv`.
    """

    results: Sequence[Result]
    tables: Sequence[Table]
    figures: Mapping[str, Figure]
    notes: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rows(self) -> list[ResultRow]:
        """Those of `results.csv`."""
        return [row for result in self.results for row in result.rows()]


def table_of(results: Sequence[Result], title: str = "") -> Table:
    """The usual table: a row for each method of each arm.

    An arm's title stands for its solver; other methods stand under their own names.
    """
    rows: list[list[str]] = []
    for result in results:
        for row in result.rows():
            solver = row.method == result.solver
            rows.append([result.arm.title if solver else row.method, *cells_of(row)])
    return Table(title, COLUMNS, rows)


def cells_of(row: ResultRow) -> list[str]:
    """The cells below `COLUMNS`, but the first."""
    return [
        number(row.psnr, 2),
        number(row.ssim, 3),
        number(row.iterations, 0),
        number(row.network_evaluations, 0),
        number(row.operator_evaluations, 0),
        number(row.seconds, 2),
        number(row.cpu_seconds, 2),
    ]


def write_findings(folder: Path, heading: str, command: str, findings: Findings) -> list[str]:
    """Write figures, `results.csv`, `results.md` and `summary.json`.

    Args:
        folder: of the experiment.
        heading: what it is.
        command: that gives the same again.
        findings: what was found.

    Returns:
        The names of the figures' files.
    """
    drawn = {f"{name}.png": figure for name, figure in findings.figures.items()}
    for name, figure in drawn.items():
        with replacing(folder / name) as temporary:
            figure.savefig(temporary)
    write_csv(folder / RESULTS, ResultRow._fields, findings.rows)
    measured = _measured(findings.results)
    lines = [f"# {heading}", "", f"`{command}`", "", f"Measured {measured}; times of an image.", ""]
    for note in findings.notes:
        lines += [note, ""]
    for table in findings.tables:
        lines += [*table.lines(), ""]
    for name in drawn:
        lines += [f"![{heading}]({name})", ""]
    with replacing(folder / PAGE) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    write_json(
        folder / SUMMARY,
        {
            "command": command,
            "measured": measured,
            "results": [row._asdict() for row in findings.rows],
            "tables": [asdict(table) for table in findings.tables],
            **findings.values,
        },
    )
    return list(drawn)


def _measured(results: Sequence[Result]) -> str:
    """When and on what, from the arms' own summaries."""
    environments = [result.summary["environment"] for result in results]
    days = sorted({e["date"] for e in environments})
    machines = sorted(
        {f"{e['hardware']}, {e['device']}, {e['threads']} CPU threads" for e in environments}
    )
    return f"{' to '.join(dict.fromkeys([days[0], days[-1]]))} on {' or '.join(machines)}"
