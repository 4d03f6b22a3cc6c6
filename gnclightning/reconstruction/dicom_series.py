"""Reconstructions of slices of DICOM series, as series or volumes of their own."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.data.dicom.records import Slice
from gnclightning.reconstruction import folder
from gnclightning.reconstruction.records import BatchResult
from gnclightning.reconstruction.runner import Observer

Write = Callable[[Path, Sequence[Slice], NDArray[np.float32]], object]
"""Writes files of images (N, size, size), reconstructions of slices, into a folder."""


class SliceSeries(Observer):
    """Writes them when the run has ended, of what is finished then.

    Args:
        path: the run folder, whose reconstructions have been written when this is closed.
        name: of the folder in it that is written.
        sources: the slice of each image, by the image's name.
        method: whose reconstructions.
        write: what writes the files.
    """

    def __init__(
        self, path: Path, name: str, sources: Mapping[str, Slice], method: str, write: Write
    ):
        self._path = path
        self._name = name
        self._sources = sources
        self._method = method
        self._write = write

    def close(self, results: Sequence[BatchResult]) -> None:
        """Write the files, all at once in place of those of an earlier run."""
        file = self._path / folder.RECONSTRUCTIONS
        if not results or not file.exists():
            return
        with h5py.File(file) as stored:
            images = dataset(stored, self._method)[()]
            names: list[str] = np.asarray(stored.attrs["image_names"]).tolist()
        sources = [self._sources[name] for name in names]
        temporary = Path(mkdtemp(prefix=f".{self._name}-", dir=self._path))
        try:
            self._write(temporary, sources, images)
            temporary.chmod(0o755)
            shutil.rmtree(self._path / self._name, ignore_errors=True)
            temporary.rename(self._path / self._name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
