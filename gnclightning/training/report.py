"""What a training tells before and soon after it starts: size, work per image, expected time."""

import math
import time
from datetime import timedelta
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar, Timer
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from gnclightning.losses import denoising_score_matching
from gnclightning.priors import NetworkPrior
from gnclightning.priors.base import Prior


def parameter_count(prior: NetworkPrior) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in prior.parameters() if p.requires_grad)


def flops_per_image(prior: NetworkPrior, image_shape: tuple[int, int]) -> int:
    """Floating-point operations of convolutions and matrix products in one image's training step.

    Loss and gradient, which for an energy differentiates the network twice; without optimiser and
    averaging, which do not depend on the number of images.
    """
    assert isinstance(prior, Prior)
    device = next(prior.parameters()).device
    x = torch.zeros(1, prior.network.config.image_channels, *image_shape, device=device)
    t = torch.full((1,), 0.5, device=device)
    with FlopCounterMode(display=False) as counter:
        loss = denoising_score_matching(prior, prior.sde, x, t, torch.ones_like(x))
        torch.autograd.grad(loss.sum(), list(prior.parameters()), allow_unused=True)
    return counter.get_total_flops()


class StepProgressBar(RichProgressBar):
    """Lightning's bar of an epoch; the number of epochs is not known, that of the steps is."""

    def _get_train_description(self, current_epoch: int) -> str:
        step, steps = self.trainer.global_step, self.trainer.max_steps
        return f"Epoch {current_epoch}, from step {step} of {steps}"


class ExpectedTime(Callback):
    """Says when training will be done, once some steps have shown how fast it is.

    That is after the last step, or where the time for training ends.

    Args:
        console: to print on.
        first: steps not counted: compilers and caches warm up.
        steps: steps that are timed.
    """

    def __init__(self, console: Console, first: int = 5, steps: int = 20):
        self._console = console
        self._first, self._steps = first, steps
        self._begun: int | None = None
        self._since: float | None = None
        self._told = False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Time the steps, and tell once."""
        now, step = time.monotonic(), trainer.global_step
        if self._begun is None:
            self._begun = step
        timed = step - self._begun - self._first
        if timed == 0 and self._since is None:
            self._since = now
        if timed == self._steps and self._since is not None and not self._told:
            self._told = True
            each = (now - self._since) / self._steps
            seconds = min(each * (trainer.max_steps - step), _seconds_allowed(trainer))
            left = timedelta(seconds=round(seconds))
            if trainer.is_global_zero:
                self._console.print(f"{each:.3g} s per step, {left} left", highlight=False)


def _seconds_allowed(trainer: L.Trainer) -> float:
    """What is left of the trainer's `max_time`; infinite without one."""
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    timers = (callback for callback in callbacks if isinstance(callback, Timer))
    allowed = (timer.time_remaining() for timer in timers)
    return min((seconds for seconds in allowed if seconds is not None), default=math.inf)
