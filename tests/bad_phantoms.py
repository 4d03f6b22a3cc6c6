"""Defective files of phantoms."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from bad_files import GOOD, PAGE, READ
from bad_inputs import Case, reconstruction
from gnclightning import cli
from gnclightning.data.ellipses_file import PhantomSet, save_phantoms
from own_images import write_hdf5


def _phantoms(change: Callable[[Path], object], *settings: str) -> Callable[[Path], list[str]]:
    """Phantoms in a file, and what `change` does to it."""

    def plant(folder: Path) -> list[str]:
        save_phantoms(folder / "test.h5", PhantomSet(3, 16))
        change(folder / "test.h5")
        settings_of_file = ("data.file=test.h5", "data.count=3", "data.size=16", *settings)
        return reconstruction("data.name=ellipses", *settings_of_file)

    return plant


def _touch_pixel(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["images"][1, 8, 8] += np.float32(1e-6)


PHANTOMS = [
    Case(
        "phantoms: one pixel has changed since they were written",
        _phantoms(_touch_pixel),
        cli.reconstruct,
        says=("expected test.h5 as it was written", "make it anew with `gnc-data ellipses`"),
    ),
    Case(
        "phantoms: others in the file",
        _phantoms(lambda path: None, "data.start=1"),
        cli.reconstruct,
        says=("test phantoms 1 to 3 of 16x16 pixels in test.h5, got test phantoms 0 to 2", "give"),
    ),
    Case(
        "phantoms: another file",
        _phantoms(lambda path: write_hdf5(path, images=GOOD)),
        cli.reconstruct,
        says=("a file of phantoms of format 1 at test.h5, got another: make one with",),
    ),
    Case(
        "phantoms: a web page",
        _phantoms(lambda path: path.write_bytes(PAGE)),
        cli.reconstruct,
        says=("expected a file of phantoms at test.h5, got: ", READ),
    ),
]
