"""A Lightning data module for converted CT slices."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from gnclightning.data.dicom.cache_file import Cache
from gnclightning.data.dicom.dataset import CachedSlices
from gnclightning.data.dicom.split import PatientSplit
from gnclightning.errors import UserError
from gnclightning.priors import PIXEL_SIZES, RANGE, PriorMetadata
from gnclightning.training.data import ImageDataModule, shuffled


class LDCTDataModule(ImageDataModule):
    """Slices of a cache, those of the training patients shuffled anew for each pass.

    Training images are read when they are needed, validation images at once.

    Args:
        cache: the converted slices.
        split: whose slices are for what.
        batch_size: images per batch.
        validation_count: images to validate on, evenly spaced among those of the validation
            patients; None for all.
        workers: see `ImageDataModule`.
        seed: of the order of training.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        cache: Cache,
        split: PatientSplit,
        batch_size: int,
        validation_count: int | None = None,
        workers: int = 0,
        seed: int = 0,
    ):
        if seed < 0:
            raise UserError(f"expected a seed of at least 0, got {seed}")
        if validation_count is not None and validation_count < 1:
            raise UserError(f"expected at least 1 validation image, got {validation_count}")
        training, validation = (cache.select(names) for names in (split.train, split.validation))
        if validation_count is not None:
            count = min(validation_count, len(validation))
            # The middles of `count` equal parts.
            places = ((np.arange(count) + 0.5) * len(validation) / count).astype(int)
            validation = [validation[place] for place in places]
        sets = {"training": training, "validation": validation}
        files = {name: [cache.slices[n].file for n in numbers] for name, numbers in sets.items()}
        # The cache's name tells files of other contents, and other options, apart.
        made_of = json.dumps([cache.path.stem, files]).encode()
        self._identity = {
            **{name: len(numbers) for name, numbers in sets.items()},
            "hash": hashlib.sha256(made_of).hexdigest(),
        }
        self._process = cache.process
        self._pixel_sizes = [cache.pixel_size(number) for number in training]
        super().__init__(
            CachedSlices(cache, training),
            partial(shuffled, len(training), seed),
            len(training),
            CachedSlices(cache, validation).stack(),
            batch_size,
            workers,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Of the cache, and of the files of either set in their order."""
        return self._identity

    def describe(self, metadata: PriorMetadata) -> PriorMetadata:
        """Add units of intensity and length; scanners' pixels differ, so theirs is the median."""
        sizes = self._pixel_sizes
        more = {
            RANGE: self._process.hounsfield_range,
            PIXEL_SIZES: (min(sizes), max(sizes)),
        }
        return replace(
            metadata,
            intensity_unit=self._process.unit,
            pixel_size=median(sizes),
            length_unit="mm",
            training={**metadata.training, **more},
        )
