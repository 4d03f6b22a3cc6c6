"""Each of a planted corpus of defective inputs ends in one clear line, or in the manifest."""

import os
from pathlib import Path

import pytest

from bad_dicom import UNREADABLE
from bad_input_table import BEGIN, CORPUS, DOCUMENT, END, RECONSTRUCTIONS, row
from bad_inputs import Case, Outcome, run


@pytest.fixture(scope="module")
def documented() -> list[str]:
    """The rows of docs/bad-input.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].splitlines(keepends=True)[2:]


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.what)
def test_it_ends_in_a_line_or_in_the_manifest(case: Case, tmp_path: Path, documented: list[str]):
    outcome = run(case, tmp_path)
    assert row(case, outcome) in documented
    check(case, outcome)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_slice_that_may_not_be_read(tmp_path: Path):
    check(UNREADABLE, run(UNREADABLE, tmp_path))


def check(case: Case, outcome: Outcome) -> None:
    """The program has said, or written to the manifest, what the case asks for, and no more."""
    assert "Traceback" not in outcome.out + outcome.err
    if case.says:
        assert outcome.status == 2
        assert outcome.used is None
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        for part in case.says:
            assert part in outcome.err
        assert outcome.left == []
        return
    assert (outcome.status, outcome.err) == (0, "")
    rejections = {Path(found["file"]).name: found for found in outcome.rejections}
    assert rejections.keys() == case.rejected.keys()
    for name, (reason, detail) in case.rejected.items():
        assert rejections[name]["reason"] == reason
        assert detail in rejections[name]["detail"]
    assert outcome.used is not None
    assert case.used.keys() == outcome.used.keys() == {"train", "validation"}
    for name, images in case.used.items():
        assert sorted(map(bytes, outcome.used[name])) == sorted(map(bytes, images))


def test_the_documented_table_is_that_of_the_corpus(documented: list[str]):
    """Nothing else is in it; that each row is in it, the test of its case says."""
    assert [line.split(" | ")[0].removeprefix("| ") for line in documented] == [
        case.what for case in CORPUS
    ]
    assert len({case.what for case in CORPUS}) == len(CORPUS)
    assert len(RECONSTRUCTIONS) >= 30
