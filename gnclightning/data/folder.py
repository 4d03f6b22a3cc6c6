"""Images from the user's own files: NumPy stacks and greyscale PNGs."""

from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gnclightning.data.images import ImageSet
from gnclightning.errors import UserError

_SUFFIXES = (".npy", ".png")

_PNG_MAXIMUM = {"L": 255, "I;16": 65535}
"""Greatest grey value for each of Pillow's modes of 8 and 16 bit greyscale PNGs."""


def read_images(path: str | Path, count: int | None = None) -> ImageSet:
    """Read images with values in [0, 1] from a file, or from all such files of a folder.

    A `.npy` file holds one image (H, W) or a stack (N, H, W) of floating-point numbers; a `.png`
    holds one 8 or 16 bit greyscale image, divided by 255 or 65535. A folder's files are taken in
    the order of their names (pad numbers with zeros), others in it and its subfolders are left
    alone. Images are named after their file, those of a stack with their number, `images[3]`;
    an image's seed is its number in this order, starting at 0.

    Args:
        path: file or folder.
        count: how many images to take, from the first on; by default all. Nothing beyond them is
            read from disk.

    Returns:
        The images, (N, 1, H, W) float32.

    Raises:
        UserError: there is nothing to read, a file cannot be read or holds something else, the
            images differ in size or number fewer than `count`, or `ImageSet` rejects their values.
    """
    if count is not None and count < 1:
        raise UserError(f"expected a count of at least 1 image, got {count}")
    names: list[str] = []
    images: list[NDArray[np.float32]] = []
    for name, image in _named_images(_files(Path(path))):
        if images and image.shape != images[0].shape:
            raise UserError(
                f"expected images of one size, got {_size(images[0])} ({names[0]}) and "
                f"{_size(image)} ({name}): crop or resample them, or use separate folders"
            )
        names.append(name)
        images.append(image)
        if len(images) == count:
            break
    if count is not None and len(images) < count:
        raise UserError(f"expected {count} images in {path}, got {len(images)}: lower the count")
    stack = torch.from_numpy(np.stack(images)[:, None])
    return ImageSet(stack, tuple(names), tuple(range(len(names))))


def _size(image: NDArray[np.float32]) -> str:
    return "x".join(map(str, image.shape))


def _files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            files = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in _SUFFIXES and file.is_file()
            )
            if not files:
                raise UserError(f"expected .npy or .png files in {path}, got none: put some there")
            return files
        if not path.exists():
            raise UserError(f"expected images at {path}, which does not exist: mend the path")
    except OSError as error:
        raise UserError(f"expected readable images at {path}, got: {error}") from error
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"expected a .npy or .png file or a folder of them, got {path}: convert it")
    return [path]


def _named_images(files: list[Path]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for file in files:
        if file.suffix.lower() == ".png":
            yield file.stem, _read_png(file)
            continue
        array = _open_npy(file)
        if array.ndim == 2:
            yield file.stem, _single(array)
        else:
            for number, image in enumerate(array):
                yield f"{file.stem}[{number}]", _single(image)


def _single(image: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, which ImageSet reports
        return image.astype(np.float32)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _open_npy(file: Path) -> NDArray[np.floating]:
    """Map a file of floating-point images, (H, W) or (N, H, W), without reading its pixels."""
    try:
        # Unlike np.load this takes nothing but arrays: no archives, and nothing to unpickle.
        array = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, OverflowError, SyntaxError, TokenError) as error:
        raise UserError(f"expected a .npy file of images at {file}, got: {_line(error)}") from error
    if array.ndim not in (2, 3) or not array.size:
        raise UserError(
            f"expected images (H, W) or (N, H, W) in {file}, got shape {array.shape}: reshape them"
        )
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        raise UserError(
            f"expected floating-point values in [0, 1] in {file}, got {array.dtype} from {low} to "
            f"{high}: scale them, e.g. ((images - {low}) / {high - low}).astype('float32')"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"expected floating-point values in [0, 1] in {file}, got {array.dtype}: convert them"
        )
    return array


def _read_png(file: Path) -> NDArray[np.float32]:
    try:
        with Image.open(file, formats=["PNG"]) as image:
            mode = image.mode
            values = np.asarray(image, np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"expected a readable PNG at {file}, got: {_line(error)}") from error
    if mode not in _PNG_MAXIMUM:
        raise UserError(
            f"expected an 8 or 16 bit greyscale PNG at {file}, got Pillow's mode {mode}: "
            "convert it, e.g. with PIL's image.convert('L')"
        )
    return values / np.float32(_PNG_MAXIMUM[mode])
