"""The table of defective inputs in docs/bad-input.md.

    python tests/bad_input_table.py

runs every case of the corpus and writes the table anew. What libraries say about damaged files,
which differs between their versions, is shown as dots.
"""

import re
import tempfile
from pathlib import Path

from bad_dicom import SLICES, TREES
from bad_files import IMAGES, SINOGRAMS
from bad_inputs import Case, Outcome, run
from bad_phantoms import PHANTOMS
from bad_problems import EXPERIMENTS, FOLDERS, PROBLEMS
from bad_runs import RUNS
from bad_scans import GEOMETRIES, SCANS
from bad_weights import SETTINGS, WEIGHTS

RECONSTRUCTIONS = (*SINOGRAMS, *SCANS, *GEOMETRIES, *PROBLEMS, *RUNS)
CORPUS = (
    *SLICES,
    *TREES,
    *IMAGES,
    *RECONSTRUCTIONS,
    *PHANTOMS,
    *WEIGHTS,
    *FOLDERS,
    *SETTINGS,
    *EXPERIMENTS,
)
DOCUMENT = Path(__file__).parents[1] / "docs" / "bad-input.md"
BEGIN, END = "<!-- begin generated -->\n", "<!-- end generated -->\n"

_FOREIGN = (
    (r"(got: ).*(; write the file anew)", r"\1...\2"),
    (r"(not a safetensors file) \(.*?\);", r"\1 (...);"),
    (r"(not a checkpoint of this program) \(.*?\);", r"\1 (...);"),
    (r"(not enough memory) \(.*?\);", r"\1 (...);"),
    (r"(got a mistake in line \d+:) .*", r"\1 ..."),
    (r"(cannot be decoded:) .*", r"\1 ..."),
    (r"(unreadable:) .*", r"\1 ..."),
)
"""Words of libraries, and what stands for them."""


def row(case: Case, outcome: Outcome) -> str:
    """A row of the table: what is wrong, the program, its exit status, what it says."""
    details = [f"{r['reason']}: {r['detail']}".rstrip(": ") for r in outcome.rejections]
    text = outcome.err.strip() or "; ".join(f"manifest: {detail}" for detail in details)
    for pattern, shown in _FOREIGN:
        text = re.sub(pattern, shown, text)
    text = re.sub(r"ldct-[0-9a-f]{16}", "ldct-...", text or case.note).replace("|", "\\|")
    return f"| {case.what} | {case.program.__name__} | {outcome.status} | {text} |\n"


def with_table(document: str, rows: list[str]) -> str:
    """The document with these rows in place of those that it has."""
    before, _, rest = document.partition(BEGIN)
    after = rest.partition(END)[2]
    head = "| input | program | exit | what it says |\n| --- | --- | --- | --- |\n"
    return before + BEGIN + head + "".join(rows) + END + after


def main() -> None:
    """Run every case, and write the table."""
    rows = []
    for case in CORPUS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(case, run(case, Path(folder))))
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_table(document, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
