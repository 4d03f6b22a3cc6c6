"""An inspection as tables for a terminal and as a contact sheet."""

from collections import defaultdict
from math import ceil
from pathlib import Path

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gnclightning.data.dicom.inspection import Inspection, SeriesSummary
from gnclightning.data.dicom.records import Reason, Rejection
from gnclightning.files import replacing

_WINDOW = (-1000.0, 400.0)
"""HU of black and of white: lungs and soft tissue are both seen."""
_ACROSS = 6
_MOST_PICTURES = 60
_PANEL = 1.8
"""Width of a picture in inches."""


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what was found: totals, a line per series, a line per reason of rejection."""
    index, series = inspection.index, inspection.series
    patients = {summary.patient for summary in series}
    console.print(
        Text(
            f"{_counted(len(patients), 'patient')}, {len(series)} series, "
            f"{_counted(len(index.slices), 'slice')}; "
            f"{_counted(len(index.rejections), 'file')} rejected"
        )
    )
    if series:
        console.print(_series_table(series))
    if index.rejections:
        console.print(_rejection_table(index.rejections))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _series_table(series: tuple[SeriesSummary, ...]) -> Table:
    names = (Column("patient", overflow="fold"), Column("series", overflow="fold"), "plane")
    table = Table(*names, box=box.SIMPLE, padding=0, pad_edge=False)
    for name in ("slices", "pixels", "pixel\nmm", "thick\nmm", "gap\nmm", "HU\nfrom", "HU\nto"):
        table.add_column(name, justify="right")
    for s in series:
        lengths = (s.pixel_size, s.thickness, s.gap)
        table.add_row(
            Text(s.patient),
            Text(s.description),
            s.plane + ("\nderived" if s.image_type.upper().startswith("DERIVED") else ""),
            str(s.slices),
            f"{s.size}x{s.size}",
            *("" if length is None else f"{length:.3g}" for length in lengths),
            f"{s.low:.0f}",
            f"{s.high:.0f}",
        )
    return table


def _rejection_table(rejections: tuple[Rejection, ...]) -> Table:
    groups: dict[Reason, list[Rejection]] = defaultdict(list)
    for rejection in rejections:
        groups[rejection.reason].append(rejection)
    table = Table("rejected", box=box.SIMPLE, padding=0, pad_edge=False)
    table.add_column("files", justify="right")
    table.add_column("such as", overflow="fold")
    for reason, group in sorted(groups.items(), key=lambda pair: -len(pair[1])):
        detail = f": {group[0].detail}" if group[0].detail else ""
        table.add_row(Text(reason), str(len(group)), Text(group[0].file + detail))
    return table


def save_contact_sheet(inspection: Inspection, path: Path) -> None:
    """Save a PNG with the middle slice of each series, or of 60 of them, evenly chosen."""
    series = inspection.series
    step = ceil(len(series) / _MOST_PICTURES)
    shown = series[::step]
    across = min(_ACROSS, len(shown))
    down = ceil(len(shown) / across)
    figure = Figure((_PANEL * across, (_PANEL + 0.35) * down), layout="constrained", dpi=150)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, summary in zip(grid.flat, shown, strict=False):
        axes.imshow(summary.middle, cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1])
        title = f"{summary.patient}\n{_counted(summary.slices, 'slice')}"
        axes.set_title(title, fontsize=7, parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
