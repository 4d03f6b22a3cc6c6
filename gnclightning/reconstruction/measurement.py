"""Measurements, simulated or read; random streams belong to the image and to nothing else."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gnclightning.data.images import ImageSet
from gnclightning.data.sinograms import SinogramSet
from gnclightning.operators import FilterName, Projector, add_noise, fbp
from gnclightning.reconstruction.records import MeasuredBatch


class Stream(IntEnum):
    """What random numbers are for; two streams share no numbers, whatever their seeds."""

    NOISE = 0
    START = 1


def image_seed(seed: int, stream: Stream, image: int) -> int:
    """The seed of one image's numbers, below 2^64.

    Args:
        seed: of the run's noise, or of its starts.
        stream: what the numbers are for.
        image: the image's own seed, see `ImageSet.seeds`; its batch and neighbours do not matter.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, image))
    return int(sequence.generate_state(1, np.uint64)[0])


_LEAST_MEAN = 1e-3
"""Of an image with values up to about 1; less speaks for wrong units."""


def unusable(source: ImageSet | SinogramSet, operator: Projector) -> dict[str, str]:
    """Names of images whose measurements cannot be those of images in [0, 1], with the reason.

    Of images to measure: the detector sees nothing of them; costs one A for each. Of sinograms: the
    mean value of the image, which any angle tells, is not between a thousandth and 1; each
    projection of an image that the detector covers adds up to the image's sum.

    Args:
        source: images, or measured sinograms of such.
        operator: A, with lengths in pixels.
    """
    if isinstance(source, ImageSet):
        return {
            name: f"image {name}: expected a detector that sees it, got a sinogram of zeros: leave "
            "geometry.detector_count and geometry.detector_spacing out"
            for name, image in zip(source.names, source.images, strict=True)
            if not bool(operator(image.to(operator.device)).any())
        }
    geometry = operator.geometry
    pixels = geometry.image_shape[0] * geometry.image_shape[1]
    sums = source.sinograms.double().sum((1, 2, 3)) * geometry.detector_spacing
    means = (sums / (len(geometry.angles) * pixels)).tolist()
    return {
        name: f"sinogram {name}: expected line integrals of an image in [0, 1], got those of one "
        f"with the mean {mean:.3g}: give data.white=VALUE, the value per geometry.unit that "
        "becomes 1, and check geometry.pixel_size and geometry.detector_spacing"
        for name, mean in zip(source.names, means, strict=True)
        if not _LEAST_MEAN <= mean <= 1
    }


class Measurements(Protocol):
    """Where the measured batches of a run come from."""

    @property
    def operator(self) -> Projector:
        """A."""
        ...

    def __len__(self) -> int:
        """Images of the run."""
        ...

    def relative_noise(self) -> float:
        """Standard deviation of the noise over the mean |A x|, the mean over the images."""
        ...

    def batches(self, size: int, wanted: Container[int] | None = None) -> Iterator[MeasuredBatch]:
        """Batches of `size` images, on the operator's device; those of `wanted` numbers, or all."""
        ...


@dataclass(frozen=True)
class Simulated:
    """Simulates sinograms y = A x + noise, and filters them back.

    Attributes:
        images: x.
        operator: A.
        relative: noise level as a part of mean |A x|, or None.
        absolute: noise level in sinogram units, or None; one of the two is given.
        noise_seed: of all noise.
        start_seed: of all random starts.
        filter: of the filtered back-projection.
    """

    images: ImageSet
    operator: Projector
    relative: float | None
    absolute: float | None
    noise_seed: int
    start_seed: int
    filter: FilterName

    def __len__(self) -> int:
        return len(self.images)

    def relative_noise(self) -> float:
        """See `Measurements`."""
        if self.absolute is None:
            assert self.relative is not None
            return self.relative
        device = self.operator.device
        sizes = [self.operator(x.to(device)).double().abs().mean() for x in self.images.images]
        return float((self.absolute / torch.stack(sizes)).mean())

    def batches(self, size: int, wanted: Container[int] | None = None) -> Iterator[MeasuredBatch]:
        """Measure `size` images at a time."""
        for rows in _slices(len(self), size, wanted):
            truth = self.images.images[rows].to(self.operator.device)
            seeds = self.images.seeds[rows]
            y, sigma_y = add_noise(
                self.operator(truth),
                relative=self.relative,
                absolute=self.absolute,
                seeds=[image_seed(self.noise_seed, Stream.NOISE, seed) for seed in seeds],
            )
            yield MeasuredBatch(
                names=self.images.names[rows],
                truth=truth,
                y=y,
                sigma_y=sigma_y,
                fbp=fbp(y, self.operator.geometry, self.filter),
                start_seeds=_start_seeds(self.start_seed, seeds),
                first=rows.start,
            )


@dataclass(frozen=True)
class Measured:
    """Sinograms that were measured elsewhere.

    Attributes:
        sinograms: y.
        operator: A, with lengths in pixels.
        sigma_y: standard deviation of their noise, (N,) float64.
        start_seed: of all random starts.
        filter: of the filtered back-projection.
        weights: of the rays, like y; None if all are alike. sigma_y is that of weight 1.
    """

    sinograms: SinogramSet
    operator: Projector
    sigma_y: Tensor
    start_seed: int
    filter: FilterName
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sinograms)

    def relative_noise(self) -> float:
        """See `Measurements`; |y| stands for |A x|."""
        return float((self.sigma_y / self.sinograms.magnitudes).mean())

    def batches(self, size: int, wanted: Container[int] | None = None) -> Iterator[MeasuredBatch]:
        """`size` sinograms at a time."""
        for rows in _slices(len(self), size, wanted):
            y = self.sinograms.sinograms[rows].to(self.operator.device)
            truth = self.sinograms.truth
            yield MeasuredBatch(
                names=self.sinograms.names[rows],
                truth=None if truth is None else truth[rows].to(y.device),
                y=y,
                sigma_y=self.sigma_y[rows].to(y.device),
                fbp=fbp(y, self.operator.geometry, self.filter),
                start_seeds=_start_seeds(self.start_seed, self.sinograms.seeds[rows]),
                weights=None if self.weights is None else self.weights[rows].to(y.device),
                first=rows.start,
            )


def _slices(count: int, size: int, wanted: Container[int] | None) -> list[slice]:
    slices = [slice(first, first + size) for first in range(0, count, size)]
    return [rows for n, rows in enumerate(slices) if wanted is None or n in wanted]


def _start_seeds(seed: int, images: Sequence[int]) -> tuple[int, ...]:
    return tuple(image_seed(seed, Stream.START, image) for image in images)
