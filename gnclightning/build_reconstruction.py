"""From a `ReconstructConfig` to all that a run needs, checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.build_baselines import check_baselines
from gnclightning.build_ldct import build_preprocessing
from gnclightning.build_measurement import build_geometry, build_measurements, with_last_time
from gnclightning.build_methods import build_baselines, build_method, build_sweep
from gnclightning.build_operator import build_operator
from gnclightning.build_scan import find_centre, with_noise_level
from gnclightning.config import ReconstructConfig
from gnclightning.config.images import FolderDataConfig, LDCTDataConfig, SinogramDataConfig
from gnclightning.config.operator import ProjectionConfig
from gnclightning.config.solver import GraduatedConfig, SolverConfig
from gnclightning.data.dicom.volume import check_nibabel
from gnclightning.data.images import ImageSet
from gnclightning.data.sinograms import SinogramSet
from gnclightning.diagnostics import Inspection
from gnclightning.errors import UserError
from gnclightning.memory import check_memory
from gnclightning.operators import LinearOperator, PlanarGeometry, RotationCentre
from gnclightning.priors import NetworkPrior, PriorMetadata, from_pretrained
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.batch_size import BatchLimit, fitting_batch_size
from gnclightning.reconstruction.certification import join
from gnclightning.reconstruction.checks import (
    check_mapping,
    check_pixel_size,
    check_prior,
    check_size,
    check_times,
    check_zero,
)
from gnclightning.reconstruction.measurement import Measurements, unusable
from gnclightning.reconstruction.preflight import Probe, probe
from gnclightning.reconstruction.resuming import fingerprint
from gnclightning.reconstruction.starts import RandomStarts
from gnclightning.tensors import full_float32
from gnclightning.tracking import effective_mode


@dataclass(frozen=True)
class Ready:
    """What a run needs, checked.

    Attributes:
        config: the settings, with the noise level, the smallest time and the batch size that data
            and memory decide.
        geometry: of the sinograms, in their own unit of length; None without projections.
        operator: A.
        metadata: the description of the prior.
        measurements: what gives the measured batches.
        methods: the baselines, then the solver.
        probe: what a first image told of operator, gradients and costs.
        centre: the estimate of the centre of rotation, if it was asked for.
        limit: how many images the solver iterates together, for the runner.
        inputs: checksums of prior and data.
        source: the images or sinograms that can be used.
    """

    config: ReconstructConfig
    source: ImageSet | SinogramSet
    geometry: PlanarGeometry | None
    operator: LinearOperator
    metadata: PriorMetadata
    measurements: Measurements
    methods: list[methods.Method]
    probe: Probe
    centre: RotationCentre | None
    limit: BatchLimit
    inputs: dict[str, str]


def prepare(
    config: ReconstructConfig,
    source: ImageSet | SinogramSet,
    device: torch.device,
    geometry: PlanarGeometry | None = None,
    processes: int = 1,
    rejected: dict[str, str] | None = None,
) -> Ready:
    """Build everything and check it, down to the gradient of the objective at the first start.

    Args:
        config: the settings.
        source: images to measure, or measured sinograms divided by the unit of their images.
        device: to compute on.
        geometry: of the sinograms; None takes it from the settings.
        processes: that share the memory of this machine.
        rejected: takes the names of images that turn out to be unusable, with the reason; they are
            left out. None: they are an error.

    Raises:
        UserError: the prior, the data, the geometry or the settings do not fit each other.
    """
    prior, metadata = build_prior(config, source)
    centre = find_centre(config, source)
    data = source.images if isinstance(source, ImageSet) else source.sinograms
    inputs = fingerprint(prior, data, source.names)
    if geometry is None and isinstance(config.operator, ProjectionConfig):
        geometry = build_geometry(config.geometry, metadata.image_shape, source)
    if geometry is not None:
        geometry = _fitting(geometry, source, centre)
        check_size(metadata, config.prior.path, geometry.image_shape)
    operator = build_operator(config, geometry, metadata.image_shape, device)
    if bad := unusable(source, operator):
        source = source.without(bad)
        if rejected is None:
            raise UserError(next(iter(bad.values())))
        rejected |= bad
    config = with_noise_level(config, source)
    check_baselines(config, prior)
    measurements = build_measurements(config, source, operator)
    config = with_last_time(config, measurements, operator, prior.sde)
    check_solver_times(config.solver, prior, config.prior.path)
    solver = build_method(config, operator, prior.to(device), metadata)
    with full_float32():
        found = probe(operator, solver, next(measurements.batches(1)))
    if config.batch_size == "auto":
        fitting = fitting_batch_size(found.image_bytes, found.shared_bytes, device, processes)
        config = replace(config, batch_size=fitting)
    limit = BatchLimit(config.rows_at_once)
    solver = replace(solver, limit=limit, inspect=_in_parts(solver.inspect, limit))
    chosen = [
        *build_baselines(config, operator, prior, metadata, limit),
        *build_sweep(config, operator, prior, metadata, limit),
        solver,
    ]
    if config.starts > 1:
        chosen[-1] = RandomStarts(solver, config.starts, operator)
    return Ready(
        config,
        source,
        geometry,
        operator,
        metadata,
        measurements,
        chosen,
        found,
        centre,
        limit,
        inputs,
    )


def _fitting(
    geometry: PlanarGeometry, source: ImageSet | SinogramSet, centre: RotationCentre | None
) -> PlanarGeometry:
    """The geometry with its centre of rotation; its sinograms fit what was read, and memory."""
    if centre is not None:
        geometry = replace(geometry, detector_offset=centre.offset * geometry.detector_spacing)
    if isinstance(source, SinogramSet):
        source.check_shape(*geometry.range_shape)
        source.check_images(geometry.image_shape)
    sinograms = len(source) * geometry.detector_count * len(geometry.angles)
    check_memory(2 * sinograms * 4, f"{len(source)} sinograms (geometry.angles, detector bins)")
    return geometry


def check_slices(config: ReconstructConfig) -> None:
    """Refuse CT slices that are not made for the prior before they are made, which takes long."""
    data, path = config.data, config.prior.path
    if not isinstance(data, LDCTDataConfig):
        return
    if config.output_nifti:
        check_nibabel()
    _, metadata = from_pretrained(path)
    if data.size is not None:
        remedy = f"give data.size={metadata.image_shape[0]}"
        check_size(metadata, path, (data.size, data.size), remedy)
    ends = build_preprocessing(data).hounsfield_range
    check_mapping(metadata, path, ends, "data.intensity and data.window, HU")


def _in_parts(
    look: Callable[[Tensor], Inspection] | None, limit: BatchLimit
) -> Callable[[Tensor], Inspection] | None:
    """The same inspection, of as many images at once as fit into memory."""
    if look is None:
        return None
    return lambda x: join([look(part) for part in x.split(limit.size)])


def build_device(name: str, rank: int | None = None) -> torch.device:
    """The device to compute on; processes of a rank on this machine have one each."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "expected a CUDA device for device=cuda, PyTorch finds none: give device=cpu, or "
            "install a PyTorch build for this GPU"
        )
    if name == "cuda" and rank is not None:
        return torch.device(name, rank % torch.cuda.device_count())
    return torch.device(name)


