"""Defective inputs planted before the programs, and what comes of each.

A case plants files in an empty folder and gives a command, which runs there, in this process, up to
the point where images would be trained on or reconstructed. Either the program ends with one line
and status 2, or it leaves the defective file out and its manifest says why.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from unittest import mock

import lightning
import numpy as np
import torch
from numpy.typing import NDArray

from gnclightning import build_run, cli
from run_folders import table, tiny_prior

OUTPUT, CACHE = Path("run"), Path("cache")
"""Where programs write to, below the folder of a case."""

SIZE = 32
PRIOR = "prior.path=p.safetensors"
OF_PHANTOMS = (
    PRIOR,
    "data.name=ellipses",
    f"data.size={SIZE}",
    "data.count=2",
    "methods=[]",
)

Images = Mapping[str, NDArray[np.float32]]
"""The images (N, H, W) of the sets "train" and "validation"."""


@dataclass(frozen=True)
class Case:
    """A defective input.

    Attributes:
        what: is wrong, for the table and as the name of the test.
        plant: writes the files into a folder, and returns the arguments.
        program: that is given them.
        says: parts of the line with which it ends, the name of the file or setting and the
            mending among them; empty if it goes on.
        rejected: for files that are left out the reason in the manifest and a part of its detail,
            by the name of the file.
        used: the images that are trained on if the program goes on.
        note: what the table says of a program that goes on and rejects nothing.
    """

    what: str
    plant: Callable[[Path], Sequence[str]]
    program: Callable[[Sequence[str]], int] = cli.train
    says: tuple[str, ...] = ()
    rejected: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    used: Images = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a program did.

    Attributes:
        arguments: that it was given.
        status: its exit status.
        out: what it printed to standard output.
        err: what it printed to standard error.
        used: the images that it would have trained on; None where it did not come to that.
        left: files that it left behind, other than the cache.
        rejections: rows of the manifest of files that are not used.
    """

    arguments: Sequence[str]
    status: int
    out: str
    err: str
    used: Images | None
    left: Sequence[str]
    rejections: Sequence[Mapping[str, str]]


def run(case: Case, folder: Path) -> Outcome:
    """Plant a case in an empty folder and run its command there, without training."""
    arguments = case.plant(folder)
    before = _files(folder)
    trained: list[lightning.LightningDataModule] = []

    def fit(trainer, module, data, **rest):
        trained.append(data)

    def never(*given):
        raise AssertionError("a reconstruction has begun")

    out, err = StringIO(), StringIO()
    with (
        mock.patch.object(lightning.Trainer, "fit", fit),
        mock.patch.object(build_run, "run", never),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(folder),
    ):
        status = case.program(arguments)
        used = _images(trained[0]) if trained else None
    rows = [row for path in (folder / CACHE).glob("*.csv") for row in table(path)]
    return Outcome(
        arguments,
        status,
        out.getvalue(),
        err.getvalue(),
        used,
        sorted(_files(folder) - before),
        [row for row in rows if row["status"] == "rejected"],
    )


def _files(folder: Path) -> set[str]:
    names = (path.relative_to(folder) for path in folder.rglob("*"))
    return {name.as_posix() for name in names if CACHE not in (name, *name.parents)}


def _images(data: lightning.LightningDataModule) -> Images:
    """One pass of the training stream, whose batches hold one image each, and the other set."""
    sets = {"train": data.train_dataloader(), "validation": data.val_dataloader()}
    return {name: torch.cat([*batches])[:, 0].numpy() for name, batches in sets.items()}


def training(*settings: str) -> list[str]:
    """A command that trains a tiny network."""
    return [
        "network.channels=8",
        "network.multipliers=[1,2]",
        "network.blocks=[1,1]",
        "optimizer.batch_size=1",
        "trainer.accelerator=cpu",
        "reconstruction.every_n_steps=0",
        "logger.mode=disabled",
        "progress=false",
        f"output={OUTPUT}",
        *settings,
    ]


def reconstruction(*settings: str) -> list[str]:
    """A command that reconstructs."""
    return ["logger.mode=disabled", "device=cpu", "progress=false", f"output={OUTPUT}", *settings]


def refused(
    what: str, plant: Callable[[Path], object], settings: Sequence[str], *says: str
) -> Case:
    """A reconstruction with good weights, p.safetensors, and what `plant` plants beside them."""

    def write(folder: Path) -> list[str]:
        tiny_prior(folder / "p.safetensors", (SIZE, SIZE))
        plant(folder)
        return reconstruction(*settings)

    return Case(what, write, cli.reconstruct, says)


def refused_phantoms(what: str, settings: Sequence[str], *says: str) -> Case:
    """A reconstruction of phantoms."""
    return refused(what, lambda folder: None, (*OF_PHANTOMS, *settings), *says)
