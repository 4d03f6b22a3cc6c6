"""From Hounsfield units to the images that priors are trained on: pure functions on arrays.

The default is what arXiv 2404.18699, Section 4.2, does with its AAPM images: dequantisation,
attenuation as a fraction of that of 3071 HU, bilinear interpolation without anti-aliasing.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnclightning.errors import UserError

MU_WATER = 20.0
"""Linear attenuation coefficient of water, 1/m."""
MU_AIR = 0.02
"""Linear attenuation coefficient of air, 1/m."""
HU_MAX = 3071.0
"""The greatest value of a 12 bit CT image, HU."""

Intensity = Literal["attenuation", "window"]


def attenuation(hounsfield: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear attenuation coefficients in 1/m: mu = HU (mu_water - mu_air) / 1000 + mu_water."""
    return hounsfield * ((MU_WATER - MU_AIR) / 1000) + MU_WATER


MU_MAX = HU_MAX * (MU_WATER - MU_AIR) / 1000 + MU_WATER
"""Linear attenuation coefficient of 3071 HU, 81.36 /m."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a slice, in this order; the defaults are the paper's.

    Attributes:
        size: height and width afterwards, pixels; None leaves them as they are.
        dequantise: whether to add noise, uniform in [0, 1) HU, to the whole numbers of HU.
        intensity: "attenuation": mu / mu(3071 HU), clipped to [0, 1]; "window": the window's ends
            become 0 and 1, clipped to [0, 1].
        window: the ends in HU, for the intensity "window".
        antialias: whether to average over as many pixels as become one; without it, bilinear
            interpolation sees the four nearest ones only.
        seed: of the dequantisation.

    Raises:
        UserError: the window is empty, the size below 1, or the seed negative.
    """

    size: int | None = 256
    dequantise: bool = True
    intensity: Intensity = "attenuation"
    window: tuple[float, float] = (-1000.0, 1000.0)
    antialias: bool = False
    seed: int = 0

    def __post_init__(self):
        if not self.window[0] < self.window[1]:
            raise UserError(
                f"expected a window from a lower to a higher HU, got {self.window[0]:g} to "
                f"{self.window[1]:g}: swap them"
            )
        if self.size is not None and self.size < 1:
            raise UserError(f"expected a size of at least 1 pixel, got {self.size}")
        if self.seed < 0:
            raise UserError(f"expected a seed of at least 0, got {self.seed}")

    @property
    def hounsfield_range(self) -> tuple[float, float]:
        """HU of the image values 0 and 1; values between are linear."""
        if self.intensity == "window":
            return self.window
        return -1000 * MU_WATER / (MU_WATER - MU_AIR), HU_MAX

    def to_hounsfield(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """HU of image values, of any shape; what was clipped does not come back."""
        low, high = self.hounsfield_range
        return low + values.astype(np.float64) * (high - low)

    @property
    def unit(self) -> str:
        """What an image value of 1 is."""
        if self.intensity == "window":
            low, high = self.window
            return f"fraction of the window from {low:g} to {high:g} HU"
        return f"fraction of {MU_MAX:.2f} /m, the attenuation of {HU_MAX:g} HU"

    def apply(self, hounsfield: NDArray[np.float64], instance: str) -> NDArray[np.float32]:
        """Preprocess one slice.

        Args:
            hounsfield: (H, W), in HU.
            instance: its SOPInstanceUID, to which the noise belongs.

        Returns:
            The image, (size, size), values in [0, 1].
        """
        if self.dequantise:
            hounsfield = hounsfield + dequantisation_noise(hounsfield.shape, instance, self.seed)
        if self.intensity == "window":
            image = scale(hounsfield, *self.window)
        else:
            image = scale(attenuation(hounsfield), 0.0, MU_MAX)
        if self.size is not None:
            image = resize(image, self.size, self.antialias)
        # Rounding may leave [0, 1] by the last digit.
        return image.astype(np.float32).clip(0, 1)


def dequantisation_noise(shape: tuple[int, ...], instance: str, seed: int) -> NDArray[np.float64]:
    """Noise, uniform in [0, 1), that depends on the slice and the seed alone.

    Neither the order of the slices nor the number of processes matters.
    """
    digest = hashlib.sha256(instance.encode()).digest()
    return np.random.default_rng((seed, *digest)).random(shape)


def scale(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """(values - low) / (high - low), clipped to [0, 1]."""
    return ((values - low) / (high - low)).clip(0, 1)


def resize(image: NDArray[np.float64], size: int, antialias: bool = False) -> NDArray[np.float64]:
    """Resize an image (H, W) to (size, size) by bilinear interpolation.

    Pixels are squares whose outer edges stay in place, so the pixel size becomes H/size of what it
    was. Beyond the outermost centres the image is constant.

    Args:
        image: (H, W).
        size: height and width afterwards.
        antialias: whether shrinking widens the triangular kernel by the factor of the shrinkage.
    """
    rows, columns = (_weights(length, size, antialias) for length in image.shape)
    return rows @ image @ columns.T


def _weights(before: int, after: int, antialias: bool) -> NDArray[np.float64]:
    """Weights (after, before) of one axis: a triangle around each new pixel's centre."""
    factor = before / after
    half_width = max(factor, 1.0) if antialias else 1.0
    centre = (np.arange(after) + 0.5) * factor - 0.5
    distance = np.abs(np.arange(before) - centre[:, None])
    weights = np.maximum(1 - distance / half_width, 0)
    return weights / weights.sum(1, keepdims=True)
