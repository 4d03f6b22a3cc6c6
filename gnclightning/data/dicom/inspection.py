"""What a tree of CT series holds: ranges, pixel sizes, and a picture of each series."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.index import FULL_DOSE, Index, build_index, find_files
from gnclightning.data.dicom.parallel import mapped
from gnclightning.data.dicom.pixels import read_hounsfield
from gnclightning.data.dicom.progress import tracked
from gnclightning.data.dicom.records import Plane, RejectedError, Rejection, Slice


@dataclass(frozen=True, eq=False)
class SeriesSummary:
    """One series of slices that can be used.

    Attributes:
        patient: PatientID.
        description: SeriesDescription.
        plane: how the slices lie, see `Slice.plane`.
        image_type: ImageType of the first slice.
        slices: how many.
        size: height and width, pixels.
        pixel_size: height and width of a pixel, mm.
        thickness: of the first slice, mm; None where the file does not say.
        gap: median distance of neighbouring slices, mm; None for a single slice.
        low: least value, HU.
        high: greatest value, HU.
        middle: the slice in the middle, (size, size), HU.
    """

    patient: str
    description: str
    plane: str
    image_type: str
    slices: int
    size: int
    pixel_size: float
    thickness: float | None
    gap: float | None
    low: float
    high: float
    middle: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inspection:
    """A tree.

    Attributes:
        index: slices that can be used and files that cannot, told by their pixels too.
        series: of the usable slices, sorted by patient.
    """

    index: Index
    series: tuple[SeriesSummary, ...]


def inspect_tree(
    root: str | Path,
    series: str | None = FULL_DOSE,
    plane: Plane | None = "axial",
    workers: int | None = None,
    progress: bool = False,
) -> Inspection:
    """Read every slice of a tree; arguments and errors as for `find_files` and `build_index`."""
    root = Path(root)
    names = [found.file for found in find_files(root)]
    index = build_index(root, names, series, plane, workers, progress)
    results = mapped(partial(_measure, root), index.slices, workers)
    shown = tracked(results, len(index.slices), "reading slices", progress)
    rejections = list(index.rejections)
    groups: dict[tuple[str, str], list[tuple[Slice, float, float]]] = defaultdict(list)
    for slice_, found in zip(index.slices, shown, strict=True):
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            groups[slice_.patient, slice_.series].append((slice_, *found))
    usable = tuple(slice_ for group in groups.values() for slice_, _, _ in group)
    whole = Index(usable, tuple(sorted(rejections, key=lambda r: r.file)))
    return Inspection(whole, tuple(_summarise(root, group) for group in groups.values()))


def _measure(root: Path, slice_: Slice) -> tuple[float, float] | Rejection:
    """The least and the greatest value of a slice, HU."""
    try:
        hounsfield = read_hounsfield(root, slice_)
    except RejectedError as error:
        return slice_.reject(error.reason, error.detail)
    return float(hounsfield.min()), float(hounsfield.max())


def _summarise(root: Path, measured: Sequence[tuple[Slice, float, float]]) -> SeriesSummary:
    slices = [slice_ for slice_, _, _ in measured]
    gaps = [(b.position or 0.0) - (a.position or 0.0) for a, b in pairwise(slices)]
    first = slices[0]
    return SeriesSummary(
        patient=first.patient,
        description=first.description,
        plane=first.plane,
        image_type=first.image_type,
        slices=len(slices),
        size=first.size,
        pixel_size=first.pixel_size,
        thickness=first.thickness,
        gap=median(gaps) if gaps else None,
        low=min(low for _, low, _ in measured),
        high=max(high for _, _, high in measured),
        middle=read_hounsfield(root, slices[len(slices) // 2]),
    )
