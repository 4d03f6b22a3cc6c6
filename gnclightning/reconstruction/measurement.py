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
from gnclightning.operators import LinearOperator, Projector, add_noise
from gnclightning.reconstruction.methods import DirectReconstruction
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


def unusable(source: ImageSet | SinogramSet, operator: LinearOperator) -> dict[str, str]:
    """Names of images whose measurements cannot be those of images in [0, 1], with the reason.

    Of images to measure: nothing is seen of them; costs one A for each. Of sinograms: the mean of
    the image is not between a thousandth and 1; it follows from any parallel projection of an image
    that the detector covers, and from the fans of a whole turn.

    Args:
        source: images, or measured sinograms of such.
        operator: A, with lengths in pixels.
    """
    if isinstance(source, ImageSet):
        wanted = (
            "a detector that sees it, got a sinogram of zeros: leave geometry.detector_count and "
            "geometry.detector_spacing out"
            if isinstance(operator, Projector)
            else "measurements that see it, got zeros alone: give operator.seed=NUMBER, or measure "
            "more"
        )
        return {
            name: f"image {name}: expected {wanted}"
            for name, image in zip(source.names, source.images, strict=True)
            if not bool(operator(image.to(operator.device)).any())
        }
    assert isinstance(operator, Projector)
    geometry = operator.geometry
    pixels = geometry.image_shape[0] * geometry.image_shape[1]
    sums = (source.sinograms.double() * geometry.bin_measures).sum((1, 2, 3))
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
    def operator(self) -> LinearOperator:
        """A."""
        ...

    def __len__(self) -> int:
        """Images of the run."""
        ...

    def noise(self) -> float:
        """Standard deviation of the noise, the mean over the images."""
        ...

    def relative_noise(self) -> float:
        """Standard deviation of the noise over the mean |A x|, the mean over the images."""
        ...

    def batches(self, size: int, wanted: Container[int] | None = None) -> Iterator[MeasuredBatch]:
        """Batches of `size` images, on the operator's device; those of `wanted` numbers, or all."""
        ...


@dataclass(frozen=True)
class Simulated:
    """Simulates measurements y = A x + noise, and makes direct reconstructions of them.

    Attributes:
        images: x.
        operator: A.
        relative: noise level as a part of mean |A x|, or None.
        absolute: noise level in units of measurements, or None; one of the two is given.
        noise_seed: of all noise.
        start_seed: of all random starts.
        direct: reconstructs directly.
    """

    images: ImageSet
    operator: LinearOperator
    relative: float | None
    absolute: float | None
    noise_seed: int
    start_seed: int
    direct: DirectReconstruction

    def __len__(self) -> int:
        return len(self.images)

    def noise(self) -> float:
        """See `Measurements`."""
        if self.absolute is not None:
            return self.absolute
        assert self.relative is not None
        return float((self.relative * self._sizes()).mean())

    def relative_noise(self) -> float:
        """See `Measurements`."""
        if self.absolute is None:
            assert self.relative is not None
            return self.relative
        return float((self.absolute / self._sizes()).mean())

    def _sizes(self) -> Tensor:
        """The mean |A x| of each image, over what is observed."""
        device, observed = self.operator.device, self.operator.observed
        seen = [self.operator(x.to(device)).double().abs() for x in self.images.images]
        if observed is not None:
            seen = [y[..., observed] for y in seen]
        return torch.stack([y.mean() for y in seen])

    def batches(self, size: int, wanted: Container[int] | None = None) -> Iterator[MeasuredBatch]:
        """Measure `size` images at a time."""
        observed = self.operator.observed
        for rows in _slices(len(self), size, wanted):
            truth = self.images.images[rows].to(self.operator.device)
            seeds = self.images.seeds[rows]
            y, sigma_y = add_noise(
                self.operator(truth),
                relative=self.relative,
                absolute=self.absolute,
                seeds=[image_seed(self.noise_seed, Stream.NOISE, seed) for seed in seeds],
                observed=observed,
            )
            yield MeasuredBatch(
                names=self.images.names[rows],
                truth=truth,
                y=y,
                sigma_y=sigma_y,
                direct=self.direct.of(y),
                start_seeds=_start_seeds(self.start_seed, seeds),
                first=rows.start,
                direct_name=self.direct.name,
                values=None if observed is None else int(observed.sum()),
            )


@dataclass(frozen=True)
class Measured:
    """Sinograms that were measured elsewhere.

    Attributes:
        sinograms: y.
        operator: A, with lengths in pixels.
        sigma_y: standard deviation of their noise, (N,) float64.
        start_seed: of all random starts.
        direct: reconstructs directly.
        weights: of the rays, like y; None if all are alike. sigma_y is that of weight 1.
    """

    sinograms: SinogramSet
    operator: LinearOperator
    sigma_y: Tensor
    start_seed: int
    direct: DirectReconstruction
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sinograms)

    def noise(self) -> float:
        """See `Measurements`."""
        return float(self.sigma_y.mean())

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
                direct=self.direct.of(y),
                start_seeds=_start_seeds(self.start_seed, self.sinograms.seeds[rows]),
                weights=None if self.weights is None else self.weights[rows].to(y.device),
                first=rows.start,
                direct_name=self.direct.name,
            )


def _slices(count: int, size: int, wanted: Container[int] | None) -> list[slice]:
    slices = [slice(first, first + size) for first in range(0, count, size)]
    return [rows for n, rows in enumerate(slices) if wanted is None or n in wanted]


def _start_seeds(seed: int, images: Sequence[int]) -> tuple[int, ...]:
    return tuple(image_seed(seed, Stream.START, image) for image in images)
