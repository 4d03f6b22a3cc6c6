"""Files of measured sinograms with what may lie beside them, shared by tests."""

from pathlib import Path

import h5py
import numpy as np

ARRAY = np.random.default_rng(0).random((2, 4, 7), dtype=np.float32) + 1


def hdf5(path: Path, sets: dict[str, np.ndarray], **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in sets.items():
            file[name] = values
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def npz(path: Path, sets: dict[str, np.ndarray], **entries: object) -> Path:
    np.savez(path, **sets, **entries)
    return path
