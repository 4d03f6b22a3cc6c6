"""A table of every file of a tree: what it is, and whether and why it is not used."""

from collections.abc import Iterable
from pathlib import Path

from gnclightning.data.dicom.records import Rejection, Slice
from gnclightning.files import write_csv

COLUMNS = (
    "file",
    "status",
    "patient",
    "series",
    "description",
    "image_type",
    "plane",
    "position_mm",
    "reason",
    "detail",
)


def write_manifest(path: Path, slices: Iterable[Slice], rejections: Iterable[Rejection]) -> None:
    """Write a CSV file with one row per file, sorted by path; `status` is used or rejected."""
    used = [
        (
            *(s.file, "used", s.patient, s.series, s.description, s.image_type, s.plane),
            *(s.position, "", ""),
        )
        for s in slices
    ]
    rejected = [
        (r.file, "rejected", r.patient, r.series, *[""] * 4, r.reason, r.detail) for r in rejections
    ]
    write_csv(path, COLUMNS, sorted(used + rejected, key=lambda row: row[0]))
