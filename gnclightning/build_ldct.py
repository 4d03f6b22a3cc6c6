"""From the settings of DICOM series to converted, split slices."""

import torch

from gnclightning.config.ldct import LDCTConfig
from gnclightning.config.reconstruct import LDCTDataConfig
from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.cache_file import Cache
from gnclightning.data.dicom.dataset import CachedSlices
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.split import PatientSplit, split_patients
from gnclightning.data.images import ImageSet
from gnclightning.errors import UserError


def build_preprocessing(config: LDCTConfig) -> Preprocessing:
    """What is done to each slice."""
    low, high = config.window
    return Preprocessing(
        size=config.size,
        dequantise=config.dequantise,
        intensity=config.intensity,
        window=(low, high),
        antialias=config.antialias,
        seed=config.seed,
    )


def build_slices(config: LDCTConfig, progress: bool) -> tuple[Cache, PatientSplit]:
    """The converted slices, converted now if need be, and whose they are."""
    cache = open_cache(
        config.path,
        config.cache,
        build_preprocessing(config),
        config.series,
        config.conversion_workers,
        progress,
    )
    validation, test = config.validation_patients, config.test_patients
    split = split_patients(
        cache.patients,
        config.validation_fraction if validation is None else validation,
        config.test_fraction if test is None else test,
        config.seed,
    )
    return cache, split


def build_slice_images(config: LDCTDataConfig, progress: bool) -> ImageSet:
    """Slices to reconstruct; an image's seed is its number among those of its split."""
    cache, split = build_slices(config, progress)
    patients: tuple[str, ...] = getattr(split, config.split)
    numbers = cache.select(patients)
    stop = len(numbers) if config.count is None else config.start + config.count
    if not config.start < stop <= len(numbers):
        raise UserError(
            f"expected slices {config.start} to {stop - 1} of the {config.split} patients "
            f"({', '.join(patients) or 'none'}), got {len(numbers)} slices: lower data.start or "
            "data.count, or choose another data.split"
        )
    chosen = range(config.start, stop)
    stack = CachedSlices(cache, [numbers[k] for k in chosen]).stack()
    names = tuple(f"{cache.slices[numbers[k]].patient}[{k}]" for k in chosen)
    return ImageSet(stack.to(torch.float32), names, tuple(chosen))
