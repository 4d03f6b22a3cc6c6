"""From a `ReconstructConfig` to a run folder: checks and builds everything, then runs it."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from math import ceil, hypot
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from gnclightning.build_ldct import build_preprocessing, build_slice_images
from gnclightning.build_solver import build_alpha, build_solver
from gnclightning.config import ReconstructConfig, save
from gnclightning.config.reconstruct import (
    MOST_RAYS,
    DemoDataConfig,
    EllipsesDataConfig,
    FolderDataConfig,
    GeometryConfig,
    LDCTDataConfig,
)
from gnclightning.config.solver import GraduatedConfig, PreconditionedConfig, SolverConfig
from gnclightning.data.ellipses import phantoms
from gnclightning.data.folder import read_images
from gnclightning.data.images import ImageSet
from gnclightning.data.intensity import IntensityMapping
from gnclightning.data.samples import demo_images
from gnclightning.diagnostics import check_gradient, inspect
from gnclightning.errors import UserError
from gnclightning.files import replacing
from gnclightning.memory import check_memory
from gnclightning.objectives import Alpha, GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import EnergyPrior, NetworkEnergy, PriorMetadata, ScaledPrior, load_prior
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.checks import (
    check_mapping,
    check_pixel_size,
    check_prior,
    check_times,
)
from gnclightning.reconstruction.folder import CONFIG, choose_folder, create_folder
from gnclightning.reconstruction.measurement import Scanner
from gnclightning.reconstruction.progress import ProgressBar
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.tracking import Tracking
from gnclightning.reconstruction.writers import RunFolder, Units, estimate_size
from gnclightning.tensors import full_float32
from gnclightning.tracking import check_mode, effective_mode, open_logger

_ARRAYS = 4
"""Images in memory for each image of a run: the truth and what three methods make of it."""


def run_reconstruction(config: ReconstructConfig) -> None:
    """Measure and reconstruct as configured; prints a table and fills the run folder.

    Raises:
        UserError: anything that the configuration, the prior, the data or the run folder get
            wrong; before any work.
        OSError: a file cannot be read or written.
    """
    folder = choose_folder(config.output, config.overwrite)
    device = build_device(config.device)
    check_mode(config.logger.mode)
    images = build_images(config)
    geometry = build_geometry(config.geometry, images)
    prior, metadata = build_prior(config, images)
    _check_tv(config)
    sinograms = len(images) * geometry.detector_count * len(geometry.angles)
    check_memory(2 * sinograms * 4, f"{len(images)} sinograms (geometry.angles, detector bins)")
    # Within a run lengths are in pixels: steps, weights and safeguards do not depend on a unit.
    operator = Radon(geometry.in_pixels()).to(device)
    solver = build_method(config, operator, prior.to(device), metadata)
    chosen = [*build_baselines(config, operator), solver]
    scanner = build_scanner(config, operator)
    scanner.check(images)
    with full_float32():
        first = next(scanner.batches(images, 1))
        check_gradient(solver.objective(first), solver.start(first))
    size = estimate_size(len(images), geometry, len(chosen), config.solver.steps)
    create_folder(folder, size)
    effective = effective_config(config, geometry, device)
    with replacing(folder / CONFIG) as temporary:
        save(effective, temporary)
    units = Units(metadata.intensity_unit, config.geometry.unit)
    observers = [
        RunFolder(folder, geometry, units, len(images), device),
        *_console_observers(effective, folder, len(images)),
    ]
    with full_float32():
        run(scanner.batches(images, config.batch_size), chosen, observers)


def build_device(name: str) -> torch.device:
    """The device to compute on."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "expected a CUDA device for device=cuda, PyTorch finds none: give device=cpu, or "
            "install a PyTorch build for this GPU"
        )
    return torch.device(name)


def build_images(config: ReconstructConfig) -> ImageSet:
    """The images of the run, checked."""
    match config.data:
        case DemoDataConfig(count=count):
            check_memory(_ARRAYS * count * 128**2 * 4, f"{count} images (data.count)")
            return demo_images(count)
        case EllipsesDataConfig(count=count, size=size, split=split, start=start):
            what = f"{count} images of {size}x{size} pixels (data.count, data.size)"
            check_memory(_ARRAYS * count * size**2 * 4, what)
            indices = range(start, start + count)
            stack = torch.from_numpy(phantoms(indices, 0, split, size))
            return ImageSet(stack, tuple(f"ellipses[{n}]" for n in indices), tuple(indices))
        case FolderDataConfig(path=path, count=count, key=key):
            return read_images(
                path, count, key, IntensityMapping(config.data.range, config.data.clip)
            )
        case LDCTDataConfig():
            return build_slice_images(config.data, config.progress)
    raise AssertionError(config.data)


def build_geometry(config: GeometryConfig, images: ImageSet) -> ParallelBeam2D:
    """The geometry; what is not given of the detector covers the image's diagonal."""
    rows, columns = images.images.shape[-2:]
    covering = ParallelBeam2D.for_image(
        (rows, columns), config.angles, config.pixel_size, config.unit
    )
    count, spacing = config.detector_count, config.detector_spacing
    diagonal = hypot(rows, columns) * config.pixel_size
    if count is None and spacing is None:
        return covering
    if count is None:
        assert spacing is not None
        bins = diagonal / spacing
        if not bins <= MOST_RAYS:
            raise UserError(
                f"expected geometry.detector_spacing of at least {diagonal / MOST_RAYS:.3g} "
                f"{config.unit}, which gives {MOST_RAYS} bins across the image, got {spacing:g}"
            )
        count = ceil(bins)
    return replace(covering, detector_count=count, detector_spacing=spacing or diagonal / count)


