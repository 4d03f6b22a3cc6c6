"""What happens beside training: reconstructions of validation images, and weights to ship."""

import platform
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.errors import UserError
from gnclightning.metrics import psnr, ssim
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.priors import (
    FILE,
    VALIDATION,
    NetworkEnergy,
    NetworkPrior,
    PriorMetadata,
    from_pretrained,
    save_pretrained,
)
from gnclightning.priors.base import Prior
from gnclightning.sampling import draw_samples
from gnclightning.solvers import Armijo, FixedFirstStep, log_schedule, preconditioned, solve
from gnclightning.tensors import full_float32
from gnclightning.training.guard import check_weights
from gnclightning.training.module import VALIDATION_TIMES
from gnclightning.training.pictures import Picture, denoised_levels, draw_levels, side_by_side

T_MIN = 0.025
"""As in reconstructions from measurements with 10 % noise."""


@dataclass(frozen=True)
class ValidationProblem:
    """Sparse noisy measurements of a few images, to be reconstructed the same way every time.

    Attributes:
        images: (B, 1, H, W) in [0,1].
        steps: iterations of the preconditioned method.
        angles: number of projection angles.
        noise: relative noise level.
    """

    images: Tensor
    steps: int = 20
    angles: int = 60
    noise: float = 0.1

    def reconstruct(self, prior: NetworkPrior) -> Tensor:
        """Reconstruct with half the squared noise prediction as energy, (B, 1, H, W).

        A score network is measured as the energy that it would become by a warm start.
        """
        with full_float32():
            return self._reconstruct(prior)

    def _reconstruct(self, prior: NetworkPrior) -> Tensor:
        images = self.images.to(next(prior.parameters()))
        height, width = images.shape[-2:]
        geometry = ParallelBeam2D.for_image((height, width), self.angles)
        operator = Radon(geometry).to(images.device)
        seeds = range(len(images))
        y, sigma = add_noise(operator(images), relative=self.noise, seeds=seeds)
        energy = NetworkEnergy(prior.sde, prior.network, prior.form)
        alpha = Alpha.from_noise_level(prior.sde, sigma, T_MIN, operator.mean_gain())
        objective = GraduatedObjective(operator, y, energy, alpha, T_MIN, sigma_y=sigma)
        solver = preconditioned(
            log_schedule(1.0, T_MIN, self.steps),
            search=Armijo(),
            first_step=FixedFirstStep(),
        )
        start = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
        return objective.posterior_mean(solve(solver, objective, start).state.point, steps=1)[0]

    def judge(self, x: Tensor, after_steps: int) -> dict[str, float]:
        """How good reconstructions are, and what of, for the description of the weights.

        Args:
            x: what `reconstruct` gave.
            after_steps: steps of training that the weights have seen.
        """
        truth = self.images.to(x)
        return {
            "after_steps": after_steps,
            "images": len(truth),
            "angles": self.angles,
            "noise": self.noise,
            "iterations": self.steps,
            "psnr": psnr(x, truth).mean().item(),
            "ssim": ssim(x, truth).mean().item(),
        }


class ReconstructionCallback(Callback):
    """Every `every_n_steps` steps, reconstructs validation images and logs PSNR, SSIM, pictures.

    W&B also gets as many samples of the prior, and one of the images denoised at each level.
    Runs at the end of a validation epoch, while the averaged weights are in place; put it before
    the averaging callback.

    Args:
        problem: what to reconstruct.
        every_n_steps: steps between two reconstructions, at least.
        export: what describes the weights, and says how good the latest ones were.
    """

    def __init__(self, problem: ValidationProblem, every_n_steps: int, export: "PriorExport"):
        self.problem = problem
        self.every_n_steps = every_n_steps
        self._export = export
        self._next = every_n_steps

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reconstruct if it is time."""
        if trainer.sanity_checking or trainer.global_step < self._next:
            return
        self._next = trainer.global_step + self.every_n_steps
        prior = pl_module.prior
        assert isinstance(prior, NetworkPrior)
        x = self.problem.reconstruct(prior)
        found = self.problem.judge(x, trainer.global_step)
        self._export.validation = found
        values = {f"validation/{name}": found[name] for name in ("psnr", "ssim")}
        pl_module.log_dict(values, prog_bar=True, sync_dist=True)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not (loggers and trainer.is_global_zero):
            return
        truth = self.problem.images.to(x)
        pictures = {"reconstructions": side_by_side(truth, x), **_pictures(prior, truth)}
        for logger, (name, images) in product(loggers, pictures.items()):
            logger.log_image(f"images/{name}", images, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """When the next reconstruction is due."""
        return {"next": self._next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as before an interruption."""
        self._next = state_dict["next"]


