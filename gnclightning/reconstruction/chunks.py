"""A run's work in chunks, kept one by one until all are there.

A chunk is a file and, written after it, its checksum; it counts as finished once both are there. So
a process that is killed at any moment leaves whole chunks and nothing else, and what a disk or a
copy damaged is found. `sha256sum --check *.sha256` says the same.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gnclightning.errors import UserError
from gnclightning.files import replacing
from gnclightning.reconstruction.encoding import from_bytes, to_bytes
from gnclightning.reconstruction.records import BatchResult

NAME = "chunks"
_DATA, _SUM = ".safetensors", ".sha256"


@dataclass(frozen=True)
class Chunks:
    """The chunks of a run: consecutive images, `size` each, the last one perhaps fewer.

    Attributes:
        folder: where they are kept.
        images: of the run.
        size: images of a chunk.
        warn: told of a chunk that is damaged.
    """

    folder: Path
    images: int
    size: int
    warn: Callable[[str], None] = print

    def __len__(self) -> int:
        return -(-self.images // self.size)

    def share(self, rank: int, processes: int) -> list[int]:
        """The numbers of the chunks that a process has to do: disjoint, whatever is finished."""
        finished = set(self.finished())
        return [n for n in range(rank, len(self), processes) if n not in finished]

    def save(self, number: int, result: BatchResult) -> None:
        """Keep a finished chunk."""
        data = to_bytes(result)
        path = self._path(number, _DATA)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        with replacing(path.with_suffix(_SUM)) as temporary:
            temporary.write_text(f"{_digest(data)}  {path.name}\n")

    def load(self, number: int) -> BatchResult | None:
        """A finished chunk; None if it is not there, or damaged, which is reported and undone."""
        path, checksum = self._path(number, _DATA), self._path(number, _SUM)
        if not checksum.is_file():
            return None
        data = path.read_bytes() if path.is_file() else b""
        if checksum.read_text(errors="replace").partition(" ")[0] == _digest(data):
            return from_bytes(data)
        self.warn(f"{path}: damaged, its checksum does not fit; its images are done again")
        checksum.unlink()
        return None

    def finished(self) -> list[int]:
        """The numbers of the chunks that have a checksum, which is not looked at."""
        return [number for number in range(len(self)) if self._path(number, _SUM).is_file()]

    def images_finished(self) -> int:
        """How many images the finished chunks have."""
        return sum(min(self.size, self.images - n * self.size) for n in self.finished())

    def results(self) -> Iterator[BatchResult]:
        """The content of each finished chunk, in order."""
        loaded = (self.load(number) for number in self.finished())
        return (result for result in loaded if result is not None)

    def finish(self) -> None:
        """Remove all, as it is written elsewhere.

        Raises:
            UserError: there is not all.
        """
        missing = len(self) - len(self.finished())
        if missing:
            raise UserError(
                f"expected {len(self)} chunks in {self.folder}, {missing} of them are damaged: "
                "give the same command again to do these again"
            )
        remove_folder(self.folder)

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}{suffix}"


def remove_folder(folder: Path) -> None:
    """Remove a folder, which is gone at once even if this process is killed on the way."""
    away = folder.with_name(f".{folder.name}-removed")
    shutil.rmtree(away, ignore_errors=True)
    if folder.exists():
        os.replace(folder, away)
    shutil.rmtree(away, ignore_errors=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
