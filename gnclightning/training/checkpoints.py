"""Checkpoint files that are whole whenever a process, or the machine, is stopped."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gnclightning.files import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces, and to the disk before it does.

    Lightning writes in the system's folder for temporary files; where that is on another file
    system, moving the file is copying it onto the last good checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Replace the checkpoint at `path`; what killed processes left beside it goes first."""
        path = Path(path)
        for left in path.parent.glob(f".{path.stem}-*{path.suffix}"):
            left.unlink()
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
