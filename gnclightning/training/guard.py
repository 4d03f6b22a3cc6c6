"""Keeps what a training has written from being replaced by weights of a diverging run."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.training.module import DenoisingModule

LIMIT = 100.0
"""Losses above this are of no use: a prior that knows nothing has a loss of 1, a fresh network of
any form below 20."""
PATIENCE = 100
"""Steps in a row whose losses are above it, from which a training diverges."""


class Diverged(UserError):
    """The loss is not finite, or stays high."""


def check_weights(module: L.LightningModule, images: Tensor, step: int) -> bool:
    """Whether the weights in place are worth keeping, judged by their loss on some images.

    The loss of a step is that of the weights before it; this is that of the weights after it.

    Raises:
        Diverged: the loss is not finite.
    """
    assert isinstance(module, DenoisingModule)
    loss = module.loss_on(images)
    _check_finite(loss, step)
    return loss <= LIMIT


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"training diverged: the loss is {loss} after {step} steps")


class DivergenceGuard(Callback):
    """Ends a training whose loss is not finite, or above `LIMIT` for `PATIENCE` steps."""

    def __init__(self) -> None:
        self._above = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss, the mean over all devices: these must agree to end.

        Raises:
            Diverged: see above.
        """
        mean = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        loss, step = float(mean), trainer.global_step
        _check_finite(loss, step)
        self._above = self._above + 1 if loss > LIMIT else 0
        if self._above >= PATIENCE:
            raise Diverged(
                f"training diverged: the loss, {loss:.3g} after {step} steps, is above {LIMIT:g} "
                f"for {PATIENCE} batches in a row (a prior that knows nothing has 1)"
            )


class GuardedCheckpoint(ModelCheckpoint):
    """The last checkpoint, which only good weights replace, and only after whole steps.

    Also after the last step, or where the time for training ends.

    Args:
        path: of the checkpoint.
        every_n_steps: steps between two.
        images: on which weights are judged.
    """

    def __init__(self, path: Path, every_n_steps: int, images: Tensor):
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            every_n_train_steps=every_n_steps,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self._every = every_n_steps
        self._images = images
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start counting steps."""
        super().on_train_start(trainer, pl_module)
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save after a step, not between the batches of the next one, whose gradients it lacks."""
        step, self._step = self._step, trainer.global_step
        last = trainer.should_stop or self._step >= trainer.max_steps
        due = self._step > step and (last or self._step % self._every == 0)
        if due and check_weights(pl_module, self._images, self._step):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
