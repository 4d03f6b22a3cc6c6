"""ELLIPSES phantoms in a file with a checksum: a test set that stays what it is.

An HDF5 file with `images` (N, size, size), float32 in [0, 1], and in its attributes which phantoms
they are and the SHA-256 of both, which reading verifies. Its images can also be read as those of
any HDF5 file (`data.name=folder`), without that.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.ellipses import Split, phantoms
from gnclightning.data.formats.stored import reading
from gnclightning.errors import UserError
from gnclightning.files import write_hdf5

FORMAT = 1
_IMAGES, _DIGEST = "images", "sha256"


@dataclass(frozen=True)
class PhantomSet:
    """Which phantoms: numbers `start` to `start + count - 1` of a split, see `ellipses.phantom`."""

    count: int
    size: int
    split: Split = "test"
    start: int = 0
    seed: int = 0

    def __str__(self) -> str:
        last = self.start + self.count - 1
        return f"{self.split} phantoms {self.start} to {last} of {self.size}x{self.size} pixels"

    def make(self) -> NDArray[np.float32]:
        """The phantoms, (count, size, size)."""
        indices = range(self.start, self.start + self.count)
        return phantoms(indices, self.seed, self.split, self.size)[:, 0]


def digest(which: PhantomSet, images: NDArray[np.float32]) -> str:
    """SHA-256 of a description and the bytes of its images, little-endian."""
    text = json.dumps({"format": FORMAT, **asdict(which)}, sort_keys=True)
    return hashlib.sha256(text.encode() + images.astype("<f4").tobytes()).hexdigest()


def save_phantoms(path: Path, which: PhantomSet) -> str:
    """Make phantoms and write them, atomically; their checksum.

    Raises:
        UserError: there are no such phantoms.
        OSError: the file cannot be written.
    """
    images = which.make()
    checksum = digest(which, images)
    attributes = {"format": FORMAT, **asdict(which), _DIGEST: checksum}
    write_hdf5(path, {_IMAGES: images}, {_IMAGES: "fraction of the maximum"}, attributes)
    return checksum


def load_phantoms(path: str | Path, wanted: PhantomSet) -> NDArray[np.float32]:
    """Read phantoms that `save_phantoms` wrote.

    Args:
        path: of the file.
        wanted: which of them; all must be there, of this size. The seed is that of the file,
            whatever this says.

    Returns:
        The images, (wanted.count, size, size).

    Raises:
        UserError: the file cannot be read, is none of these, has changed since it was written, or
            holds other phantoms.
    """
    with reading(Path(path), "a file of phantoms"), h5py.File(path) as file:
        found: dict[str, Any] = dict(file.attrs)
        dataset = file.get(_IMAGES)
        if found.get("format") != FORMAT or not isinstance(dataset, h5py.Dataset):
            raise UserError(
                f"expected a file of phantoms of format {FORMAT} at {path}, got another: make one "
                f"with `gnc-data ellipses {path}`"
            )
        names = ("count", "size", "start", "seed")
        held = PhantomSet(split=found["split"], **{name: int(found[name]) for name in names})
        images = np.asarray(dataset[:], np.float32)
    if digest(held, images) != found.get(_DIGEST):
        raise UserError(
            f"expected {path} as it was written, got other contents than its checksum is of: fetch "
            "it again, or make it anew with `gnc-data ellipses`"
        )
    first = wanted.start - held.start
    fits = (wanted.size, wanted.split) == (held.size, held.split)
    if not fits or first < 0 or first + wanted.count > held.count:
        raise UserError(
            f"expected {wanted} in {path}, got {held}: give data.count, "
            "data.size, data.split and data.start for phantoms that it holds"
        )
    return images[first : first + wanted.count]
