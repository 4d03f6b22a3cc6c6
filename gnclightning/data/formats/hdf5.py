"""HDF5 files."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py

from gnclightning.data.formats.stored import (
    StoredImage,
    check_array,
    choose_array,
    images_of,
    reading,
)


def read_hdf5(file: Path, key: str | None) -> Iterator[StoredImage]:
    """Images of the data set `key`, (H, W) or (N, H, W), each read from disk when it is due.

    Raises:
        UserError: the file is damaged, or holds no such data set; see `choose_array`.
    """
    with reading(file, "a readable HDF5 file"), h5py.File(file) as opened:
        name, dataset = _choose(file, opened, key)
        check_array(f"{name} of {file}", dataset.shape or (), dataset.dtype)
        yield from images_of(dataset)


def read_hdf5_values(file: Path, key: str | None, names: Collection[str]) -> dict[str, Any]:
    """Attributes, or data sets without or of one dimension, of some names.

    The nearest to the data set `key` counts: its own attribute, one of its group, one of the file,
    a data set in its group, one in the file's root.

    Raises:
        UserError: see `read_hdf5`.
    """
    with reading(file, "a readable HDF5 file"), h5py.File(file) as opened:
        _, dataset = _choose(file, opened, key)
        group = dataset.parent
        assert isinstance(group, h5py.Group)
        short = [_short(place, names) for place in (group, opened)]
        places: list[Any] = [dataset.attrs, group.attrs, opened.attrs, *short]
        found: dict[str, Any] = {}
        for name in names:
            holder = next((place for place in places if name in place), None)
            if holder is not None:
                found[name] = holder[name]
        return found


def _short(group: h5py.Group, names: Collection[str]) -> dict[str, Any]:
    """The data sets of a group that have these names and at most one dimension, read."""
    found = {name: group.get(name) for name in names}
    return {
        name: item[()]
        for name, item in found.items()
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.ndim <= 1
    }


def _choose(file: Path, opened: h5py.File, key: str | None) -> tuple[str, h5py.Dataset]:
    """The data set to read, with its name; see `choose_array`."""
    datasets: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item

    opened.visititems(collect)
    # A data set without any data has no shape.
    name = choose_array(file, {name: item.shape or () for name, item in datasets.items()}, key)
    return name, datasets[name]
