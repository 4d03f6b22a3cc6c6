"""How the images of an optimiser's step are shared out, and going on with another sharing."""

from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from gnclightning.errors import UserError

_KEY = "sharing"
_COUNTS = ("ready", "started", "processed", "completed")


@dataclass(frozen=True)
class Sharing:
    """The images of a step: so many batches, one after another, on so many devices.

    Images, times and noise of step k depend on the seed, on k and on how many images a step has,
    and on nothing else: trainings that share them out differently differ by rounding alone.

    Attributes:
        images: in one batch on one device.
        devices: on all nodes.
        batches: whose gradients make a step.
    """

    images: int
    devices: int
    batches: int

    @property
    def total(self) -> int:
        """Images of a step."""
        return self.images * self.devices * self.batches

    def smaller(self) -> "Sharing | None":
        """The same images in batches of half the size, or of one image; None if they are that."""
        if self.images == 1:
            return None
        factor = self.images if self.images % 2 else 2
        return Sharing(self.images // factor, self.devices, self.batches * factor)


def sharing_of(trainer: L.Trainer, batch_size: int) -> Sharing:
    """How a trainer shares the images of a step out."""
    return Sharing(batch_size, trainer.world_size, trainer.accumulate_grad_batches)


def check_sharing(checkpoint: dict[str, Any], now: Sharing) -> None:
    """Refuse to go on from a checkpoint with another number of images per step.

    Raises:
        UserError: it has another number, or does not tell.
    """
    if _KEY not in checkpoint:
        raise UserError(
            "the checkpoint is of a version that did not note how many images a step has: give "
            "resume=false, and init=FILE to start from the weights of its run folder"
        )
    before = Sharing(**checkpoint[_KEY])
    if before.total == now.total:
        return
    each = now.images * now.devices
    fitting = f"trainer.accumulate_grad_batches={before.total // each}"
    advice = fitting if before.total % each == 0 else "another optimizer.batch_size"
    raise UserError(
        f"expected {before.total} images per step, as in the checkpoint to go on from, got "
        f"{now.total}: {now.images} (optimizer.batch_size) x {now.devices} (devices of all nodes) "
        f"x {now.batches} (trainer.accumulate_grad_batches); give {advice}, or resume=false"
    )


class ResumableSharing(Callback):
    """Notes the sharing in checkpoints, and goes on with another one where the old one stopped.

    Args:
        batch_size: images of one batch on one device.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the sharing to a checkpoint."""
        now = sharing_of(trainer, self._batch_size)
        checkpoint[_KEY] = {"images": now.images, "devices": now.devices, "batches": now.batches}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count the batches of the epoch as if they had been shared out as they now are.

        Lightning makes a step where their number is a multiple of those of a step. An epoch has
        as many steps, however they are shared out.
        """
        now = sharing_of(trainer, self._batch_size)
        check_sharing(checkpoint, now)
        before = Sharing(**checkpoint[_KEY])
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            ready = counts["ready"]
            # A checkpoint is written after a step, before its last batch counts as completed.
            scaled = ready // before.batches * now.batches
            counts.update({name: scaled - (ready - counts[name]) for name in _COUNTS})
