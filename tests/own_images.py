"""Images as users store them, and what reading them must say when it fails."""

import h5py
import numpy as np
import pytest

from gnclightning.data.folder import read_images
from gnclightning.errors import UserError

RAMP = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)


def ramps(count):
    """Images (count, 4, 5) that differ from each other: the first pixel tells which it is."""
    stack = np.stack([RAMP] * count)
    stack[:, 0, 0] = (np.arange(count) + 1) / 128
    return stack


def reading_fails(path, *parts, **options):
    """Reading fails in one line that holds each of the parts."""
    with pytest.raises(UserError) as caught:
        read_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)
