"""What a run folder holds of an earlier run, and whether the present one may go on with it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnclightning import __version__
from gnclightning.errors import UserError
from gnclightning.reconstruction import chunks, folder

_INPUTS = "inputs.json"


def fingerprint(prior: nn.Module, data: Tensor, names: tuple[str, ...]) -> dict[str, str]:
    """What settings do not tell of a run: checksums of weights and data, and the version."""
    return {
        "prior": _digest(*prior.state_dict().values()),
        "data": hashlib.sha256((_digest(data) + json.dumps(names)).encode()).hexdigest(),
        "version": __version__,
    }


def inputs_file(path: Path) -> Path:
    """Where the fingerprint is kept while the run is not finished; later it is in its summary."""
    return path / chunks.NAME / _INPUTS


def is_finished(path: Path) -> bool:
    """Whether the run in a folder has come to its end; its chunks are then gone."""
    return bool(_summary(path).get("finished")) and not (path / chunks.NAME).exists()


def check_same(path: Path, inputs: Mapping[str, str], differences: Mapping[str, str]) -> None:
    """Raise `UserError` if the run in a folder is not the present one.

    Args:
        path: the folder.
        inputs: `fingerprint` of the present run.
        differences: settings that differ, and how: values of the present run and of the other.
    """
    kept = inputs_file(path)
    try:
        before = json.loads(kept.read_text()) if kept.is_file() else _summary(path).get("inputs")
    except ValueError:
        before = None
    found = [f"{key}={value}" for key, value in differences.items()]
    for key, value in (before or inputs).items():
        if inputs.get(key) != value:
            found.append(
                {"prior": "other weights of the prior", "data": "other data"}.get(
                    key, f"{key} {inputs.get(key)} (before: {value})"
                )
            )
    if found:
        raise UserError(
            f"expected the settings that the run in {path} began with, got {', '.join(found)}: "
            f"give those, or overwrite=true to begin anew, {folder.CHOOSE}"
        )


def _summary(path: Path) -> dict[str, Any]:
    file = path / folder.SUMMARY
    try:
        return json.loads(file.read_text()) if file.is_file() else {}
    except ValueError:
        return {}


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