def build_prior(config: ReconstructConfig, images: ImageSet) -> tuple[NetworkEnergy, PriorMetadata]:
    """The prior, fit for these images and the solver's times, and its description."""
    path, solver = config.prior.path, config.solver
    loaded, metadata = load_prior(path)
    prior = check_prior(loaded, metadata, path, images)
    match config.data:
        case FolderDataConfig(range=ends):
            check_mapping(metadata, path, ends, "data.range")
        case LDCTDataConfig():
            ends = build_preprocessing(config.data).hounsfield_range
            check_mapping(metadata, path, ends, "data.intensity and data.window, HU")
        case _:
            pass
    check_pixel_size(metadata, path, config.geometry.pixel_size, config.geometry.unit)
    times = {"t_min": solver.last_time}
    if isinstance(solver, GraduatedConfig):
        times["t_max"] = solver.t_max
    check_times(prior.sde, path, **times)
    return prior, metadata


def effective_config(
    config: ReconstructConfig, geometry: ParallelBeam2D, device: torch.device
) -> ReconstructConfig:
    """The settings with what stood in for those left out; they give the same run again.

    The weight of total variation stays null, as it follows each image's own noise level, and so do
    the seeds that follow `seed`, so that another `seed` changes them.
    """
    alpha = config.alpha
    if alpha.rule == "auto":
        gain = config.solver.alpha_gain if alpha.gain is None else alpha.gain
        alpha = replace(alpha, value=alpha.weight, gain=gain)
    return replace(
        config,
        device=device.type,
        alpha=alpha,
        geometry=replace(
            config.geometry,
            detector_count=geometry.detector_count,
            detector_spacing=geometry.detector_spacing,
        ),
        logger=replace(config.logger, mode=effective_mode(config.logger.mode)),
    )


def build_baselines(config: ReconstructConfig, operator: Radon) -> list[methods.Method]:
    """The methods to compare the solver with."""
    chosen: list[methods.Method] = []
    if "fbp" in config.methods:
        chosen.append(methods.FilteredBackProjection(operator.geometry, config.fbp.filter))
    if "tv" in config.methods:
        chosen.append(methods.TotalVariation(operator, config.tv.weight, config.tv.iterations))
    return chosen


def build_method(
    config: ReconstructConfig, operator: Radon, prior: NetworkEnergy, metadata: PriorMetadata
) -> methods.GraduatedSolver:
    """The solver with its objective, and what inspects the prior if that is asked for."""
    solver = config.solver
    regulariser = ScaledPrior(prior, prior.sde) if config.prior.evaluate_at == "scaled" else prior
    alpha = build_alpha(config.alpha, prior, solver, operator)
    full = config.certificate.level == "full"
    return methods.GraduatedSolver(
        name=solver.name,
        solver=build_solver(solver),
        objective=build_objective(solver, operator, regulariser, alpha),
        mean_steps=solver.mean_steps,
        start=methods.fbp_start if config.start == "fbp" else methods.random_start,
        denoise=solver.final_denoising,
        symmetric=metadata.symmetric,
        inspect=(lambda x: inspect(regulariser, x, solver.last_time)) if full else None,
    )


def build_objective(
    solver: SolverConfig,
    operator: Radon,
    regulariser: EnergyPrior,
    alpha: Callable[[Tensor], Alpha],
) -> Callable[[MeasuredBatch], GraduatedObjective]:
    """What gives a measured batch its objective."""
    more: dict[str, Any] = {}
    if isinstance(solver, PreconditionedConfig):
        more = {"damping": solver.damping, "cg_steps": solver.cg_steps}
    return lambda measured: GraduatedObjective(
        operator,
        measured.y,
        regulariser,
        alpha(measured.sigma_y),
        solver.last_time,
        sigma_y=measured.sigma_y,
        **more,
    )


def build_scanner(config: ReconstructConfig, operator: Radon) -> Scanner:
    """What measures the images."""
    noise = config.noise
    return Scanner(
        operator,
        relative=noise.relative if noise.absolute is None else None,
        absolute=None if noise.absolute is None else noise.absolute / config.geometry.pixel_size,
        noise_seed=config.seed if noise.seed is None else noise.seed,
        start_seed=config.seed if config.start_seed is None else config.start_seed,
        filter=config.fbp.filter,
    )


def _console_observers(config: ReconstructConfig, folder: Path, images: int) -> list[Observer]:
    """Progress bar, table and tracking, as far as they are wanted."""
    messages = Console(stderr=True)
    observers: list[Observer] = []
    if config.progress:
        observers.append(ProgressBar(images, config.solver.steps, messages))
    observers.append(FinalTable(folder, Console()))
    if config.logger.mode != "disabled":
        observers.append(_tracking(config, folder, images, messages))
    return observers


def _tracking(config: ReconstructConfig, folder: Path, images: int, messages: Console) -> Tracking:
    logger = config.logger
    name = logger.name or folder.resolve().name
    return Tracking(
        partial(open_logger, logger.mode, logger.project, name, folder),
        asdict(config),
        images,
        config.batch_size,
        logger.images_every,
        messages,
    )


def _check_tv(config: ReconstructConfig) -> None:
    """Without noise, the noise level gives total variation no weight."""
    if "tv" in config.methods and config.tv.weight is None and config.noise.level == 0:
        raise UserError(
            "tv.weight=null derives the weight from the noise level, which is 0: give "
            "tv.weight=NUMBER, or leave tv out with methods=[fbp]"
        )
