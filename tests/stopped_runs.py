"""Runs that are stopped, and that end as if they had not been; shared by tests."""

import json
from pathlib import Path

from gnclightning.reconstruction.chunks import Chunks
from run_folders import table

TIMES = {"seconds": "", "cpu_seconds": ""}
SAME = ("reconstructions.h5", "trace.csv", "certificate.json")
WORK = ("data.count=7", "batch_size=2")


def assert_same(found: Path, expected: Path) -> None:
    """The same files to the last byte, save for times."""
    for name in SAME:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    found_rows, expected_rows = (table(f / "metrics.csv") for f in (found, expected))
    for row, other in zip(found_rows, expected_rows, strict=True):
        assert row | TIMES == other | TIMES
    assert not (found / "chunks").exists()
    assert json.loads((found / "summary.json").read_text())["finished"]


class Stop(Exception):
    """In place of a SIGKILL, where a process of its own would take too long."""


def stop_after(monkeypatch, saves: int) -> list[int]:
    """Let chunks be saved so often and no more; the numbers of those saved."""
    saved: list[int] = []
    original = Chunks.save

    def save(self, number, result):
        if len(saved) == saves:
            raise Stop
        original(self, number, result)
        saved.append(number)

    monkeypatch.setattr(Chunks, "save", save)
    return saved
