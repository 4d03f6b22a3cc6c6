"""Simulated measurements, with random streams that belong to the image and to nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

from gnclightning.data.images import ImageSet
from gnclightning.errors import UserError
from gnclightning.operators import FilterName, Radon, add_noise, fbp
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


@dataclass(frozen=True)
class Scanner:
    """Simulates sinograms y = A x + noise, and filters them back.

    Attributes:
        operator: A.
        relative: noise level as a part of mean |A x|, or None.
        absolute: noise level in sinogram units, or None; one of the two is given.
        noise_seed: of all noise.
        start_seed: of all random starts.
        filter: of the filtered back-projection.
    """

    operator: Radon
    relative: float | None
    absolute: float | None
    noise_seed: int
    start_seed: int
    filter: FilterName

    def check(self, images: ImageSet) -> None:
        """Raise `UserError` if the detector sees nothing of an image; costs one A for each."""
        for name, image in zip(images.names, images.images, strict=True):
            if not bool(self.operator(image.to(self.operator.device)).any()):
                raise UserError(
                    f"image {name}: expected a detector that sees it, got a sinogram of zeros: "
                    "leave geometry.detector_count and geometry.detector_spacing out"
                )

    def batches(self, images: ImageSet, size: int) -> Iterator[MeasuredBatch]:
        """Measure `size` images at a time, on the operator's device."""
        for first in range(0, len(images), size):
            rows = slice(first, first + size)
            yield self._measure(
                images.names[rows],
                images.images[rows].to(self.operator.device),
                images.seeds[rows],
            )

    def _measure(
        self, names: tuple[str, ...], truth: torch.Tensor, seeds: tuple[int, ...]
    ) -> MeasuredBatch:
        noise_seeds = [image_seed(self.noise_seed, Stream.NOISE, seed) for seed in seeds]
        y, sigma_y = add_noise(
            self.operator(truth),
            relative=self.relative,
            absolute=self.absolute,
            seeds=noise_seeds,
        )
        return MeasuredBatch(
            names=names,
            truth=truth,
            y=y,
            sigma_y=sigma_y,
            fbp=fbp(y, self.operator.geometry, self.filter),
            start_seeds=tuple(image_seed(self.start_seed, Stream.START, seed) for seed in seeds),
        )