def _pictures(prior: NetworkPrior, truth: Tensor) -> dict[str, list[Picture]]:
    """The first image denoised at all levels, and samples."""
    assert isinstance(prior, Prior)
    times = torch.tensor(VALIDATION_TIMES).to(truth)
    levels = draw_levels(
        denoised_levels(prior, truth[0], times), prior.sde.noise_to_signal(times).tolist()
    )
    seeds = range(len(truth))
    samples = draw_samples(prior, prior.sde, truth.shape[1:], seeds, device=truth.device)
    return {"denoised": [levels], "samples": side_by_side(samples)}


class PriorExport(Callback):
    """Writes the averaged weights as a prior, ready to use, at each validation.

    Put it before the averaging callback, behind that of reconstructions. After training
    `FinalExport` or `AverageChoice` has it write.

    Args:
        folder: to write to, with a model card.
        metadata: description of the prior; what training has seen so far is added to `training`.
        batch_size: images of one batch on one device.
        decay: of the moving average that validation uses.
        images: on which weights are judged before they are written.
    """

    def __init__(
        self, folder: Path, metadata: PriorMetadata, batch_size: int, decay: float, images: Tensor
    ):
        self.folder = folder
        self.metadata = metadata
        self.batch_size = batch_size
        self.decay = decay
        self.images = images
        self.validation: dict[str, float] | None = None
        """See `ValidationProblem.judge`: of the weights to write, or earlier ones."""
        self._images = 0
        self._seconds = 0.0
        self._since = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the images."""
        self._images += self.batch_size * trainer.world_size

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export while the averaged weights are in place."""
        if not trainer.sanity_checking:
            self.write(trainer, pl_module, self.folder, self.decay)

    def has_written(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Whether the folder holds the weights in place, described as those of this step."""
        try:
            prior, metadata = from_pretrained(self.folder / FILE)
        except UserError:  # there is none, or none that anybody could use
            return False
        assert isinstance(pl_module.prior, NetworkPrior)
        written, current = prior.network.state_dict(), pl_module.prior.network.state_dict()
        return (
            metadata.training.get("steps") == trainer.global_step
            and written.keys() == current.keys()
            and all(torch.equal(written[name], value.cpu()) for name, value in current.items())
        )

    def write(
        self, trainer: L.Trainer, pl_module: L.LightningModule, path: Path, decay: float
    ) -> None:
        """Write the weights in place, as the average with a decay; only the first process does.

        A folder gets a model card too, see `save_pretrained`.

        Raises:
            Diverged: their loss is not finite; a high one only keeps them from being written.
        """
        # Checked in all processes, which must end together.
        good = check_weights(pl_module, self.images, trainer.global_step)
        if not (good and trainer.is_global_zero):
            return
        prior = pl_module.prior
        assert isinstance(prior, NetworkPrior)
        training = {
            **self.metadata.training,
            "steps": trainer.global_step,
            "images_seen": self._images,
            "hardware": f"{trainer.world_size} x {_hardware(trainer.strategy.root_device)}",
            "hours": round(self._elapsed() / 3600, 2),
            "ema_decay": decay,
            VALIDATION: self.validation,
        }
        save_pretrained(prior, replace(self.metadata, training=training), path)

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._since

    def state_dict(self) -> dict[str, Any]:
        """Seconds spent, images seen, and what the latest weights were worth."""
        return {
            "seconds": self._elapsed(),
            "images": self._images,
            "validation": self.validation,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._seconds = state_dict["seconds"]
        self._images = state_dict["images"]
        self.validation = state_dict.get("validation")  # those of earlier versions have none


def _hardware(device: torch.device) -> str:
    """What one process of a training run computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
