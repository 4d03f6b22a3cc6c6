"""From a `TrainConfig` to a trained prior: builds everything, then lets Lightning run it."""

import logging
import warnings
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    Callback,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from gnclightning.build_ldct import build_slices
from gnclightning.build_prior import build_metadata, build_prior, build_teacher
from gnclightning.config import TrainConfig, from_yaml_text, save
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
from gnclightning.priors import NetworkPrior
from gnclightning.reconstruction.folder import probe_folder
from gnclightning.tracking import check_mode, open_logger
from gnclightning.training.averaging import AverageChoice, MovingAverages
from gnclightning.training.callbacks import PriorExport, ReconstructionCallback, ValidationProblem
from gnclightning.training.data import EllipsesDataModule, FolderDataModule, ImageDataModule
from gnclightning.training.ldct import LDCTDataModule
from gnclightning.training.module import DenoisingModule, TrainingPlan
from gnclightning.training.report import (
    ExpectedTime,
    StepProgressBar,
    flops_per_image,
    parameter_count,
)

WEIGHTS = "prior.safetensors"
LAST = "last"
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
    checkpoint = output / f"{LAST}.ckpt"
    resume = checkpoint if config.resume and checkpoint.is_file() else None
    L.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    prior = build_prior(config)
    prior.network.check_size(data.image_shape)
    module = DenoisingModule(prior, build_plan(config), build_teacher(config, data))
    if resume is not None:
        _check_resumable(resume, module, config)
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
    if trainer.is_global_zero:
        save(config, output / "config.yaml")
    tracked = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    for logger in tracked:
        logger.log_hyperparams(asdict(config))
    console = Console(quiet=not trainer.is_global_zero)
    if trainer.is_global_zero:
        console.print(_size(prior, data), highlight=False)
    if resume is not None:
        console.print(f"going on from {resume}", highlight=False, soft_wrap=True)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    console.print(f"weights: {output / WEIGHTS}", highlight=False, soft_wrap=True)
    for logger in tracked:
        # The end of the process would do it too; a notebook's process goes on.
        logger.experiment.finish()


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


def _choice(given: str, names: list[str]) -> str:
    return next(iter(get_close_matches(given, names, n=1)), "auto, or ddp for several devices")


def build_trainer(config: TrainConfig, data: ImageDataModule, output: Path) -> L.Trainer:
    """Lightning's Trainer with its callbacks and loggers."""
    t = config.trainer
    names = ["auto", *StrategyRegistry.available_strategies()]
    if t.strategy not in names:
        raise UserError(
            f"trainer.strategy: expected auto, ddp, fsdp or another of Lightning's strategies, got "
            f"{t.strategy!r}: choose {_choice(t.strategy, names)}"
        )
    return L.Trainer(
        default_root_dir=output,
        accelerator=t.accelerator,
        devices=t.devices,
        num_nodes=t.num_nodes,
        strategy=t.strategy,
        precision=t.precision,
        max_steps=t.max_steps,
        max_time=t.max_time,
        accumulate_grad_batches=t.accumulate_grad_batches,
        gradient_clip_val=config.optimizer.gradient_clip or None,
        log_every_n_steps=t.log_every_n_steps,
        val_check_interval=t.val_check_interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=_callbacks(config, data, output),
        logger=_loggers(config, output),
        enable_progress_bar=config.progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
        # An energy's score needs autograd during validation.
        inference_mode=False,
    )


def _callbacks(config: TrainConfig, data: ImageDataModule, output: Path) -> list[Callback]:
    """In the order that they need: what looks at averaged weights before the averaging."""
    t, decay = config.trainer, config.ema.decay
    callbacks: list[Callback] = []
    images = data.validation_images[: config.reconstruction.count]
    problem = ValidationProblem(images, config.reconstruction.steps)
    if config.reconstruction.every_n_steps:
        callbacks.append(ReconstructionCallback(problem, config.reconstruction.every_n_steps))
    metadata = build_metadata(config, data)
    export = PriorExport(output / WEIGHTS, metadata, config.optimizer.batch_size, decay)
    callbacks.append(export)
    decays = (decay, *config.ema.alternatives)
    if decays != (0,):
        averages = MovingAverages(decays)
        callbacks.append(averages)
        if len(decays) > 1:
            callbacks.append(AverageChoice(averages, problem, export, Console()))
    callbacks.append(
        ModelCheckpoint(
            dirpath=output,
            filename=LAST,
            every_n_train_steps=t.checkpoint_every_n_steps,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
    )
    callbacks += [LearningRateMonitor("step"), ExpectedTime(Console())]
    if config.progress:
        callbacks.append(StepProgressBar())
    return callbacks


def _loggers(config: TrainConfig, output: Path) -> list[Logger]:
    # A new version for each start: Lightning would delete what was logged before a resumption.
    csv = CSVLogger(output, name="logs")
    logger = config.logger
    if logger.mode == "disabled" or getattr(rank_zero_only, "rank", 0) != 0:
        return [csv]
    name = logger.name or output.resolve().name
    try:
        return [csv, open_logger(logger.mode, logger.project, name, output)]
    except Exception as error:  # whatever W&B fails with, it is no reason not to train
        reason = " ".join(str(error).split())
        warnings.warn(f"no W&B tracking, only CSV files: {reason}", stacklevel=2)
        return [csv]


_KEPT = ("sde", "network", "prior", "data", "init", "teacher", "optimizer", "time_sampling", "ema")
"""Settings that a resumed run shares with the one that it goes on from."""


def _check_resumable(path: Path, module: DenoisingModule, config: TrainConfig) -> None:
    """Refuse a checkpoint of another prior or network before Lightning starts."""
    saved = path.parent / "config.yaml"
    if saved.is_file():
        before = from_yaml_text(saved.read_text(encoding="utf-8"), TrainConfig)
        for name in _KEPT:
            if getattr(before, name) != getattr(config, name):
                raise UserError(
                    f"{path} was trained with another {name} than is asked for; use "
                    f"{saved}, another output=FOLDER, or resume=false"
                )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)[
            "state_dict"
        ]
    except Exception as error:
        raise UserError(
            f"{path} is not a checkpoint of this program ({type(error).__name__}); move it away, "
            "or give resume=false to start anew"
        ) from error
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != found:
        raise UserError(
            f"{path} holds another network than the configuration describes; use the "
            "configuration saved beside it, another output=FOLDER, or resume=false"
        )
