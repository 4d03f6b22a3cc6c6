"""HDF5 files."""

from collections.abc import Iterator
from pathlib import Path

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
        datasets: dict[str, h5py.Dataset] = {}

        def collect(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = item

        opened.visititems(collect)
        # A data set without any data has no shape.
        shapes = {name: dataset.shape or () for name, dataset in datasets.items()}
        name = choose_array(file, shapes, key)
        check_array(f"{name} of {file}", shapes[name], datasets[name].dtype)
        yield from images_of(datasets[name])
