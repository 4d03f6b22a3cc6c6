"""NumPy's files: one array (.npy), or several in a ZIP archive (.npz). Nothing is unpickled."""

import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gnclightning.data.formats.stored import (
    StoredImage,
    check_array,
    choose_array,
    images_of,
    reading,
)

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(file: Path) -> Iterator[StoredImage]:
    """Images of an array (H, W) or (N, H, W), mapped into memory.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    with reading(file, "a .npy file of images"):
        with file.open("rb") as stream:
            check_array(str(file), *_header(stream))
        array = np.lib.format.open_memmap(file, mode="r")
    yield from images_of(array)


def read_npz(file: Path, key: str | None) -> Iterator[StoredImage]:
    """Images of the array `key`, (H, W) or (N, H, W), which is read whole.

    Raises:
        UserError: the file is damaged, or holds no such array; see `choose_array`.
    """
    with reading(file, "a .npz file of images"), zipfile.ZipFile(file) as archive:
        headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    headers[member.removesuffix(".npy")] = _header(stream)
        name = choose_array(file, {name: shape for name, (shape, _) in headers.items()}, key)
        check_array(f"{name} of {file}", *headers[name])
        with archive.open(f"{name}.npy") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    yield from images_of(array)


def read_npz_values(file: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of some names, as far as they are there and have one dimension or none.

    Raises:
        UserError: the file is damaged, or an array holds Python objects.
    """
    found: dict[str, NDArray[Any]] = {}
    with reading(file, "a .npz file of numbers and text"), zipfile.ZipFile(file) as archive:
        for member in set(archive.namelist()) & {f"{name}.npy" for name in names}:
            with archive.open(member) as stream:
                short = len(_header(stream)[0]) <= 1
            if short:
                with archive.open(member) as stream:
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                found[member.removesuffix(".npy")] = array
    return found


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that begins here."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        # Version 3 is for structured arrays alone, which are no images.
        raise ValueError(f"an array of format version {version}")
    shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype
