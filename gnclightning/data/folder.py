"""Images from the user's own files, of any of the formats in `gnclightning.data.formats`."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.formats.hdf5 import read_hdf5, read_hdf5_values
from gnclightning.data.formats.nifti import read_nifti
from gnclightning.data.formats.numpy_files import read_npy, read_npz, read_npz_values
from gnclightning.data.formats.pictures import read_png, read_tiff
from gnclightning.data.formats.stored import StoredImage
from gnclightning.data.images import ImageSet, rejecting, usable
from gnclightning.data.intensity import AS_STORED, IntensityMapping
from gnclightning.errors import UserError

_PLAIN: dict[str, Callable[[Path], Iterator[StoredImage]]] = {
    ".npy": read_npy,
    ".png": read_png,
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
}
_KEYED: dict[str, Callable[[Path, str | None], Iterator[StoredImage]]] = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
"""Readers of files that hold named arrays."""

_SUFFIXES = (*_PLAIN, *_KEYED)
_KINDS = ", ".join(sorted(_SUFFIXES))


def read_images(
    path: str | Path,
    count: int | None = None,
    key: str | None = None,
    mapping: IntensityMapping = AS_STORED,
    rejected: dict[str, str] | None = None,
) -> ImageSet:
    """Read images from a file, or from all such files of a folder.

    A file holds one image (H, W) or a stack (N, H, W); see `gnclightning.data.formats`. A folder's
    files are taken in the order of their names (pad numbers with zeros), others in it and its
    subfolders are left alone. Images are named after their file, those of a stack with their
    number, `images[3]`; an image's seed is its number in this order, starting at 0.

    Args:
        path: file or folder.
        count: how many images to take, from the first on; by default all. Nothing beyond them is
            read from disk, save that of an .npz file the whole array is.
        key: name of the array in each file; by default the only one of two or three dimensions.
        mapping: of stored values to [0, 1].
        rejected: takes the names of files that cannot be read, and of images whose values `mapping`
            or `ImageSet` reject, with the reason; they are left out, and the seeds of the others
            stay (such a file counts as one image). None: they are an error.

    Returns:
        The images, (N, 1, H, W) float32.

    Raises:
        UserError: there is nothing to read, a file cannot be read or holds something else, there
            is a key for files without named arrays, the images differ in size or number fewer
            than `count`, or `mapping` or `ImageSet` reject their values, be it of all.
    """
    stack, names = read_stack(path, count, key, mapping.apply, rejected=rejected)
    if rejected is None:
        return ImageSet(stack, names, tuple(range(len(names))))
    return usable(stack, names, rejected)


def sources(path: str | Path, names: Collection[str]) -> list[str]:
    """The file, without its ending, of each image that `read_images` read and named."""
    files = {_stem(file) for file in _files(Path(path), "images")}
    return [name if name in files else name.rpartition("[")[0] for name in names]


def read_stack(
    path: str | Path,
    count: int | None,
    key: str | None,
    convert: Callable[[str, StoredImage], NDArray[np.float32]],
    what: str = "images",
    rejected: dict[str, str] | None = None,
) -> tuple[Tensor, tuple[str, ...]]:
    """The arrays behind `read_images`, whatever they mean.

    Args:
        path: file or folder.
        count: how many to take; None: all.
        key: name of the array in each file; None: the only one of two or three dimensions.
        convert: makes numbers (H, W) of an array, given its name.
        what: the arrays are, for messages.
        rejected: takes the names of files that cannot be read, and of arrays that `convert`
            refuses, with the reason; NaN stands for them. None: they are an error.

    Returns:
        (N, 1, H, W) float32, and their names.

    Raises:
        UserError: see `read_images`.
    """
    if count is not None and count < 1:
        raise UserError(f"expected a count of at least 1, got {count}")
    files = _files(Path(path), what)
    if key is not None:
        _check_named(files, key)
    names: list[str] = []
    images: list[NDArray[np.float32] | None] = []
    first: tuple[str, NDArray[np.float32]] | None = None
    for name, stored in islice(_named(files, key, rejected), count):
        image = None
        if stored is not None:
            with rejecting(name, rejected):
                image = convert(name, stored)
        if image is not None:
            first = first or (name, image)
            if image.shape != first[1].shape:
                raise UserError(
                    f"expected {what} of one size, got {_size(first[1])} ({first[0]}) and "
                    f"{_size(image)} ({name}): crop or resample them, or use separate folders"
                )
        names.append(name)
        images.append(image)
    if count is not None and len(images) < count:
        raise UserError(f"expected {count} {what} in {path}, got {len(images)}: lower the count")
    if first is None:
        assert rejected
        raise UserError(rejected[names[0]])
    missing = np.full_like(first[1], np.nan)
    stack = np.stack([missing if image is None else image for image in images])
    return torch.from_numpy(stack[:, None]), tuple(names)


def read_values(
    path: str | Path,
    key: str | None,
    names: Collection[str],
    what: str = "images",
    rejected: Mapping[str, str] | None = None,
) -> list[tuple[Path, dict[str, Any]]]:
    """What the files behind `read_stack` say beside their arrays: values of some names, by file.

    Attributes and short data sets of HDF5 files, arrays of at most one dimension of .npz files;
    files of other kinds say nothing.

    Args:
        path: file or folder.
        key: name of the array in each file; None: the only one of two or three dimensions.
        names: of the values.
        what: the arrays are, for messages.
        rejected: what `read_stack` could not read, which need not say anything.

    Raises:
        UserError: see `read_images`.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    for file in _files(Path(path), what):
        try:
            found.append((file, _values(file, key, names)))
        except UserError:
            if _stem(file) not in (rejected or {}):
                raise
    return found


