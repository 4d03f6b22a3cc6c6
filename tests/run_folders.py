"""Small reconstruction runs, shared by the tests of what a run leaves behind."""

import csv
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gnclightning import build_run
from gnclightning.build import run_reconstruction
from gnclightning.build_measurement import build_geometry, build_images, build_measurements
from gnclightning.cli import reconstruct
from gnclightning.config import ReconstructConfig, load_reconstruct_config
from gnclightning.networks import UNet, UNetConfig
from gnclightning.operators import Radon
from gnclightning.priors import NetworkEnergy, NetworkPrior, PriorMetadata, save_pretrained
from gnclightning.reconstruction.chunks import Chunks
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.sde import SDE, VPSDE

PHANTOMS = ("data.name=ellipses", "data.size=32", "data.count=3")

FAST = (
    "geometry.angles=20",
    "solver.steps=6",
    "solver.t_min=1e-3",
    "solver.mean_steps=4",
    "tv.iterations=10",
    "device=cpu",
    "progress=false",
    "batch_size=8",
    "logger.mode=disabled",
)
"""A few iterations, nothing on the screen but the table."""

STEPS, COUNT = 6, 3
NAMES = tuple(f"ellipses[{n}]" for n in range(COUNT))
METHODS = ("fbp", "tv", "preconditioned")
"""Of a fast run."""


def tiny_network(channels: int = 1) -> UNet:
    """A network whose every parameter matters (fresh ones have zero layers)."""
    torch.manual_seed(0)
    config = UNetConfig(
        channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16, image_channels=channels
    )
    network = UNet(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network


def tiny_prior(
    path: Path,
    shape: tuple[int, int] = (32, 32),
    kind: type[NetworkPrior] = NetworkEnergy,
    sde: SDE | None = None,
    channels: int = 1,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    symmetric: bool = False,
) -> Path:
    """Save an untrained prior as `path`."""
    prior = kind(sde or VPSDE(), tiny_network(channels))
    save_pretrained(prior, PriorMetadata(shape, intensity_range, symmetric=symmetric), path)
    return path


def own_images(folder: Path, array: NDArray) -> tuple[str, ...]:
    """Settings for own images, which are written to the folder."""
    np.save(folder / "images.npy", array)
    return ("data.name=folder", f"data.path={folder / 'images.npy'}")


def settings(
    prior: Path, output: Path, *overrides: str, data: Sequence[str] = PHANTOMS
) -> list[str]:
    """The settings of a fast run, of three phantoms of 32x32 unless `data` says otherwise."""
    return [*data, *FAST, f"prior.path={prior}", f"output={output}", *overrides]


def configure(
    prior: Path, output: Path, *overrides: str, data: Sequence[str] = PHANTOMS
) -> ReconstructConfig:
    """The configuration of a fast run."""
    return load_reconstruct_config(None, settings(prior, output, *overrides, data=data))


def run(prior: Path, output: Path, *overrides: str, data: Sequence[str] = PHANTOMS) -> Path:
    """Do a fast run; its folder."""
    run_reconstruction(configure(prior, output, *overrides, data=data))
    return output


def refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], output: Path, parts: Sequence[str]
) -> None:
    """The command fails with one line that holds all parts, and leaves no folder."""
    assert reconstruct(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not output.exists()


def measured(prior: Path, *overrides: str) -> list[MeasuredBatch]:
    """The measured batches of a fast run."""
    config = configure(prior, Path("unused"), *overrides)
    images = build_images(config)
    operator = Radon(build_geometry(config.geometry, images.shape, images))
    return list(build_measurements(config, images, operator).batches(config.images_at_once))


def without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs do all but the work itself."""
    monkeypatch.setattr(build_run, "run", lambda *_: None)
    monkeypatch.setattr(Chunks, "finish", lambda self: None)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(path: Path, name: str, **conditions: str) -> list[float]:
    """The numbers of a column of a CSV file, of rows that satisfy the conditions."""
    return [
        float(row[name])
        for row in table(path)
        if all(row[key] == value for key, value in conditions.items())
    ]


def tensor(array: NDArray[np.float32]) -> torch.Tensor:
    """Images or sinograms of a data set, with the dimension of channels."""
    return torch.from_numpy(array)[:, None]


def arrays(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The data sets of a run's `reconstructions.h5`."""
    with h5py.File(folder / "reconstructions.h5") as file:
        return {name: file[name][:] for name in file}
