"""What the readers of all formats share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.errors import UserError

_LISTED = 10
"""Arrays of a file that a message names."""


@dataclass(frozen=True)
class StoredImage:
    """An image as its file holds it.

    Attributes:
        pixels: (H, W), integer or floating-point numbers of any size.
        number: of the image in its stack; None for a single image.
        white: the value that the format means by 1; None if it means none.
    """

    pixels: NDArray[Any]
    number: int | None = None
    white: int | None = None


@contextmanager
def reading(file: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a `UserError`: "expected `kind` at `file`"."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        found = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"expected {kind} at {file}, got: {found}; write the file anew, or leave it out"
        ) from error


def check_array(
    place: str, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str = "(H, W) or (N, H, W)"
) -> None:
    """Raise `UserError` unless an array holds an image, or a stack of some, of real numbers.

    Args:
        place: what to call it: a file, or an array of a file.
        shape: of the array.
        dtype: of its numbers.
        axes: the shapes that are allowed.
    """
    if dtype.kind not in "iuf":
        found = "Python objects or text, which are not read" if dtype.kind == "O" else dtype
        raise UserError(f"expected real numbers in {place}, got {found}: convert them")
    if min(shape, default=1) < 1:
        raise UserError(f"expected numbers in {place}, got none, shape {shape}: leave it out")
    if len(shape) not in (2, 3):
        raise UserError(f"expected arrays {axes} in {place}, got shape {shape}: reshape them")


def choose_array(file: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None) -> str:
    """The name of the array to read.

    Args:
        file: that holds the arrays.
        shapes: of all of them.
        key: which one the user asks for; None for the only one of two or three dimensions.

    Raises:
        UserError: there is no such array, or no only one.
    """
    names = [f"{name} {shape}" for name, shape in shapes.items()]
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    found = ", ".join(names[:_LISTED] + more) or "no arrays"
    if key is None:
        stacks = [name for name, shape in shapes.items() if len(shape) in (2, 3)]
        if len(stacks) != 1:
            remedy = "choose one with data.key=NAME" if stacks else "put images into it"
            raise UserError(
                f"expected one array (H, W) or (N, H, W) in {file}, got {found}: {remedy}"
            )
        return stacks[0]
    if key not in shapes:
        close = get_close_matches(key, shapes, n=1)
        remedy = f"did you mean {close[0]}?" if close else "choose one of these with data.key=NAME"
        raise UserError(f"expected an array named {key} in {file}, got {found}: {remedy}")
    return key


def images_of(array: NDArray[Any] | h5py.Dataset) -> Iterator[StoredImage]:
    """The image of an array (H, W), or those of a stack (N, H, W), each read when it is due."""
    if array.ndim == 2:
        yield StoredImage(array[:])
    else:
        for number in range(len(array)):
            yield StoredImage(array[number], number)
