"""Weights & Biases through Lightning's logger; imported only when it is used."""

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

HOST = "api.wandb.ai"


def logged_in() -> bool:
    """Whether this user can send runs to W&B, judged without any network access."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(os.environ.get("WANDB_BASE_URL", HOST)) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_logger(mode: str, project: str, name: str | None, folder: Path) -> "WandbLogger | None":
    """A logger that writes below `folder`, or None.

    Args:
        mode: "online", "offline", "disabled", or "auto": online if the user is logged in.
        project: W&B project.
        name: of the run; None takes the folder's name.
        folder: where the run's files go; it must exist.
    """
    if mode == "disabled":
        return None
    from lightning.pytorch.loggers import WandbLogger

    offline = mode == "offline" or (mode == "auto" and not logged_in())
    return WandbLogger(
        name=name or folder.resolve().name, save_dir=folder, project=project, offline=offline
    )
