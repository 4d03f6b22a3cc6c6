"""Moving averages of the weights with several decays, and which of them is shipped."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from gnclightning.files import write_csv
from gnclightning.priors import NetworkPrior
from gnclightning.training.callbacks import PriorExport, ValidationProblem

FOLDER, TABLE = "averages", "averages.csv"
_STATE = "further_averages"


def warmed_up_decay(decay: float, count: int) -> float:
    """The part that stays when a further one is added to an average of `count` >= 1 weights.

    min(decay, (1 + count) / (10 + count)), as `tf.train.ExponentialMovingAverage` has it: until the
    second term reaches the decay, the average looks back over about a ninth of the steps so far,
    however few these are, and forgets the first weights like the ninth power of their number.
    """
    return min(decay, (1 + count) / (10 + count))


Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def _update(decay: float) -> Update:
    """How an `AveragedModel` takes in further weights; it copies the first ones."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        part = 1 - warmed_up_decay(decay, int(count))
        for average, current in zip(averages, weights, strict=True):
            average.lerp_(current, part)

    return update


class MovingAverages(WeightAveraging):
    """Averages with several decays; the first is in place during validation and after training.

    Each is, bit for bit, what a training with this decay alone would have. With decay 0 the
    average is the weights themselves. Decays are warmed up (`warmed_up_decay`); how many weights an
    average holds is part of its state, so that a resumed one goes on as it would have.

    Args:
        decays: all different, at least one.
    """

    def __init__(self, decays: Sequence[float]):
        super().__init__(multi_avg_fn=_update(decays[0]))
        self.decays = tuple(decays)
        self._further: dict[float, AveragedModel] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start all averages."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._further = {
                decay: AveragedModel(_prior(pl_module), multi_avg_fn=_update(decay))
                for decay in self.decays[1:]
            }

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the averages to the device, where the weights were not yet when these started."""
        for average in (self._average_model, *self._further.values()):
            assert average is not None
            average.to(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update all averages after a step of the optimiser."""
        stepped = trainer.global_step > self._latest_update_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if stepped:
            for average in self._further.values():
                average.update_parameters(_prior(pl_module))

    def put(self, decay: float, pl_module: L.LightningModule) -> None:
        """Put the average with a decay in the place of the weights."""
        if decay == self.decays[0]:
            assert self._average_model is not None
            source = _prior(self._average_model.module)
        else:
            source = self._further[decay].module
        _prior(pl_module).load_state_dict(source.state_dict())

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the averages to a checkpoint."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint[_STATE] = {d: average.state_dict() for d, average in self._further.items()}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the averages of a checkpoint, which was trained with the same decays."""
        found = checkpoint.get(_STATE, {})
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        for decay, average in self._further.items():
            average.load_state_dict(found[decay])


class FinalExport(Callback):
    """After training, writes the average unless the last validation has.

    Put it behind the averages. A run that was killed after its last checkpoint has nothing left to
    train when it is started again, and the weights in place are not the average: so what was
    written is looked up in the file.

    Args:
        averages: whose first one is written; None if the weights themselves are.
        export: writes it.
    """

    def __init__(self, averages: MovingAverages | None, export: PriorExport):
        self._averages = averages
        self._export = export

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average in place, and write it if need be."""
        if self._averages is not None:
            self._averages.put(self._averages.decays[0], pl_module)
        if not self._export.has_written(trainer, pl_module):
            self._export.write(trainer, pl_module, self._export.folder, self._export.decay)


class AverageChoice(Callback):
    """After training, ships the average whose reconstructions of validation images are best.

    Writes every average, and a table of their PSNR and SSIM. Put it behind the averages. What a
    run that was killed here had no time for is done when it is started again.

    Args:
        averages: to choose among.
        problem: what to reconstruct.
        export: writes weights; tells where those to ship lie, beside which the others are kept.
        console: where the table is printed.
    """

    def __init__(
        self,
        averages: MovingAverages,
        problem: ValidationProblem,
        export: PriorExport,
        console: Console,
    ):
        self._averages = averages
        self._problem = problem
        self._export = export
        self._console = console
        self._folder = export.folder / FOLDER

    @property
    def _table(self) -> Path:
        return self._folder / TABLE

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget a choice among the averages of fewer steps, or of another training."""
        if trainer.is_global_zero:
            self._table.unlink(missing_ok=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose, while the weights are on their device."""
        if trainer.is_global_zero:
            self._choose(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose if there was nothing to train, but no choice was made yet."""
        if trainer.is_global_zero and not self._table.is_file():
            self._choose(trainer, pl_module)

    @torch.no_grad()
    def _choose(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._export.validation = None  # what is known is of the first average, and earlier
        for decay in self._averages.decays:
            self._averages.put(decay, pl_module)
            self._export.write(trainer, pl_module, self._folder / _file(decay), decay)
        found: dict[float, dict[str, float]] = {}
        for decay in self._averages.decays:
            self._averages.put(decay, pl_module)
            x = self._problem.reconstruct(_prior(pl_module))
            found[decay] = self._problem.judge(x, trainer.global_step)
        rows = [(decay, values["psnr"], values["ssim"]) for decay, values in found.items()]
        best = max(rows, key=lambda row: -math.inf if math.isnan(row[1]) else row[1])[0]
        self._averages.put(best, pl_module)
        self._export.decay, self._export.validation = best, found[best]
        self._export.write(trainer, pl_module, self._export.folder, best)
        write_csv(
            self._table,
            ("ema_decay", "psnr", "ssim", "file", "shipped"),
            [(*row, _file(row[0]), row[0] == best) for row in rows],
        )
        self._print(rows, best)

    def _print(self, rows: Sequence[tuple[float, float, float]], best: float) -> None:
        count = len(self._problem.images)
        table = Table("EMA decay", "PSNR", "SSIM", "", title=f"{count} validation images")
        for decay, *values in rows:
            shown = (f"{value:.{digits}f}" for value, digits in zip(values, (2, 4), strict=True))
            table.add_row(f"{decay:g}", *shown, "shipped" if decay == best else "")
        self._console.print(table)


def _prior(module: torch.nn.Module) -> NetworkPrior:
    """The prior that a `DenoisingModule`, or a copy of one, trains."""
    prior = module.prior
    assert isinstance(prior, NetworkPrior)
    return prior


def _file(decay: float) -> str:
    return f"ema-{decay}.safetensors" if decay else "no-ema.safetensors"