def _values(file: Path, key: str | None, names: Collection[str]) -> dict[str, Any]:
    match _suffix(file):
        case ".h5" | ".hdf5":
            return read_hdf5_values(file, key, names)
        case ".npz":
            return read_npz_values(file, names)
        case _:
            return {}


def is_source(text: str) -> bool:
    """Whether a text names a file or folder that `read_stack` takes, be it there or not."""
    return Path(text).exists() or _suffix(Path(text)) is not None


def _size(image: NDArray[np.float32]) -> str:
    return "x".join(map(str, image.shape))


def _suffix(file: Path) -> str | None:
    """The ending of a file that can be read; None for any other."""
    name = file.name.lower()
    return next((s for s in _SUFFIXES if name.endswith(s) and name != s), None)


def _files(path: Path, what: str) -> list[Path]:
    try:
        if path.is_dir():
            # Links to nothing are kept, so that reading them tells what is wrong.
            files = sorted(
                file
                for file in path.iterdir()
                if _suffix(file) and (file.is_file() or not file.exists())
            )
            if not files:
                raise UserError(f"expected files in {path} ({_KINDS}), got none: put some there")
            return files
        if not path.exists():
            raise UserError(f"expected {what} at {path}, which does not exist: mend the path")
    except OSError as error:
        raise UserError(f"expected readable {what} at {path}, got: {error}") from error
    if not _suffix(path):
        raise UserError(
            f"expected a file of {what} ({_KINDS}) or a folder of them, got {path}: convert it"
        )
    return [path]


def _check_named(files: list[Path], key: str) -> None:
    for file in files:
        if _suffix(file) not in _KEYED:
            raise UserError(
                f"expected files with named arrays ({', '.join(_KEYED)}) for data.key={key}, got "
                f"{file}: leave data.key out, or the file"
            )


def _named(
    files: list[Path], key: str | None, rejected: dict[str, str] | None
) -> Iterator[tuple[str, StoredImage | None]]:
    """The images with their names; None for a file that cannot be read (any further)."""
    for file in files:
        stem = _stem(file)
        try:
            for stored in _stored(file, key):
                name = stem if stored.number is None else f"{stem}[{stored.number}]"
                yield name, stored
        except UserError as error:
            if rejected is None:
                raise
            rejected[stem] = str(error)
            yield stem, None


def _stem(file: Path) -> str:
    """The name of a file without its ending; bytes that are no text as escapes."""
    suffix = _suffix(file)
    assert suffix is not None
    # Tables and files are UTF-8.
    return os.fsencode(file.name[: -len(suffix)]).decode(errors="backslashreplace")


def _stored(file: Path, key: str | None) -> Iterator[StoredImage]:
    suffix = _suffix(file)
    assert suffix is not None
    keyed = _KEYED.get(suffix)
    return keyed(file, key) if keyed else _PLAIN[suffix](file)
