"""The folder of a run: begun anew, or gone on with if it holds the same run unfinished."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gnclightning.config import ReconstructConfig, from_yaml_text, save
from gnclightning.errors import UserError
from gnclightning.files import replacing, write_json
from gnclightning.reconstruction.chunks import NAME, remove_folder
from gnclightning.reconstruction.folder import (
    CHOOSE,
    CONFIG,
    clear_folder,
    clear_unfinished,
)
from gnclightning.reconstruction.resuming import check_same, inputs_file, is_finished

FREE = {"output", "overwrite", "devices", "progress", "live_table", "logger"}
"""Settings that do not change any number of the result."""


def with_earlier_batch_size(config: ReconstructConfig, folder: Path) -> ReconstructConfig:
    """The settings with the batch size of the run that is gone on with: chunks depend on it."""
    if config.batch_size != "auto" or config.overwrite or not (folder / CONFIG).is_file():
        return config
    return replace(config, batch_size=read_config(folder).batch_size)


def prepare_run_folder(folder: Path, config: ReconstructConfig, inputs: Mapping[str, str]) -> None:
    """Make a folder, which is locked, that of this run; a finished one is left as it is.

    Args:
        folder: of the run.
        config: the effective settings.
        inputs: see `resuming.fingerprint`.

    Raises:
        UserError: it holds another run, and `overwrite` is not set.
    """
    clear_unfinished(folder)
    if config.overwrite:
        remove_folder(folder / NAME)
        clear_folder(folder)
    if not (folder / CONFIG).is_file():
        with replacing(folder / CONFIG) as temporary:
            save(config, temporary)
    check_same(folder, inputs, _differences(read_config(folder), config))
    if not is_finished(folder):
        (folder / NAME).mkdir(exist_ok=True)
        for left in (folder / NAME).glob(".*"):
            left.unlink()  # of a process that was killed while it wrote
        write_json(inputs_file(folder), inputs)


def read_config(folder: Path) -> ReconstructConfig:
    """The settings of the run in a folder; raises `UserError` if they cannot be read."""
    try:
        return from_yaml_text((folder / CONFIG).read_text(encoding="utf-8"), ReconstructConfig)
    except ValueError as error:
        raise UserError(
            f"expected the settings of a run in {folder / CONFIG}, got: {error}; give "
            f"overwrite=true to begin anew, {CHOOSE}"
        ) from error


def _differences(before: ReconstructConfig, now: ReconstructConfig) -> dict[str, str]:
    """Settings that are not the same: what they are now, and were before."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in new | old if old.get(key) != new.get(key)]
    return {key: f"{_shown(new, key)} (before: {_shown(old, key)})" for key in keys}


def _flat(config: ReconstructConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in asdict(config).items():
        if key in FREE:
            continue
        inner = value.items() if isinstance(value, dict) else None
        found |= {f"{key}.{name}": v for name, v in inner} if inner else {key: value}
    return found


def _shown(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return "null" if value is None else str(value)
