"""Going on from a checkpoint: only with the settings, and the images, that it was trained with."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from gnclightning.config import TrainConfig
from gnclightning.errors import UserError
from gnclightning.training.data import ImageDataModule
from gnclightning.training.module import DenoisingModule

_KEY, _IMAGES = "settings", "images"
_KEPT = (
    *("seed", "sde", "network", "prior", "data"),
    *("init", "teacher", "optimizer", "time_sampling", "ema"),
)
"""Settings that a resumed run shares with the one that it goes on from."""
_ELSEWHERE = ("path", "cache", "workers", "conversion_workers")
"""Settings of the data that say where the images are and who prepares them, not which they are."""


def kept_settings(config: TrainConfig, data: ImageDataModule) -> dict[str, Any]:
    """What a resumed run shares with the one that it goes on from, as checkpoints hold it."""
    values = {name: value for name, value in asdict(config).items() if name in _KEPT}
    for name in _ELSEWHERE:
        values["data"].pop(name, None)
    # How many images a step has is checked once the devices are known.
    del values["optimizer"]["batch_size"]
    return {**values, _IMAGES: data.identity}


class ResumableSettings(Callback):
    """Notes in checkpoints what `load_resumable` compares.

    Args:
        settings: see `kept_settings`.
    """

    def __init__(self, settings: dict[str, Any]):
        self._settings = settings

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the settings to a checkpoint."""
        checkpoint[_KEY] = self._settings


def load_resumable(path: Path, module: DenoisingModule, settings: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint to go on from.

    Args:
        path: of the checkpoint.
        module: whose weights it should hold.
        settings: of the run that is to go on, see `kept_settings`.

    Raises:
        UserError: it is none, or of another prior, network, training or images.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"]
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
    if _KEY not in checkpoint:
        raise UserError(
            f"{path} is of a version that did not note settings and images in checkpoints: give "
            "resume=false, and init=FILE to start from the weights of its run folder"
        )
    _check_settings(path, checkpoint[_KEY], settings)
    return checkpoint


def _check_settings(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name in _KEPT:
        if before[name] != now[name]:
            raise UserError(
                f"{path} was trained with another {name} than is asked for; use "
                f"{path.parent / 'config.yaml'}, another output=FOLDER, or resume=false"
            )
    if before[_IMAGES] != now[_IMAGES]:
        had, has = (
            f"{images['training']} and {images['validation']}"
            for images in (before[_IMAGES], now[_IMAGES])
        )
        others = "others" if had == has else has
        raise UserError(
            f"expected the images that {path} was trained and validated on, {had}, got {others}: "
            "put the files back as they were, or give another output=FOLDER, or resume=false"
        )
