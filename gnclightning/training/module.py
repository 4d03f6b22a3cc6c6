"""Training of a prior by denoising score matching; score and energy share one LightningModule."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor

from gnclightning.losses import (
    PowerTimes,
    TimeSampling,
    denoising_score_matching,
    excess_noise,
    min_snr_weight,
)
from gnclightning.priors import NetworkPrior
from gnclightning.priors.base import Prior
from gnclightning.training.optimizers import MuonAdam, split_parameters

VALIDATION_TIMES = (1e-3, 1e-2, 0.05, 0.15, 0.4)
"""Times of the validation loss: noise-to-signal ratios 0.01 to 2.5 for the usual VPSDE."""

_VALIDATION = -1
"""In the place of a step's number, for times and noise of validation."""

BOUNDARY = ("network.enter", "network.linear", "network.leave", "network.embedding")
"""Layers that read the image or the noise level, or write the result: Adam trains them."""


@dataclass(frozen=True)
class TrainingPlan:
    """What the optimiser does and which times it sees.

    Attributes:
        steps: optimiser steps of the whole run; the learning rate ends at zero there.
        matrix_lr: peak learning rate of Muon.
        lr: peak learning rate of Adam.
        warmup: steps of linear warm-up.
        times: draws the times of the loss.
        excess_share: see `losses.excess_noise`.
        min_snr: whether to weigh levels by `losses.min_snr_weight`, or all alike.
        seed: seed of times and noise; step k of a run draws the same whether resumed or not, and
            however the images of a step are shared out (`training.batching`).
    """

    steps: int
    matrix_lr: float = 0.02
    lr: float = 1e-3
    warmup: int = 100
    times: TimeSampling = field(default_factory=PowerTimes)
    excess_share: float = 0.5
    min_snr: bool = False
    seed: int = 0

    def lr_factor(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class DenoisingModule(L.LightningModule):
    """Trains `prior` by denoising score matching on batches of images (B, C, H, W) in [0,1].

    Args:
        prior: a `NetworkScore` or `NetworkEnergy`.
        plan: see `TrainingPlan`.
        teacher: a trained prior whose score `prior` is to have; None: that of the noise.
    """

    def __init__(
        self, prior: NetworkPrior, plan: TrainingPlan, teacher: NetworkPrior | None = None
    ):
        super().__init__()
        self.prior = prior
        self.plan = plan
        self._last_part = (-1, 0)
        self._validated = 0
        # In a list it is no part of this module: neither checkpoints nor optimisers see it.
        self._teachers = [] if teacher is None else [teacher.requires_grad_(False).eval()]

    def _loss(
        self,
        x: Tensor,
        t: Tensor,
        noise: Tensor,
        excess: Tensor | None = None,
        teacher: NetworkPrior | None = None,
    ) -> Tensor:
        excess = None if excess is None else excess.to(x)
        assert isinstance(self.prior, Prior)
        assert teacher is None or isinstance(teacher, Prior)
        return denoising_score_matching(
            self.prior, self.prior.sde, x, t.to(x), noise.to(x), excess, teacher
        )

    def _part_of_step(self) -> int:
        """Number of this batch among those of the optimiser's step.

        Not that within its epoch, as the length of an epoch depends on the number of devices.
        """
        step, part = self._last_part
        part = part + 1 if step == self.global_step else 0
        self._last_part = (self.global_step, part)
        return part

    def on_fit_start(self) -> None:
        """Bring the teacher to this device."""
        for teacher in self._teachers:
            teacher.to(self.device)

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Mean loss of one batch at stratified times, of which some images exceed the noise.

        Beside it the losses of the images, and their noise-to-signal ratios, each (B,).

        Times are stratified over all images of the optimiser's step, and each image's noise is its
        own: however these are shared out, they meet what they would in one batch.
        """
        sde, count, devices = self.prior.sde, len(batch), self.trainer.world_size
        key = (self.plan.seed, self.global_step)
        generator = _generator(*key)
        total = count * devices * self.trainer.accumulate_grad_batches
        t = self.plan.times(sde, total, generator)
        excess = excess_noise(sde, t, self.plan.excess_share, generator)
        first = (self._part_of_step() * devices + self.global_rank) * count
        mine = slice(first, first + count)
        noise = _noise(batch, *key, first=first)
        teacher = next(iter(self._teachers), None)
        losses = self._loss(batch, t[mine], noise, excess[mine], teacher)
        if self.plan.min_snr:
            losses = losses * min_snr_weight(sde, t[mine].to(losses))
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return {"loss": loss, "losses": losses.detach(), "ratios": sde.noise_to_signal(t[mine])}

    @torch.no_grad()
    def loss_on(self, images: Tensor) -> float:
        """Mean loss of some images with the weights in place, always at the same times and noise.

        It changes nothing of a training.
        """
        generator = _generator(self.plan.seed, _VALIDATION)
        x, t = images.to(self.device), self.plan.times(self.prior.sde, len(images), generator)
        return self._loss(x, t, _noise(x, self.plan.seed, _VALIDATION)).mean().item()

    def on_validation_epoch_start(self) -> None:
        """Number the images of the validation set anew."""
        self._validated = 0

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Mean loss at fixed times and noise: the same numbers for the same weights.

        Also the PSNR of the denoised images (x + nu^2 score) / gamma, whose mean squared error is
        (nu / gamma)^2 times the loss.
        """
        losses: list[Tensor] = []
        noise = _noise(batch, self.plan.seed, _VALIDATION, first=self._validated)
        self._validated += len(batch)
        for time in VALIDATION_TIMES:
            t = torch.full((len(batch),), time)
            each = self._loss(batch, t, noise)
            ratios = self.prior.sde.noise_to_signal(t).to(each)
            values = {"loss": each, "denoised_psnr": -10 * (ratios**2 * each).log10()}
            for name, value in values.items():
                key = f"validation/{name}_t={time:g}"
                self.log(key, value.mean(), batch_size=len(batch), sync_dist=True)
            losses.append(each.mean())
        mean = torch.stack(losses).mean()
        self.log("validation/loss", mean, prog_bar=True, batch_size=len(batch), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Muon and Adam with warm-up and cosine decay."""
        matrices, others = split_parameters(self.prior, BOUNDARY)
        optimizer = MuonAdam(matrices, others, self.plan.matrix_lr, self.plan.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.plan.lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _noise(images: Tensor, *key: int, first: int = 0) -> Tensor:
    """Standard normal noise like `images` on the CPU; image k has that of number first + k."""
    return torch.stack(
        [
            torch.randn(image.shape, generator=_generator(*key, number))
            for number, image in enumerate(images, start=first)
        ]
    )


def _generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on every entry of `key`."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
