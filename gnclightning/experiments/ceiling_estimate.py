"""What the mean of infinitely many samples would be worth, from a few."""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Of each image, without bias; means over its pixels.

    Attributes:
        error: squared error of the mean of infinitely many samples, (images,); by chance it can be
            below 0 where samples are few.
        variance: of a sample, (images,).
    """

    error: Array
    variance: Array

    def psnr(self, number: float = inf) -> Array:
        """PSNR that belongs to the squared error that the mean of so many samples has on average.

        That is error + variance / number. (images,), for images with values in [0,1].
        """
        expected = self.error + self.variance / number
        with np.errstate(divide="ignore"):
            return -10 * np.log10(expected.clip(min=0))

    @property
    def calibration(self) -> float:
        """Squared error over variance, of all images together.

        If images and noise are what prior and likelihood say, it is 1 on average: the truth is a
        draw from the posterior like the samples.
        """
        return float(self.error.sum() / self.variance.sum())


def estimate(samples: Array, truth: Array) -> Estimate:
    """From the mean and the variance of N samples.

    The squared error of their mean is on average that of infinitely many, and variance / N.

    Args:
        samples: (N, images, ...), independent; N at least 2.
        truth: (images, ...).
    """
    variance = _over_pixels(samples.var(0, ddof=1))
    return Estimate(
        _over_pixels((samples.mean(0) - truth) ** 2) - variance / len(samples), variance
    )


def standard_error(samples: Array, truth: Array) -> float:
    """Of the mean over the images of `Estimate.psnr()`, by the jackknife, in dB.

    It is what other samples of the same images would change, to first order in the squared errors;
    other images are not in it.

    Args:
        samples: (N, images, ...); N at least 3.
        truth: (images, ...).
    """
    count = len(samples)
    without_one = [estimate(np.delete(samples, n, 0), truth).error for n in range(count)]
    relative = np.mean(without_one / estimate(samples, truth).error, 1)
    return float(10 / np.log(10) * np.sqrt((count - 1) * np.var(relative)))


def reliability(samples: Array, truth: Array, bins: int = 12) -> tuple[Array, Array]:
    """Standard deviations of samples and errors of their mean, over pixels that are alike.

    Pixels of all images are sorted by the samples' variance into bins of equal size.

    Args:
        samples: (N, images, ...).
        truth: (images, ...).
        bins: their number.

    Returns:
        For each bin the root mean square of the standard deviations, and of the errors of the mean
        of infinitely many samples, (bins,).
    """
    variance = samples.var(0, ddof=1).ravel()
    error = ((samples.mean(0) - truth) ** 2).ravel() - variance / len(samples)
    parts = np.array_split(np.argsort(variance), bins)
    means = np.array([[values[part].mean() for part in parts] for values in (variance, error)])
    spread, missed = np.sqrt(means.clip(min=0))
    return spread, missed


def _over_pixels(values: Array) -> Array:
    return values.reshape(len(values), -1).mean(1)
