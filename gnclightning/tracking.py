"""Weights & Biases through Lightning's logger; imported only when it is used."""

import netrc
import os
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gnclightning.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

STEP = "trainer/global_step"
"""The x axis of a training: what Lightning's logger logs beside each value."""

HOST = "https://api.wandb.ai"
_START_SECONDS, _FINISH_SECONDS = 10.0, 60.0
"""How long a run waits for the network, which may be away, when tracking starts and ends."""


def logged_in() -> bool:
    """Whether this user can send runs to W&B, judged without any network access."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", HOST)).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def check_mode(mode: str) -> None:
    """Refuse what W&B would interrupt a run for, to ask for a key."""
    if mode == "online" and not logged_in():
        raise UserError(
            "expected a W&B login for logger.mode=online, found none: run `wandb login`, or give "
            "logger.mode=offline"
        )


def effective_mode(mode: str) -> str:
    """What "auto" stands for: "online" if the user is logged in, else "offline"."""
    if mode == "auto":
        return "online" if logged_in() else "offline"
    return mode


def open_logger(mode: str, project: str, name: str, folder: Path) -> "WandbLogger":
    """Start a run, whose files lie below `folder`, and give it to Lightning's logger.

    Where W&B cannot be reached the run is kept offline, with a warning. What is not sent when the
    run ends stays on the disk, from where `wandb sync` sends it.

    Args:
        mode: "online", "offline", or "auto", see `effective_mode`.
        project: W&B project.
        name: of the run.
        folder: existing folder.
    """
    import wandb
    from lightning.pytorch.loggers import WandbLogger
    from wandb.errors import AuthenticationError, CommError

    mode = effective_mode(mode)
    assert mode in ("online", "offline")
    # Started here, as Lightning would set WANDB_MODE for the rest of the process, and an x axis of
    # its own. Silent and without capture of the console: messages would tear the progress bar.
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, init_timeout=_START_SECONDS
    )
    if hasattr(settings, "finish_timeout"):  # earlier versions wait until all is sent
        settings.finish_timeout = _FINISH_SECONDS
    start = partial(wandb.init, project=project, name=name, dir=folder, settings=settings)
    try:
        run = start(mode=mode)
    except AuthenticationError:
        raise  # a key that is refused would be refused when the run is sent later, too
    except CommError as error:
        reason = " ".join(str(error).split())
        warnings.warn(
            f"W&B cannot be reached, the run is kept offline; `wandb sync` sends it: {reason}",
            stacklevel=2,
        )
        run = start(mode="offline")
    return WandbLogger(experiment=run)


def define_panels(logger: "WandbLogger") -> None:
    """Let a training's panels have steps as x axis, and its summary the best values."""
    run = logger.experiment
    run.define_metric(STEP, hidden=True)
    for group in ("train", "validation", "images"):
        run.define_metric(f"{group}/*", step_metric=STEP)
    for name, best in (("loss", "min"), ("psnr", "max"), ("ssim", "max")):
        run.define_metric(f"validation/{name}", step_metric=STEP, summary=best)
