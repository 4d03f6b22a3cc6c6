"""The run folder: where it is, and that it can be written to."""

import errno
import os
import shutil
import time
from itertools import count
from pathlib import Path

from gnclightning.errors import UserError

PARENT = Path("runs")
"""Where folders go that the user gave no name."""

CONFIG, METRICS, TRACE = "config.yaml", "metrics.csv", "trace.csv"
RECONSTRUCTIONS, SUMMARY = "reconstructions.h5", "summary.json"
CERTIFICATE, REPORT = "certificate.json", "report.html"
FIGURES, DICOM = "figures", "dicom"
RECONSTRUCTIONS_FIGURE, ERRORS_FIGURE = "reconstructions.png", "errors.png"
CONVERGENCE_FIGURE, STARTS_FIGURE = "convergence.png", "starts.png"

_CHOOSE = "or choose another folder with output=FOLDER"


def choose_folder(output: str | None, overwrite: bool) -> Path:
    """The run folder that the user asked for, or a new one below `runs`; makes nothing yet.

    Raises:
        UserError: it is no folder, it holds something and `overwrite` is not set, or it or what
            it will be made in is not writable.
    """
    folder = _new_folder() if output is None else Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder at output={output}, got a file: move it, {_CHOOSE}")
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise UserError(
            f"expected an empty run folder, got {output} with files in it: give overwrite=true, "
            f"{_CHOOSE}"
        )
    place = _existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"expected a run folder {folder} that can be written to, got {place}, which is "
            f"{'write-protected' if place.is_dir() else 'a file'}; check its path and "
            f"permissions, {_CHOOSE}"
        )
    return folder


def create_folder(folder: Path, size: int) -> None:
    """Make the folder of a run, and clear what an earlier run left; see `probe_folder`."""
    probe_folder(folder, size)
    (folder / FIGURES).mkdir(exist_ok=True)
    for name in (CONFIG, METRICS, TRACE, RECONSTRUCTIONS, SUMMARY, CERTIFICATE, REPORT):
        (folder / name).unlink(missing_ok=True)
    for name in (RECONSTRUCTIONS_FIGURE, ERRORS_FIGURE, CONVERGENCE_FIGURE, STARTS_FIGURE):
        (folder / FIGURES / name).unlink(missing_ok=True)
    shutil.rmtree(folder / DICOM, ignore_errors=True)


def probe_folder(folder: Path, size: int) -> None:
    """Make a run folder and try to write to it.

    Args:
        folder: where the run will write.
        size: bytes that the run will write, roughly.

    Raises:
        UserError: too little space, or the folder cannot be written to.
    """
    try:
        check_space(folder, size)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"expected a run folder {folder} that can be written to, got: "
            f"{error.strerror or error}; check its path and permissions, {_CHOOSE}"
        ) from error


def _new_folder() -> Path:
    """Named by date and time; a number tells apart those of one second."""
    name = time.strftime("%Y-%m-%d_%H-%M-%S")
    candidates = (PARENT / (name if n == 1 else f"{name}_{n}") for n in count(1))
    return next(folder for folder in candidates if not folder.exists())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    place = folder.absolute()
    return next(parent for parent in (place, *place.parents) if parent.exists())


def check_space(folder: Path, size: int) -> None:
    """Raise `UserError` if the file system has fewer than `size` bytes left for the folder."""
    existing = _existing(folder)
    usage = shutil.disk_usage(existing)
    # File systems without any space, such as /proc, refuse to write for reasons of their own.
    if usage.total > 0 and usage.free < size:
        raise UserError(
            f"expected {_megabytes(size)} free in {existing} for the run folder, got "
            f"{_megabytes(usage.free)}: free some space, {_CHOOSE}"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
