"""The page: a template, its style and script, and the data as JSON, all in one file.

The data never become HTML: the script puts each name, setting and number into the page as text. The
page's own policy forbids every request.
"""

import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from gnclightning.files import finite, replacing
from gnclightning.reconstruction import folder
from gnclightning.reconstruction.records import BatchResult
from gnclightning.reconstruction.report.content import read_content
from gnclightning.reconstruction.runner import Observer


class Report(Observer):
    """Writes the page when the run has ended, of what is finished then.

    Args:
        path: the run folder; what it is made from has been written when this observer is closed.
    """

    def __init__(self, path: Path):
        self._path = path

    def close(self, results: Sequence[BatchResult]) -> None:
        """Write the page, unless nothing is finished."""
        if results and (self._path / folder.SUMMARY).exists():
            write_report(self._path)


def write_report(path: Path) -> None:
    """Write `report.html` from the other files of a run folder."""
    content = read_content(path)
    parts = resources.files(__package__ or __name__)
    page = Template((parts / "template.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(content["title"]),
        style=(parts / "style.css").read_text(encoding="utf-8"),
        charts=(parts / "charts.js").read_text(encoding="utf-8"),
        script=(parts / "report.js").read_text(encoding="utf-8"),
        data=embedded(content),
    )
    with replacing(path / folder.REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")


def embedded(values: dict[str, Any]) -> str:
    """JSON that cannot end the script element that holds it; what is not finite becomes null."""
    text = json.dumps(finite(values), allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
