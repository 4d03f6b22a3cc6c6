"""Converted slices in one HDF5 file, made once for each choice of files and options.

The file's name holds a hash of what it was made from. Until it is complete it has another name; its
space is allocated before the first slice, and a slice counts as finished only once its pixels have
been handed to the system, so that a process that is killed loses a few slices and nothing else.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.cache_file import (
    FORMAT,
    PENDING,
    REJECTED,
    USED,
    Cache,
    dataset,
    opened,
    read_cache,
    read_index,
    to_json,
)
from gnclightning.data.dicom.conversion import convert
from gnclightning.data.dicom.index import FULL_DOSE, FoundFile, Index, build_index, find_files
from gnclightning.data.dicom.manifest import write_manifest
from gnclightning.data.dicom.parallel import mapped
from gnclightning.data.dicom.pixels import decodable
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.progress import tracked
from gnclightning.data.dicom.records import Plane, Reason, Rejection, Slice
from gnclightning.errors import UserError
from gnclightning.files import replacing

_FLUSH = 16
"""Slices between two moments from which a killed process can go on."""


def open_cache(
    root: str | Path,
    folder: str | Path,
    process: Preprocessing,
    series: str | None = FULL_DOSE,
    plane: Plane | None = "axial",
    workers: int | None = None,
    progress: bool = False,
) -> Cache:
    """The converted slices of a tree; they are converted now where that has not yet been done.

    Beside the HDF5 file a manifest of the same name, .csv, tells of every file of the tree. Other
    processes that want the same cache wait until it is there.

    Args:
        root: folder of the tree.
        folder: where caches are kept; made if need be.
        process: what is done to each slice.
        series: see `build_index`.
        plane: see `build_index`.
        workers: processes, None for one per core.
        progress: whether to show progress bars.

    Raises:
        UserError: `find_files` fails, the system fails to read a file that may be read (what has
            been converted by then is kept), no slice can be used, slices of several sizes are not
            resized, or the cache is damaged or of another format.
    """
    root, folder = Path(root), Path(folder)
    files = find_files(root, without=folder)
    name = _name(files, process, series, plane)
    path = folder / f"{name}.h5"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            if not path.exists():
                unfinished = folder / f"{name}.unfinished.h5"
                if not _is_resumable(unfinished):
                    names = [found.file for found in files]
                    index = build_index(root, names, series, plane, workers, progress)
                    may_be_read = {found.file for found in files if found.readable}
                    _check_read(root, [r for r in index.rejections if r.file in may_be_read])
                    _allocate(unfinished, root, index, process)
                _fill(unfinished, root, process, workers, progress)
                _finish(unfinished, path, root)
    return read_cache(path)


def _name(
    files: Sequence[FoundFile], process: Preprocessing, series: str | None, plane: Plane | None
) -> str:
    """A name for what is made of these files: their contents are judged by size and time.

    What can be read and decoded today belongs to it: else a file that was rejected for want of
    either would stay so.
    """
    made_from = {
        "format": FORMAT,
        "files": [[f.file, f.size, f.changed, f.readable] for f in files],
        "decodable": decodable(),
        "preprocessing": asdict(process),
        "series": series,
        "plane": plane,
    }
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return f"ldct-{digest[:16]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, which the system releases even if this process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_resumable(path: Path) -> bool:
    try:
        with opened(path):
            return True
    except UserError:
        return False


def _allocate(path: Path, root: Path, index: Index, process: Preprocessing) -> None:
    """Make a file with room for all slices, none of which is there yet."""
    if not index.slices:
        raise _nothing_usable(root, index)
    size = process.size or _common_size(index.slices)
    for left in path.parent.glob(f".{path.stem}-*"):
        left.unlink()  # of a process that was killed right here
    count = len(index.slices)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="v108") as file:
        file.attrs["format"] = FORMAT
        images = file.create_dataset("images", (count, size, size), "<f4", dcpl=layout)
        images.attrs["unit"] = process.unit
        images.attrs["preprocessing"] = json.dumps(asdict(process))
        file.create_dataset("status", data=np.full(count, PENDING, np.uint8))
        file.create_dataset("reason", data=np.zeros(count, "S32"))
        file.create_dataset("detail", data=np.zeros(count, "S256"))
        file.create_dataset("index", data=np.frombuffer(to_json(index), np.uint8))


def _fill(
    path: Path, root: Path, process: Preprocessing, workers: int | None, progress: bool
) -> None:
    """Convert the slices that are not there yet."""
    with opened(path, "r+") as file:
        slices = read_index(file).slices
        pending = np.flatnonzero(dataset(file, "status")[()] == PENDING).tolist()
        wanted = [slices[row] for row in pending]
        results = mapped(partial(convert, root, process), wanted, workers)
        shown = tracked(results, len(wanted), "converting slices", progress)
        finished: dict[int, int] = {}
        rejected: list[Rejection] = []
        try:
            for row, result in zip(pending, shown, strict=True):
                if isinstance(result, Rejection):
                    rejected.append(result)
                finished[row] = _write(file, row, result)
                if len(finished) == _FLUSH:
                    _record(file, finished)
        finally:
            _record(file, finished)
    _check_read(root, rejected)


def _write(file: h5py.File, row: int, result: NDArray[np.float32] | Rejection) -> int:
    if isinstance(result, Rejection):
        if result.reason == Reason.UNREADABLE:
            return PENDING
        dataset(file, "reason")[row] = result.reason.encode()
        dataset(file, "detail")[row] = result.detail.encode()[:256]
        return REJECTED
    dataset(file, "images")[row] = result
    return USED


def _check_read(root: Path, rejections: Sequence[Rejection]) -> None:
    """Raise `UserError` if some could not be read, which may pass: no cache may keep that."""
    failed = [r for r in rejections if r.reason == Reason.UNREADABLE]
    if failed:
        first = failed[0]
        raise UserError(
            f"expected to read every file in {root} that may be read, got {len(failed)} failures, "
            f"such as {first.file} ({first.detail}): give the command again, which goes on with "
            "what is missing; if that does not help, move such files away"
        )


def _record(file: h5py.File, finished: dict[int, int]) -> None:
    """Count slices as finished, after their pixels have reached the system."""
    file.flush()
    for row, status in finished.items():
        dataset(file, "status")[row] = status
    file.flush()
    finished.clear()


def _finish(unfinished: Path, path: Path, root: Path) -> None:
    with opened(unfinished, "r+") as file:
        file.attrs["complete"] = True
    cache = read_cache(unfinished)
    if not cache.slices:
        raise _nothing_usable(root, Index((), cache.rejections))
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    write_manifest(path.with_suffix(".csv"), cache.slices, cache.rejections)
    os.replace(unfinished, path)


def _nothing_usable(root: Path, index: Index) -> UserError:
    return index.nothing_usable(root, f"`gnc-data inspect {root}` says more")


def _common_size(slices: Sequence[Slice]) -> int:
    sizes = sorted({s.size for s in slices})
    if len(sizes) > 1:
        raise UserError(
            f"expected slices of one size where they are not resized, got {sizes} pixels: "
            "give a size"
        )
    return sizes[0]
