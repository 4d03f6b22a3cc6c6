"""Which CT slices a folder tree holds, in which order, and which files are not used."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from gnclightning.data.dicom.headers import read_header
from gnclightning.data.dicom.parallel import mapped
from gnclightning.data.dicom.progress import tracked
from gnclightning.data.dicom.records import Plane, Reason, Rejection, Slice
from gnclightning.errors import UserError

FULL_DOSE = "Full Dose"
"""What the names of the LDCT collection's series of normal dose hold."""

_SAME_POSITION = 1e-3
"""Slices closer than this, in mm, are at the same position."""


@dataclass(frozen=True)
class Index:
    """The files of a tree.

    Attributes:
        slices: sorted by patient, then series, then position along the slice normal.
        rejections: the files that are not used, sorted by path.
    """

    slices: tuple[Slice, ...]
    rejections: tuple[Rejection, ...]

    def describe_rejections(self) -> str:
        """How many files were rejected for which reason, in one line."""
        counts = Counter(rejection.reason for rejection in self.rejections).most_common()
        return ", ".join(f"{reason} ({count})" for reason, count in counts)

    def nothing_usable(self, root: str | Path, remedy: str) -> UserError:
        """The error for a tree without any slice that can be used."""
        return UserError(
            f"expected CT slices in {root}, got none among {len(self.rejections)} files: "
            f"{self.describe_rejections()}; {remedy}"
        )


@dataclass(frozen=True)
class FoundFile:
    """A file of a tree.

    Attributes:
        file: path relative to the root.
        size: bytes.
        changed: time of the last change, ns.
        readable: whether there is something at the end of links, and it may be read.
    """

    file: str
    size: int
    changed: int
    readable: bool


def find_files(root: str | Path, without: str | Path | None = None) -> list[FoundFile]:
    """All files below a folder, sorted by path; links to folders are not followed.

    Args:
        root: the folder.
        without: a folder that is passed over, such as that of caches.

    Raises:
        UserError: there is no such folder, it cannot be read, or it holds no file.
    """
    root = Path(root)
    passed_over = None if without is None else Path(without).resolve()
    if not root.is_dir():
        came = "a file" if root.exists() else "which does not exist"
        raise UserError(f"expected a folder of DICOM files at {root}, {came}: mend the path")

    if root.resolve() == passed_over:
        raise UserError(f"expected {without} to be another folder than that of the DICOM files")

    def refuse(error: OSError) -> None:
        raise UserError(
            f"expected readable folders below {root}, got: {error.strerror}: {error.filename}: "
            "check its permissions"
        ) from error

    found: list[FoundFile] = []
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if Path(folder, name).resolve() != passed_over]
        for name in names:
            path = Path(folder, name)
            # A dangling link has no size; reading its header will tell what is wrong with it.
            status = path.stat() if path.exists() else path.lstat()
            file = path.relative_to(root).as_posix()
            readable = os.access(path, os.R_OK)
            found.append(FoundFile(file, status.st_size, status.st_mtime_ns, readable))
    if not found:
        raise UserError(f"expected DICOM files in {root}, got none: put some there")
    return sorted(found, key=lambda f: f.file)


def build_index(
    root: str | Path,
    files: Iterable[str],
    series: str | None = FULL_DOSE,
    plane: Plane | None = "axial",
    workers: int | None = None,
    progress: bool = False,
) -> Index:
    """Read the headers of files and choose the slices to use.

    Args:
        root: folder of the tree.
        files: paths relative to `root`, in any order.
        series: if the folder or the SeriesDescription of any series holds this text, in whatever
            case, only such series are used; None uses all.
        plane: only slices that lie so are used, and those that do not say how they lie; None uses
            all, oblique ones too.
        workers: processes, see `parallel.mapped`.
        progress: whether to show a progress bar.
    """
    names = sorted(files)
    results = mapped(partial(read_header, Path(root)), names, workers)
    headers = list(tracked(results, len(names), "reading headers", progress))
    slices = [header for header in headers if isinstance(header, Slice)]
    rejections = [header for header in headers if isinstance(header, Rejection)]
    slices = _choose_plane(slices, plane, rejections)
    slices = _choose_series(slices, series, rejections)
    slices = _drop_copies(slices, rejections)
    groups: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    for slice_ in slices:
        groups[slice_.patient, slice_.series].append(slice_)
    ordered = [s for key in sorted(groups) for s in _order(groups[key], rejections)]
    return Index(tuple(ordered), tuple(sorted(rejections, key=lambda r: r.file)))


def _choose_plane(
    slices: list[Slice], plane: Plane | None, rejections: list[Rejection]
) -> list[Slice]:
    if plane is None:
        return slices
    wanted = ("", plane)
    rejections += [
        s.reject(Reason.OTHER_PLANE, f"{s.plane}, not {plane}")
        for s in slices
        if s.plane not in wanted
    ]
    return [s for s in slices if s.plane in wanted]


def _choose_series(
    slices: list[Slice], series: str | None, rejections: list[Rejection]
) -> list[Slice]:
    if series is None:
        return slices
    wanted = series.lower()
    chosen = [
        wanted in PurePosixPath(s.file).parent.name.lower() or wanted in s.description.lower()
        for s in slices
    ]
    if not any(chosen):
        return slices
    rejections += [
        s.reject(Reason.OTHER_SERIES, f"no {series!r} in folder or description")
        for s, is_chosen in zip(slices, chosen, strict=True)
        if not is_chosen
    ]
    return [s for s, is_chosen in zip(slices, chosen, strict=True) if is_chosen]


def _drop_copies(slices: list[Slice], rejections: list[Rejection]) -> list[Slice]:
    """Keep the first file of each SOPInstanceUID."""
    first: dict[str, Slice] = {}
    for s in slices:
        if s.instance in first:
            rejections.append(s.reject(Reason.DUPLICATE, f"of {first[s.instance].file}"))
        else:
            first[s.instance] = s
    return list(first.values())


def _order(series: list[Slice], rejections: list[Rejection]) -> list[Slice]:
    """The slices of one series that fit together, sorted by position."""
    keep = partial(_keep_majority, rejections=rejections)
    series = keep(series, lambda s: s.size, Reason.ODD_SIZE, "{0} x {0} pixels")
    series = keep(series, lambda s: s.orientation, Reason.ODD_GEOMETRY, "orientation {0}")
    series = keep(series, lambda s: round(s.pixel_size, 3), Reason.ODD_GEOMETRY, "pixels of {0} mm")
    placed = [replace(s, position=s.location) if s.position is None else s for s in series]
    placed.sort(key=lambda s: (s.position or 0.0, s.file))
    kept: list[Slice] = []
    for s in placed:
        if kept and abs((s.position or 0.0) - (kept[-1].position or 0.0)) < _SAME_POSITION:
            rejections.append(s.reject(Reason.SAME_POSITION, f"as {kept[-1].file}"))
        else:
            kept.append(s)
    return kept


def _keep_majority(
    series: list[Slice],
    key: Callable[[Slice], Hashable],
    reason: Reason,
    detail: str,
    rejections: list[Rejection],
) -> list[Slice]:
    """The slices whose `key` is the most frequent one of their series (the first of equals)."""
    usual, _ = Counter(map(key, series)).most_common(1)[0]
    rejections += [
        s.reject(reason, f"{detail.format(key(s))}, the series has {detail.format(usual)}")
        for s in series
        if key(s) != usual
    ]
    return [s for s in series if key(s) == usual]
