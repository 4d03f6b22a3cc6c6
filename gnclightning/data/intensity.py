"""Which stored values become 0 and 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnclightning.data.formats.stored import StoredImage
from gnclightning.errors import UserError


@dataclass(frozen=True)
class IntensityMapping:
    """An affine map of stored values to [0, 1].

    Attributes:
        range: low and high, the values that become 0 and 1. None takes what the format means by
            them (0 and 255 or 65535 of 8 and 16 bit greyscale), or 0 and 1 of floating-point
            numbers.
        clip: whether values below and above become 0 and 1; otherwise they are an error.
    """

    range: Sequence[float] | None = None
    clip: bool = False

    def apply(self, name: str, stored: StoredImage) -> NDArray[np.float32]:
        """Map an image; NaN and infinity stay, which `ImageSet` reports.

        Args:
            name: of the image, for errors.
            stored: the image as stored.

        Returns:
            The image, (H, W), in [0, 1] where it is finite.

        Raises:
            UserError: values are outside of the range, or are integers without one.
        """
        low, high = self._default_range(name, stored) if self.range is None else self.range
        with np.errstate(over="ignore", invalid="ignore"):
            values = stored.pixels.astype(np.float64)
        finite = np.isfinite(values)
        outside = finite & ((values < low) | (values > high))
        if self.clip:
            values[outside] = values[outside].clip(low, high)
        elif outside.any():
            raise self._outside(name, (low, high), values[finite], int(outside.sum()))
        return ((values - low) / (high - low)).astype(np.float32)

    def _default_range(self, name: str, stored: StoredImage) -> tuple[float, float]:
        if stored.white is not None:
            return 0, stored.white
        if stored.pixels.dtype.kind == "f":
            return 0, 1
        raise UserError(
            f"image {name}: expected floating-point values in [0, 1], got {stored.pixels.dtype} "
            f"from {stored.pixels.min()} to {stored.pixels.max()}: give data.range=[LOW,HIGH], "
            "the values that become 0 and 1 in all images"
        )

    def _outside(
        self, name: str, limits: tuple[float, float], values: NDArray[np.float64], count: int
    ) -> UserError:
        if self.range is None:
            remedy = "give data.range=[LOW,HIGH], the values that become 0 and 1 in all images"
        else:
            remedy = "widen data.range"
        return UserError(
            f"image {name}: expected values in [{limits[0]:g}, {limits[1]:g}], got {count} of "
            f"{values.size} outside, from {values.min():g} to {values.max():g}: {remedy}, or clip "
            "with data.clip=true"
        )


AS_STORED = IntensityMapping()
"""For files that say themselves what is 0 and 1."""
