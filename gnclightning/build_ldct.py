"""From the settings of DICOM series to converted, split slices."""

from pathlib import Path

import torch

from gnclightning import __version__
from gnclightning.config.images import LDCTDataConfig
from gnclightning.config.ldct import LDCTConfig
from gnclightning.config.operator import ProjectionConfig
from gnclightning.config.reconstruct import ReconstructConfig
from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.cache_file import Cache
from gnclightning.data.dicom.dataset import CachedSlices
from gnclightning.data.dicom.derived import Origin, write_derived_series
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.split import PatientSplit, split_patients
from gnclightning.data.dicom.volume import write_volumes
from gnclightning.data.images import ImageSet
from gnclightning.errors import UserError
from gnclightning.reconstruction.dicom_series import SliceSeries, Write
from gnclightning.reconstruction.folder import DICOM, NIFTI
from gnclightning.reconstruction.records import label


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
        config.plane,
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
    cache, numbers = _chosen(config, progress)
    stack = CachedSlices(cache, list(numbers.values())).stack()
    names = tuple(_name(cache, number, k) for k, number in numbers.items())
    return ImageSet(stack.to(torch.float32), names, tuple(numbers))


def build_slice_series(config: ReconstructConfig, folder: Path) -> list[SliceSeries]:
    """What writes the reconstructions of slices into the run folder, as far as it is wanted."""
    if not (config.output_dicom or config.output_nifti):
        return []
    assert isinstance(config.data, LDCTDataConfig)
    cache, numbers = _chosen(config.data, progress=False)
    sources = {_name(cache, n, k): cache.slices[n] for k, n in numbers.items()}
    root, process, origin = Path(config.data.path), cache.process, _origin(config)
    writers: dict[str, Write] = {}
    if config.output_dicom:
        writers[DICOM] = lambda to, slices, images: write_derived_series(
            to, root, slices, images, process, origin
        )
    if config.output_nifti:
        writers[NIFTI] = lambda to, slices, images: write_volumes(to, root, slices, images, process)
    solver = config.solver.name
    return [SliceSeries(folder, name, sources, solver, write) for name, write in writers.items()]


def _origin(config: ReconstructConfig) -> Origin:
    """What derived DICOM series say of themselves."""
    noise = config.noise
    level = (
        f"relative level {noise.relative:g}" if noise.absolute is None else f"{noise.absolute:g}"
    )
    solver = config.solver.name
    measured, short = _measured(config)
    derivation = (
        f"{measured} of the source image simulated (noise of {level}) and "
        f"reconstructed: {solver}, prior {Path(config.prior.path).name}, "
        f"gnclightning {__version__}. For research, not for diagnosis."
    )
    return Origin(
        series=f"{_described(solver)}, {short}",
        derivation=derivation.encode("ascii", "replace").decode()[:1024],
        version=__version__,
    )


def _measured(config: ReconstructConfig) -> tuple[str, str]:
    """What was measured, in words and in few."""
    operator, geometry = config.operator, config.geometry
    if not isinstance(operator, ProjectionConfig):
        kind = operator.name.replace("_", " ")
        return f"Measurement ({kind})", kind
    beam = str(geometry.beam).capitalize()
    return f"{beam}-beam sinogram ({geometry.angles} angles)", f"{geometry.angles} views"


def _described(solver: str) -> str:
    name, kind = solver.replace("_", " "), label(solver)
    return name if name == kind else f"{kind} {name}"


def _chosen(config: LDCTDataConfig, progress: bool) -> tuple[Cache, dict[int, int]]:
    """The cache, and of each slice its number within the split with that in the cache."""
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
    return cache, {k: numbers[k] for k in range(config.start, stop)}


def _name(cache: Cache, number: int, place: int) -> str:
    return f"{cache.slices[number].patient}[{place}]"
