"""What a training logs of its steps: loss by noise level, gradient, learning rates, speed."""

import resource
import sys
import time
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

EDGES = (0.03, 0.1, 0.3, 1.0)
"""Noise-to-signal ratios nu_t / gamma_t between the bands."""


def band_names() -> list[str]:
    """Names of the bands, from the least noise on."""
    inner = [f"{low:g}_to_{high:g}" for low, high in pairwise(EDGES)]
    return [f"below_{EDGES[0]:g}", *inner, f"above_{EDGES[-1]:g}"]


class BandMeans:
    """Mean losses of the images in each band of noise levels, since they were last asked for."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, losses: Tensor, ratios: Tensor) -> None:
        """Count the losses of images with some noise-to-signal ratios, both (B,)."""
        bands = torch.bucketize(ratios.cpu(), torch.tensor(EDGES)).to(losses.device)
        parts = torch.stack([losses.double(), torch.ones_like(losses, dtype=torch.float64)])
        new = parts.new_zeros(2, len(EDGES) + 1).index_add_(1, bands, parts)
        self._sums = new if self._sums is None else self._sums + new

    def take(self, trainer: L.Trainer) -> dict[str, float]:
        """Mean by band over all devices, of bands that images were in; starts anew."""
        assert self._sums is not None
        sums, counts = trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()
        self._sums = None
        named = zip(band_names(), sums, counts, strict=True)
        return {name: total / count for name, total, count in named if count}


class TrainingMonitor(Callback):
    """Logs, below `train/`, what each interval of `every_n_steps` steps was like.

    Loss by band of noise levels and images per second are those of the whole interval (without
    validation), norm of the gradient (before it is clipped) and learning rates of its last step;
    peak memory is that of the first device or, on CPUs, of the first process.

    Args:
        batch_size: images of one batch on one device.
        every_n_steps: length of an interval.
    """

    def __init__(self, batch_size: int, every_n_steps: int):
        self._batch_size = batch_size
        self._every = every_n_steps
        self._bands = BandMeans()
        self._images = 0
        self._seconds = 0.0
        self._since = 0.0
        self._step_values: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._seconds += time.monotonic() - self._since

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the clock go on."""
        self._since = time.monotonic()

    def on_before_optimizer_step(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Measure the gradient, which is that of all devices and not yet clipped."""
        if (trainer.global_step + 1) % self._every:
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        rates = {group["kind"]: group["lr"] for group in optimizer.param_groups}
        self._step_values = {
            "train/gradient_norm": torch.nn.utils.get_total_norm(gradients).item(),
            **{f"train/learning_rate_{kind}": rate for kind, rate in rates.items()},
        }

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the batch, and log if its step ends an interval."""
        self._bands.add(outputs["losses"], outputs["ratios"])
        self._images += self._batch_size * trainer.world_size
        if not self._step_values:
            return
        now = time.monotonic()
        seconds = self._seconds + now - self._since
        bands = {f"train/loss_noise_{k}": v for k, v in self._bands.take(trainer).items()}
        values = {
            **bands,
            **self._step_values,
            "train/images_per_second": self._images / seconds,
            "train/peak_memory_gb": peak_memory(pl_module.device) / 1e9,
        }
        # Not through the module's `log`, which repeats the last value of a band that is empty now;
        # counted as Lightning does, from 0 on.
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)
        self._step_values, self._images, self._seconds, self._since = {}, 0, 0.0, now


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that PyTorch held on a GPU, or that this process held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
