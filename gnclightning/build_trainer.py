"""From a `TrainConfig` to Lightning's Trainer with its strategy, callbacks and loggers."""

import os
import warnings
from difflib import get_close_matches
from pathlib import Path

import lightning as L
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from rich.console import Console

from gnclightning.build_prior import build_metadata
from gnclightning.build_resumption import ResumableSettings, kept_settings
from gnclightning.config import TrainConfig
from gnclightning.errors import UserError
from gnclightning.tracking import open_logger
from gnclightning.training.averaging import AverageChoice, FinalExport, MovingAverages
from gnclightning.training.batching import ResumableSharing
from gnclightning.training.callbacks import PriorExport, ReconstructionCallback, ValidationProblem
from gnclightning.training.checkpoints import WholeCheckpoints
from gnclightning.training.data import ImageDataModule
from gnclightning.training.guard import DivergenceGuard, GuardedCheckpoint
from gnclightning.training.monitoring import TrainingMonitor
from gnclightning.training.report import ExpectedTime, StepProgressBar

LAST = "last.ckpt"


def build_trainer(config: TrainConfig, data: ImageDataModule, output: Path) -> L.Trainer:
    """Lightning's Trainer with its callbacks and loggers."""
    t = config.trainer
    _check_strategy(t.strategy)
    trainer = L.Trainer(
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
        plugins=WholeCheckpoints(),
        enable_progress_bar=config.progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
        # An energy's score needs autograd during validation.
        inference_mode=False,
    )
    _check_processes(trainer)
    return trainer


def _check_strategy(name: str) -> None:
    """Refuse a strategy that cannot work, before anything is done."""
    if name.startswith(("fsdp", "deepspeed")):
        raise UserError(
            f"trainer.strategy: expected ddp, got {name}, which cuts weights into flat pieces; but "
            "Muon orthogonalises whole matrices and averages of the weights need these whole too; "
            "networks of this program fit one device: choose ddp"
        )
    known = (s for s in StrategyRegistry.available_strategies() if s.startswith("ddp"))
    names = ["auto", "single_device", *(s for s in known if "spawn" not in s)]
    if name not in names:
        nearest = next(iter(get_close_matches(name, names, n=1)), "")
        raise UserError(
            f"trainer.strategy: expected one of {', '.join(n for n in names if '_find' not in n)}, "
            f"got {name!r}: choose {nearest or 'auto, or ddp for several devices'}"
        )


def _check_processes(trainer: L.Trainer) -> None:
    """Warn of more processes than cores, which take turns."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = trainer.num_devices
    if isinstance(trainer.accelerator, CPUAccelerator) and cores and count > cores:
        rank_zero_warn(
            f"trainer.devices={count} makes {count} processes share {cores} CPU cores, which takes "
            f"longer than {cores} processes do: choose trainer.devices={cores} and a larger "
            "optimizer.batch_size"
        )


def _callbacks(config: TrainConfig, data: ImageDataModule, output: Path) -> list[Callback]:
    """In the order that they need: what looks at averaged weights before the averaging."""
    t, decay = config.trainer, config.ema.decay
    judged = data.validation_images[: config.optimizer.batch_size]
    callbacks: list[Callback] = [
        DivergenceGuard(),
        TrainingMonitor(config.optimizer.batch_size, t.log_every_n_steps),
        ResumableSharing(config.optimizer.batch_size),
        ResumableSettings(kept_settings(config, data)),
    ]
    images = data.validation_images[: config.reconstruction.count]
    problem = ValidationProblem(images, config.reconstruction.steps)
    metadata = build_metadata(config, data)
    export = PriorExport(output, metadata, config.optimizer.batch_size, decay, judged)
    if every := config.reconstruction.every_n_steps:
        callbacks.append(ReconstructionCallback(problem, every, export))
    callbacks.append(export)
    decays = (decay, *config.ema.alternatives)
    averages = None if decays == (0,) else MovingAverages(decays)
    if averages is not None:
        callbacks.append(averages)
    if averages is not None and len(decays) > 1:
        callbacks.append(AverageChoice(averages, problem, export, Console()))
    else:
        callbacks.append(FinalExport(averages, export))
    callbacks.append(GuardedCheckpoint(output / LAST, t.checkpoint_every_n_steps, judged))
    callbacks.append(ExpectedTime(Console()))
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
