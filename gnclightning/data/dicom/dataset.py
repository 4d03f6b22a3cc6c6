"""Converted slices as a data set for PyTorch."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gnclightning.data.dicom.cache_file import Cache, dataset


class CachedSlices(Dataset[Tensor]):
    """Some slices of a cache, tensors (1, size, size), read when they are asked for.

    The images are one block of the HDF5 file, which each process maps into its memory: processes
    share what the system has read, and no open file crosses a fork.

    Args:
        cache: where they are.
        numbers: positions in `cache.slices`, in the order of the data set.
    """

    def __init__(self, cache: Cache, numbers: Sequence[int]):
        self._path: Path = cache.path
        self._rows = [cache.rows[number] for number in numbers]
        with h5py.File(cache.path) as file:
            images = dataset(file, "images")
            self._offset: int = images.id.get_offset()
            self._shape: tuple[int, ...] = images.shape

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self._mapped[self._rows[index]].copy())[None]

    def stack(self) -> Tensor:
        """All of them, (N, 1, size, size)."""
        return torch.from_numpy(self._mapped[self._rows])[:, None]

    def __getstate__(self) -> dict[str, Any]:
        # A pickled map would hold all images; the process that unpickles it maps the file anew.
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}

    @cached_property
    def _mapped(self) -> NDArray[np.float32]:
        return np.memmap(self._path, "<f4", "r", self._offset, self._shape)
