"""`points.json`, from which an interrupted run goes on, and the tables made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, nan
from pathlib import Path
from typing import Any

from gnclightning.errors import UserError
from gnclightning.experiments.tables import Table
from gnclightning.experiments.tune.grids import Point
from gnclightning.files import replacing, write_csv, write_json

POINTS, TABLE, PAGE = "points.json", "tuning.csv", "tuning.md"
_MEASURED = ("psnr", "ssim", "network_evaluations", "operator_evaluations", "seconds")
COLUMNS = ("method", "settings", *_MEASURED, "best")


@dataclass(frozen=True)
class Score:
    """What a method made of the phantoms with some settings; means over them.

    Attributes:
        method: its name.
        settings: of its section; others are the defaults.
        psnr, ssim: of the reconstructions; minus infinity where one is not finite.
        network_evaluations, operator_evaluations, seconds: of an image.
    """

    method: str
    settings: Point
    psnr: float
    ssim: float
    network_evaluations: float
    operator_evaluations: float
    seconds: float

    @property
    def text(self) -> str:
        """The settings as one would give them."""
        return " ".join(f"{self.method}.{key}={value}" for key, value in self.settings.items())


@dataclass
class Scores:
    """What is known.

    Attributes:
        folder: where it is kept.
        data: what decides about the numbers besides a method's settings.
        scores: in the order in which they were found.
    """

    folder: Path
    data: Mapping[str, Any]
    scores: list[Score] = field(default_factory=list[Score])

    def find(self, method: str, settings: Point) -> Score | None:
        """The score of these settings, if they were tried."""
        same = (s for s in self.scores if (s.method, s.settings) == (method, settings))
        return next(same, None)

    def add(self, score: Score) -> None:
        """Keep a score, in the file too."""
        self.scores.append(score)
        write_json(
            self.folder / POINTS,
            {"data": self.data, "points": [asdict(score) for score in self.scores]},
        )


def load(folder: Path, data: Mapping[str, Any]) -> Scores:
    """The scores that a folder holds; none if it has no file of them.

    Raises:
        UserError: they are of other data.
    """
    path = folder / POINTS
    if not path.is_file():
        return Scores(folder, data)
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["data"] != data:
        raise UserError(
            f"expected results of {dict(data)} in {folder}, got those of {kept['data']}: give "
            "overwrite=true to begin anew, or choose another folder with output=FOLDER"
        )
    points: list[dict[str, Any]] = kept["points"]
    for point in points:
        point["psnr"] = -inf if point["psnr"] is None else point["psnr"]
        point["ssim"] = nan if point["ssim"] is None else point["ssim"]
    return Scores(folder, data, [Score(**point) for point in points])


def write_tables(
    folder: Path, scores: Sequence[Score], best: Mapping[str, Point], command: str
) -> None:
    """Write all points as CSV and as a page in Markdown, with the best of each method first."""
    rows = [
        (s.method, s.text, *(getattr(s, name) for name in _MEASURED), best[s.method] == s.settings)
        for method in best
        for s in scores
        if s.method == method
    ]
    write_csv(folder / TABLE, COLUMNS, rows)
    chosen = [row for row in rows if row[-1]]
    lines = ["# Tuning", "", f"`{command}`", "", *_table("Best of each method", chosen).lines()]
    lines += ["", *_table("All that was tried", rows).lines()]
    with replacing(folder / PAGE) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(title: str, rows: Sequence[Sequence[Any]]) -> Table:
    columns = ["method", "settings", "PSNR, dB", "SSIM", "network evaluations", "A and A*"]
    digits = (2, 3, 0, 0, 2)
    cells = [
        [method, f"`{text}`", *(f"{value:.{n}f}" for value, n in zip(values, digits, strict=True))]
        for method, text, *values, _ in rows
    ]
    return Table(title, [*columns, "s / image"], cells)
