"""The run folder: where it is, and that it can be written to."""

import errno
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from gnclightning.errors import UserError

PARENT = Path("runs")
"""Where folders go that the user gave no name."""

CONFIG, METRICS, TRACE = "config.yaml", "metrics.csv", "trace.csv"
RECONSTRUCTIONS, SUMMARY = "reconstructions.h5", "summary.json"
CERTIFICATE, REPORT = "certificate.json", "report.html"
FIGURES, DICOM, NIFTI = "figures", "dicom", "nifti"
RECONSTRUCTIONS_FIGURE, ERRORS_FIGURE = "reconstructions.png", "errors.png"
CONVERGENCE_FIGURE, STARTS_FIGURE = "convergence.png", "starts.png"
ALPHA_FIGURE = "alpha.png"
_FILES = (
    *(f"{FIGURES}/{n}" for n in (RECONSTRUCTIONS_FIGURE, ERRORS_FIGURE)),
    *(f"{FIGURES}/{n}" for n in (CONVERGENCE_FIGURE, STARTS_FIGURE, ALPHA_FIGURE)),
    *(SUMMARY, METRICS, TRACE, RECONSTRUCTIONS, CERTIFICATE, REPORT, CONFIG),
)
"""In the order in which they are removed."""

LOCK = ".lock"
_PATIENCE_SECONDS = 2.0
"""Processes that a killed one had started need a moment to end."""

CHOOSE = "or choose another folder with output=FOLDER"
"""The end of most messages about a folder."""


def choose_folder(output: str | None, overwrite: bool) -> Path:
    """The run folder that the user asked for, or a new one below `runs`; makes nothing yet.

    Raises:
        UserError: it is no folder, it holds something that is no run and `overwrite` is not set, or
            it or what it will be made in is not writable.
    """
    folder = _new_folder() if output is None else Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder at output={output}, got a file: move it, {CHOOSE}")
    if folder.is_dir() and not overwrite and _holds_something_else(folder):
        raise UserError(
            f"expected an empty run folder, got {output} with files in it: give overwrite=true, "
            f"{CHOOSE}"
        )
    place = _existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"expected a run folder {folder} that can be written to, got {place}, which is "
            f"{'write-protected' if place.is_dir() else 'a file'}; check its path and "
            f"permissions, {CHOOSE}"
        )
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the system releases the lock even of a killed process.

    Raises:
        UserError: another run has it.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise UserError(
                        f"expected a run folder that no other run writes to, got {folder}, which "
                        f"is in use ({file.read().strip()}): wait until that has ended, {CHOOSE}"
                    ) from error
                time.sleep(_PATIENCE_SECONDS / 20)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def clear_folder(folder: Path) -> None:
    """Remove what an earlier run left, its settings last: what has none is no run."""
    for name in (DICOM, NIFTI):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote a file of the run."""
    for name in _FILES:
        path = folder / name
        for left in path.parent.glob(f".{path.stem}-*{path.suffix}"):
            left.unlink()
    for name in (DICOM, NIFTI):
        for left in folder.glob(f".{name}-*"):
            shutil.rmtree(left, ignore_errors=True)


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
            f"{error.strerror or error}; check its path and permissions, {CHOOSE}"
        ) from error


def _holds_something_else(folder: Path) -> bool:
    """Whether there is anything in a folder but a run, which can be gone on with.

    A run that was killed before it wrote its settings leaves nothing but hidden files.
    """
    if (folder / CONFIG).is_file():
        return False
    return any(not path.name.startswith(".") for path in folder.iterdir())


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
            f"{_megabytes(usage.free)}: free some space, {CHOOSE}"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
