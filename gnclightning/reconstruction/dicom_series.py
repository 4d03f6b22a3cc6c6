"""Reconstructions of slices of DICOM series, as DICOM series."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import h5py
import numpy as np

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.data.dicom.derived import Origin, write_derived_series
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Slice
from gnclightning.reconstruction import folder
from gnclightning.reconstruction.records import BatchResult
from gnclightning.reconstruction.runner import Observer


class DicomSeries(Observer):
    """Writes the series when the run has ended, of what is finished then.

    Args:
        path: the run folder, whose reconstructions have been written when this is closed.
        root: folder of the source files.
        sources: the slice of each image, by the image's name.
        process: what made images of the slices.
        method: whose reconstructions.
        origin: what the series say of themselves.
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        sources: Mapping[str, Slice],
        process: Preprocessing,
        method: str,
        origin: Origin,
    ):
        self._path = path
        self._root = root
        self._sources = sources
        self._process = process
        self._method = method
        self._origin = origin

    def close(self, results: Sequence[BatchResult]) -> None:
        """Write the series, all at once in place of those of an earlier run."""
        file = self._path / folder.RECONSTRUCTIONS
        if not results or not file.exists():
            return
        with h5py.File(file) as stored:
            images = dataset(stored, self._method)[()]
            names: list[str] = np.asarray(stored.attrs["image_names"]).tolist()
        sources = [self._sources[name] for name in names]
        temporary = Path(mkdtemp(prefix=".dicom-", dir=self._path))
        try:
            write_derived_series(
                temporary, self._root, sources, images, self._process, self._origin
            )
            temporary.chmod(0o755)
            shutil.rmtree(self._path / folder.DICOM, ignore_errors=True)
            temporary.rename(self._path / folder.DICOM)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