def build_prior(
    config: ReconstructConfig, source: ImageSet | SinogramSet
) -> tuple[NetworkPrior, PriorMetadata]:
    """The prior, fit for these images, and its description.

    Measured sinograms are those of images of whatever size the prior was trained on.
    """
    path = config.prior.path
    prior, metadata = from_pretrained(path)
    shape = source.shape if isinstance(source, ImageSet) else metadata.image_shape
    check_prior(prior, metadata, path, shape)
    match config.data:
        case FolderDataConfig(range=ends):
            check_mapping(metadata, path, ends, "data.range")
        case SinogramDataConfig():
            check_zero(metadata, path)
        case _:
            pass
    check_pixel_size(metadata, path, *config.geometry.lengths)
    return prior, metadata


def check_solver_times(solver: SolverConfig, prior: NetworkPrior, path: str) -> None:
    """Raise `UserError` unless the prior can be evaluated at the solver's times."""
    times = {"solver.t_min": solver.last_time}
    if isinstance(solver, GraduatedConfig):
        times["solver.t_max"] = solver.t_max
    check_times(prior.sde, path, times)


def effective_config(
    config: ReconstructConfig, geometry: PlanarGeometry | None, device: torch.device
) -> ReconstructConfig:
    """The settings with what stood in for those left out; they give the same run again.

    The weight of total variation stays null, as it follows each image's own noise level, and so do
    the seeds that follow `seed`, so that another `seed` changes them.
    """
    alpha = config.alpha
    if alpha.from_noise:
        gain = config.solver.alpha_gain if alpha.gain is None else alpha.gain
        alpha = replace(alpha, value=alpha.weight, gain=gain)
    data = config.data
    if isinstance(data, SinogramDataConfig):
        data = replace(data, attributes=False)  # the geometry below holds what they say
    operator, described = config.operator, config.geometry
    if isinstance(operator, ProjectionConfig):
        operator = replace(operator, backend=operator.resolved)
    if geometry is not None:
        described = replace(
            described,
            angles=len(geometry.angles),
            detector_count=geometry.detector_count,
            detector_spacing=geometry.detector_spacing,
            detector_offset=geometry.detector_offset,
            find_offset=False,
        )
    return replace(
        config,
        device=device.type,
        data=data,
        alpha=alpha,
        operator=operator,
        geometry=described,
        logger=replace(config.logger, mode=effective_mode(config.logger.mode)),
    )
