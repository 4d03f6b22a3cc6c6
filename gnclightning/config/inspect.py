"""The schema of an inspection of data."""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.sections import Section, bounded


@dataclass(kw_only=True)
class InspectConfig(Section):
    """Show what a folder of CT series in DICOM files holds, and what of it cannot be used."""

    path: str
    """Folder of the DICOM files, at any depth and of any layout."""
    series: str | None = "Full Dose"
    """Text in the folder or description of the series to use, if any has it; null: all series."""
    plane: Literal["axial", "coronal", "sagittal"] | None = "axial"
    """How the slices to use lie: the axis within 45 degrees of their normal; null: in any way."""
    output: str | None = "runs/contact_sheet.png"
    """PNG for a picture of each series; null: none."""
    manifest: str | None = None
    """CSV file for a list of every file, with the reason if it is not used; null: none."""
    workers: int | None = bounded(None, ">= 0")
    """Processes that read; null: one per core."""
    progress: bool = True
    """Whether to show progress bars."""
