"""A set of named images in [0, 1], checked once so that nothing later needs to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.errors import UserError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with what a run needs to know about each of them.

    Attributes:
        images: (N, 1, H, W), float32, values in [0, 1] without unit.
        names: one per image, unique; they appear in tables and figures.
        seeds: one integer per image for its measurement noise and its random start. It belongs to
            the image's place in its source (a phantom's index, the number of an image in a
            folder), so that an image gets the same noise however many others run with it.

    Raises:
        UserError: an image is not finite, not in [0, 1] or constant, or two share a name.
    """

    images: Tensor
    names: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self):
        assert self.images.ndim == 4
        assert self.images.shape[1] == 1
        assert self.images.dtype == torch.float32
        assert len(self.images) == len(self.names) == len(self.seeds) > 0
        for name, image in zip(self.names, self.images, strict=True):
            _check(name, image)
        check_names(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        return self.images.shape[-2], self.images.shape[-1]

    def without(self, rejected: Mapping[str, str]) -> "ImageSet":
        """Those that are not rejected; raises `UserError` if all are, see `remaining`."""
        kept = remaining(self.names, rejected)
        seeds = tuple(self.seeds[k] for k in kept)
        return ImageSet(self.images[kept], tuple(self.names[k] for k in kept), seeds)


def usable(images: Tensor, names: Sequence[str], rejected: dict[str, str]) -> ImageSet:
    """The images that can be used; one that cannot does not stop the others.

    Args:
        images: (N, 1, H, W), float32.
        names: one per image.
        rejected: names of images that are known to be unusable, with the reason; others are added.

    Raises:
        UserError: none can be used, or two share a name.
    """
    check_names(names)
    for name, image in zip(names, images, strict=True):
        if name not in rejected:
            with rejecting(name, rejected):
                _check(name, image)
    kept = remaining(names, rejected)
    return ImageSet(images[kept], tuple(names[k] for k in kept), tuple(kept))


@contextmanager
def rejecting(name: str, rejected: dict[str, str] | None) -> Iterator[None]:
    """Keep a `UserError` as the reason why what has this name is left out; None: raise it."""
    try:
        yield
    except UserError as error:
        if rejected is None:
            raise
        rejected.setdefault(name, str(error))


def remaining(names: Sequence[str], rejected: Mapping[str, str]) -> list[int]:
    """Numbers of the names that are not rejected.

    Raises:
        UserError: all are; it is the first reason.
    """
    kept = [number for number, name in enumerate(names) if name not in rejected]
    if not kept:
        raise UserError(rejected[names[0]])
    return kept


def check_names(names: Sequence[str]) -> None:
    """Raise `UserError` if two images share a name."""
    name, uses = Counter(names).most_common(1)[0]
    if uses > 1:
        raise UserError(f"expected one image per name, got {uses} named {name}: rename them")


def check_finite(name: str, values: Tensor) -> None:
    """Raise `UserError` if some of the values (H, W) of what has this name are no numbers."""
    wrong = int((~values.isfinite()).sum())
    if wrong:
        raise UserError(
            f"{name}: expected finite values, got {wrong} NaN or infinite of {values.numel()}: "
            "replace them"
        )


def _check(name: str, image: Tensor) -> None:
    check_finite(f"image {name}", image)
    low, high = (value.item() for value in image.aminmax())
    if low == high:
        raise UserError(
            f"image {name}: expected structure, got the constant {low:g} in "
            f"{image.shape[-2]}x{image.shape[-1]} pixels: leave this image out"
        )
    if low < 0 or high > 1:
        raise UserError(
            f"image {name}: expected values in [0, 1], got {low:g} to {high:g}: "
            "scale all images by one affine map, e.g. (x - low) / (high - low), and clip"
        )
