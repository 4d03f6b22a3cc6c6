"""From a `ReconstructConfig` to measurements: images or sinograms, their geometry and noise."""

from dataclasses import replace
from math import ceil, radians, sqrt

import torch

from gnclightning.build_ldct import build_slice_images
from gnclightning.build_operator import build_direct
from gnclightning.build_scan import build_weights
from gnclightning.config import ReconstructConfig
from gnclightning.config.geometry import MOST_RAYS, GeometryConfig
from gnclightning.config.images import (
    DemoDataConfig,
    EllipsesDataConfig,
    FolderDataConfig,
    LDCTDataConfig,
    SinogramDataConfig,
    UnseenDataConfig,
)
from gnclightning.config.operator import ProjectionConfig
from gnclightning.data.ellipses_file import PhantomSet, load_phantoms
from gnclightning.data.folder import read_images
from gnclightning.data.images import ImageSet
from gnclightning.data.intensity import IntensityMapping
from gnclightning.data.samples import demo_images
from gnclightning.data.sinogram_files import read_sinograms
from gnclightning.data.sinograms import SinogramSet
from gnclightning.data.unseen import unseen_images
from gnclightning.errors import UserError
from gnclightning.memory import check_memory
from gnclightning.operators import FanBeam2D, LinearOperator, ParallelBeam2D, PlanarGeometry
from gnclightning.reconstruction.measurement import Measured, Measurements, Simulated
from gnclightning.sde import SDE


def build_source(
    config: ReconstructConfig, rejected: dict[str, str] | None = None
) -> ImageSet | SinogramSet:
    """The images of the run, or measured sinograms as they are stored, checked.

    Args:
        config: the settings.
        rejected: takes the names of what cannot be used in own files, with the reason.
    """
    data = config.data
    if isinstance(data, SinogramDataConfig):
        return read_sinograms(
            data.path,
            data.count,
            data.key,
            flat=data.flat,
            dark=data.dark,
            least_transmission=data.least_transmission,
            truth=data.truth,
            attributes=data.attributes,
            rejected=rejected,
        )
    return build_images(config, rejected)


def with_last_time(
    config: ReconstructConfig, measurements: Measurements, operator: LinearOperator, sde: SDE
) -> ReconstructConfig:
    """The settings with a smallest time for the noise level, if none is given.

    That of projections follows their relative noise. Otherwise it is the time of the SDE whose
    images are as noisy as pixels that the adjoint makes of noise, sigma_y over the norm of a column
    of A.
    """
    solver = config.solver
    if solver.t_min is not None:
        return config
    if isinstance(config.operator, ProjectionConfig):
        time = solver.time_for(measurements.relative_noise())
    else:
        noise = torch.tensor([measurements.noise() / sqrt(operator.mean_gain())])
        time = solver.time_near(float(sde.time_of(noise)))
    return replace(config, solver=replace(solver, t_min=time))


def build_images(config: ReconstructConfig, rejected: dict[str, str] | None = None) -> ImageSet:
    """The images of the run, checked; see `build_source`."""
    arrays = 2 + len(config.methods)  # in memory for each image: the truth, and of each method one
    match config.data:
        case DemoDataConfig(count=count):
            check_memory(arrays * count * 128**2 * 4, f"{count} images (data.count)")
            return demo_images(count)
        case EllipsesDataConfig(count=count, size=size, split=split, start=start, file=file):
            what = f"{count} images of {size}x{size} pixels (data.count, data.size)"
            check_memory(arrays * count * size**2 * 4, what)
            indices = range(start, start + count)
            which = PhantomSet(count, size, split, start)
            stack = torch.from_numpy(which.make() if file is None else load_phantoms(file, which))
            return ImageSet(
                stack[:, None], tuple(f"ellipses[{n}]" for n in indices), tuple(indices)
            )
        case UnseenDataConfig(count=count, size=size):
            check_memory(arrays * count * size**2 * 4, f"{count} images (data.count, data.size)")
            return unseen_images(count, size)
        case FolderDataConfig(path=path, count=count, key=key):
            mapping = IntensityMapping(config.data.range, config.data.clip)
            return read_images(path, count, key, mapping, rejected)
        case LDCTDataConfig():
            return build_slice_images(config.data, config.progress)
        case _:
            pass
    raise AssertionError(config.data)


def build_geometry(
    config: GeometryConfig, image_shape: tuple[int, int], source: ImageSet | SinogramSet
) -> PlanarGeometry:
    """The geometry; what is not given of the detector sees the whole image.

    Raises:
        UserError: measured sinograms do not have its shape.
    """
    config = config.filled()
    assert config.angles is not None
    if config.beam == "fan":
        assert config.source_distance is not None
        assert config.detector_distance is not None
        geometry = FanBeam2D.for_image(
            image_shape,
            config.angles,
            *config.lengths,
            source_distance=config.source_distance,
            detector_distance=config.detector_distance,
        )
    else:
        geometry = ParallelBeam2D.for_image(image_shape, config.angles, *config.lengths)
    if config.degrees is not None or config.arc is not None:
        angles = tuple(radians(angle) for angle in config.given_degrees or ())
        geometry = replace(geometry, angles=angles)
    measured = isinstance(source, SinogramSet)
    count, spacing = config.detector_count, config.detector_spacing
    if count is None and spacing is not None:
        if measured:
            source.check_shape(len(geometry.angles), None)
            count = source.detectors
        else:
            count = _bins(geometry, spacing)
    if count is not None:
        geometry = replace(
            geometry,
            detector_count=count,
            detector_spacing=spacing or geometry.covering_width / count,
        )
    geometry = replace(geometry, detector_offset=config.detector_offset or 0.0)
    return geometry


def _bins(geometry: PlanarGeometry, spacing: float) -> int:
    """As many as see the whole image."""
    width = geometry.covering_width
    bins = width / spacing
    if not bins <= MOST_RAYS:
        raise UserError(
            f"expected geometry.detector_spacing of at least {width / MOST_RAYS:.3g} "
            f"{geometry.unit}, which gives {MOST_RAYS} bins across the image, got {spacing:g}"
        )
    return ceil(bins)


def build_measurements(
    config: ReconstructConfig, source: ImageSet | SinogramSet, operator: LinearOperator
) -> Measurements:
    """What measures the images, or has measured them."""
    noise, size = config.noise, config.geometry.lengths[0]
    start_seed = config.seed if config.start_seed is None else config.start_seed
    direct = build_direct(config, operator)
    if isinstance(source, ImageSet):
        return Simulated(
            source,
            operator,
            relative=noise.relative if noise.absolute is None else None,
            absolute=None if noise.absolute is None else noise.absolute / size,
            noise_seed=config.seed if noise.seed is None else noise.seed,
            start_seed=start_seed,
            direct=direct,
        )
    assert isinstance(config.data, SinogramDataConfig)
    if noise.absolute is None:
        assert noise.relative is not None
        sigma_y = noise.relative * source.magnitudes
    else:
        level = noise.absolute / (size * config.data.white)
        sigma_y = torch.full((len(source),), level, dtype=torch.float64)
    weights = build_weights(config, source)
    return Measured(source, operator, sigma_y, start_seed, direct, weights)
