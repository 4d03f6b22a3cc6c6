"""From a `TrainConfig` to a trained prior: builds everything, then lets Lightning run it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console

from gnclightning import memory
from gnclightning.build_ldct import build_slices
from gnclightning.build_prior import build_prior, build_teacher
from gnclightning.build_resumption import kept_settings, load_resumable
from gnclightning.build_trainer import LAST, build_trainer
from gnclightning.config import TrainConfig, save
from gnclightning.config.train import (
    EllipsesTrainDataConfig,
    FolderTrainDataConfig,
    LDCTTrainDataConfig,
    LognormalTimesConfig,
    LogUniformTimesConfig,
    PowerTimesConfig,
    TimeSamplingConfig,
)
from gnclightning.data.intensity import IntensityMapping
from gnclightning.errors import UserError
from gnclightning.losses import LognormalTimes, LogUniformTimes, PowerTimes, TimeSampling
from gnclightning.priors import FILE, NetworkPrior, from_pretrained
from gnclightning.reconstruction.folder import probe_folder
from gnclightning.tracking import check_mode, define_panels
from gnclightning.training.batching import Sharing, check_sharing, sharing_of
from gnclightning.training.data import EllipsesDataModule, FolderDataModule, ImageDataModule
from gnclightning.training.guard import Diverged
from gnclightning.training.ldct import LDCTDataModule
from gnclightning.training.module import DenoisingModule, TrainingPlan
from gnclightning.training.report import flops_per_image, parameter_count

RUN_SIZE, AVERAGE_SIZE = 10, 3
"""Sizes of the weights that a run folder needs: a checkpoint holds four, two may exist at once; one
more for each further average, which has also a file of its own."""


def run_training(config: TrainConfig) -> None:
    """Train as configured; goes on from the last checkpoint of the run folder if there is one.

    Raises:
        UserError: anything that the configuration, the data or the run folder get wrong; before
            training starts.
    """
    _quieten_lightning()
    check_mode(config.logger.mode)
    output = Path(config.output)
    checkpoint = output / LAST
    resume = checkpoint if config.resume and checkpoint.is_file() else None
    L.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    prior = build_prior(config)
    prior.network.check_size(data.image_shape)
    module = DenoisingModule(prior, build_plan(config), build_teacher(config, data))
    kept = kept_settings(config, data)
    state = None if resume is None else load_resumable(resume, module, kept)
    sizes = RUN_SIZE + AVERAGE_SIZE * len(config.ema.alternatives)
    probe_folder(output, sizes * sum(p.nbytes for p in prior.parameters()))
    try:
        trainer = build_trainer(config, data, output)
    except UserError:
        raise
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(
            f"trainer.* asks for what Lightning cannot give on this machine: {error}"
        ) from error
    sharing = sharing_of(trainer, config.optimizer.batch_size)
    if state is not None:
        check_sharing(state, sharing)
    if trainer.is_global_zero:
        save(config, output / "config.yaml")
    tracked = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    for logger in tracked:
        define_panels(logger)
        logger.log_hyperparams(asdict(config))
    console = Console(quiet=not trainer.is_global_zero)
    with _explained(output, sharing, trainer):
        if trainer.is_global_zero:
            console.print(_size(prior, data), highlight=False)
        if resume is not None:
            console.print(f"going on from {resume}", highlight=False, soft_wrap=True)
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    console.print(f"weights: {output / FILE}", highlight=False, soft_wrap=True)
    for logger in tracked:
        # The end of the process would do it too; a notebook's process goes on.
        logger.experiment.finish()


@contextmanager
def _explained(output: Path, sharing: Sharing, trainer: L.Trainer) -> Iterator[None]:
    """Say of a training that failed what is kept, and how to go on from it."""
    try:
        yield
    except Diverged as error:
        if not trainer.is_global_zero:  # all processes end together, and the first one says why
            raise SystemExit(2) from error
        raise UserError(f"{error}; {_after_divergence(output)}") from error
    except Exception as error:
        if not memory.ran_out(error):
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"not enough memory for {sharing.images} images at a time ({reason}); "
            f"{_after_running_out(output, sharing)}"
        ) from error


def _after_divergence(output: Path) -> str:
    rates = "lower optimizer.matrix_lr and optimizer.lr, or check the images"
    weights = output / FILE
    if not weights.is_file():
        return f"{rates}; there were no good weights to keep yet"
    steps = from_pretrained(weights)[1].training["steps"]
    return (
        f"{weights} keeps the weights after {steps} steps: to go on from them, give "
        f"init={weights} with another output=FOLDER, and {rates}"
    )


def _after_running_out(output: Path, sharing: Sharing) -> str:
    kept = "the last checkpoint is kept, and" if (output / LAST).is_file() else "and"
    smaller = sharing.smaller()
    less = "trainer.precision=bf16-mixed, smaller images or a smaller network.* need less"
    if smaller is None:
        return f"{kept} {less}"
    return (
        f"{kept} the same command with optimizer.batch_size={smaller.images} "
        f"trainer.accumulate_grad_batches={smaller.batches} trains the same in smaller parts; "
        f"{less} too"
    )


def _size(prior: NetworkPrior, data: ImageDataModule) -> str:
    height, width = data.image_shape
    work = flops_per_image(prior, data.image_shape)
    return (
        f"{prior.parametrisation}: {parameter_count(prior) / 1e6:.3g} million parameters, "
        f"{work / 1e9:.3g} GFLOP per step and image of {height}x{width}"
    )


def _quieten_lightning() -> None:
    """Hide remarks that say nothing to a user: devices not found, tips, our own run folder."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for remark in (
        r".*LeafSpec.*",
        r"Checkpoint directory .* exists and is not empty",
        r"The '?(train|val)_dataloader'? does not have many workers",
        r"The dirpath has changed from",
        r"The number of training batches .* is smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", message=remark)


def build_data(config: TrainConfig) -> ImageDataModule:
    """The data module."""
    data, batch_size = config.data, config.optimizer.batch_size
    if isinstance(data, EllipsesTrainDataConfig):
        return EllipsesDataModule(
            batch_size, data.train_count, data.validation_count, data.size, data.workers, data.seed
        )
    if isinstance(data, LDCTTrainDataConfig):
        slices = build_slices(data, config.progress)
        return LDCTDataModule(*slices, batch_size, data.validation_count, data.workers, config.seed)
    assert isinstance(data, FolderTrainDataConfig)
    return FolderDataModule(
        data.path,
        batch_size,
        data.validation_fraction,
        data.workers,
        config.seed,
        data.key,
        IntensityMapping(data.range, data.clip),
    )


def build_plan(config: TrainConfig) -> TrainingPlan:
    """Learning rates and times."""
    optimizer, times = config.optimizer, config.time_sampling
    return TrainingPlan(
        steps=config.trainer.max_steps,
        matrix_lr=optimizer.matrix_lr,
        lr=optimizer.lr,
        warmup=optimizer.warmup_steps,
        times=build_times(times),
        excess_share=times.excess_share,
        min_snr=times.weighting == "min_snr",
        seed=config.seed,
    )


def build_times(config: TimeSamplingConfig) -> TimeSampling:
    """The distribution of the times of denoising."""
    match config:
        case PowerTimesConfig(t_min=t_min, skew=skew):
            return PowerTimes(t_min, skew)
        case LognormalTimesConfig(t_min=t_min, median=median, spread=spread):
            return LognormalTimes(median, spread, t_min)
        case LogUniformTimesConfig(t_min=t_min):
            return LogUniformTimes(t_min)
    raise AssertionError(config)
