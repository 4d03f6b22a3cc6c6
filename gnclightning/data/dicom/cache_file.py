"""The HDF5 file of converted slices, as it is read.

It holds `images` (N, size, size), float32 in [0, 1], one block at a known place in the file; for
each of them a `status`, and a `reason` and a `detail` if it cannot be used; the `index` as JSON.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.index import Index
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Reason, Rejection, Slice
from gnclightning.errors import UserError

FORMAT = 3
"""Of the file; a file of another one is never read."""

PENDING, USED, REJECTED = range(3)
"""Values of `status`."""


@dataclass(frozen=True)
class Cache:
    """A finished cache.

    Attributes:
        path: of the HDF5 file; its data set `images` is (N, size, size), float32, in [0, 1].
        slices: those that are used, sorted by patient, series and position.
        rows: for each of them its index in `images`.
        rejections: the files that are not used.
        size: height and width of the images, pixels.
        process: what was done to each slice.
    """

    path: Path
    slices: tuple[Slice, ...]
    rows: tuple[int, ...]
    rejections: tuple[Rejection, ...]
    size: int
    process: Preprocessing

    @property
    def patients(self) -> tuple[str, ...]:
        """PatientIDs, sorted."""
        return tuple(sorted({s.patient for s in self.slices}))

    def select(self, patients: Sequence[str]) -> list[int]:
        """Positions in `slices` of those of some patients."""
        return [number for number, s in enumerate(self.slices) if s.patient in patients]

    def pixel_size(self, number: int) -> float:
        """Height and width of a pixel of the image of slice `number`, mm."""
        s = self.slices[number]
        return s.pixel_size * s.size / self.size


def read_cache(path: Path) -> Cache:
    """Read what a finished cache holds, without its images.

    Raises:
        UserError: the file is no finished cache of this version's format.
    """
    with opened(path) as file:
        if not file.attrs.get("complete", False):
            raise UserError(f"expected a finished cache at {path}, got half of one: delete it")
        index = read_index(file)
        status = dataset(file, "status")[()]
        rows = np.flatnonzero(status == USED).tolist()
        late = _late_rejections(file, index, status)
        rejections = sorted((*index.rejections, *late), key=lambda r: r.file)
        return Cache(
            path,
            tuple(index.slices[row] for row in rows),
            tuple(rows),
            tuple(rejections),
            dataset(file, "images").shape[1],
            _read_process(file),
        )


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[h5py.File]:
    """Open a cache, finished or not; `UserError` if the file is none of this format."""
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        raise UserError(
            f"expected a cache at {path}, got a file that HDF5 cannot open: delete it, and it "
            "will be made anew"
        ) from error
    with file:
        found = file.attrs.get("format")
        if found != FORMAT:
            raise UserError(
                f"expected a cache of format {FORMAT} at {path}, got format {found}: delete it, "
                "and it will be made anew"
            )
        yield file


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set of the file."""
    found = file[name]
    assert isinstance(found, h5py.Dataset)
    return found


def to_json(index: Index) -> bytes:
    """An index as it is stored."""
    return json.dumps(asdict(index)).encode()


def read_index(file: h5py.File) -> Index:
    """What was known before the pixels were read."""
    values: dict[str, Any] = json.loads(dataset(file, "index")[()].tobytes())
    return Index(
        tuple(_read_slice(s) for s in values["slices"]),
        tuple(Rejection(**{**r, "reason": Reason(r["reason"])}) for r in values["rejections"]),
    )


def _read_slice(values: dict[str, Any]) -> Slice:
    lists = {name: tuple(values[name]) for name in ("orientation", "padding")}
    return Slice(**{**values, **lists})


def _read_process(file: h5py.File) -> Preprocessing:
    values: dict[str, Any] = json.loads(str(dataset(file, "images").attrs["preprocessing"]))
    return Preprocessing(**{**values, "window": tuple(values["window"])})


def _late_rejections(
    file: h5py.File, index: Index, status: NDArray[np.uint8]
) -> Iterator[Rejection]:
    """Slices of which only the pixels told that they cannot be used."""
    reasons, details = dataset(file, "reason")[()], dataset(file, "detail")[()]
    for row in np.flatnonzero(status == REJECTED).tolist():
        detail = details[row].decode(errors="ignore")
        yield index.slices[row].reject(Reason(reasons[row].decode()), detail)
