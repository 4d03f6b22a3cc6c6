"""What a training leaves in W&B: configuration, losses, reconstructions and their pictures."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gnclightning import cli
from gnclightning.data.ellipses import phantoms
from test_training import TINY
from wandb_files import Logged


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("training")
    settings = [s for s in TINY if not s.startswith("logger.")]
    tracked = ["logger.mode=offline", "trainer.max_steps=4", f"output={output}"]
    assert cli.train([*settings, *tracked, "prior.parametrisation=energy"]) == 0
    return output


def rows(folder: Path, column: str) -> dict[int, float]:
    """Step and value of a column of Lightning's CSV file."""
    with (folder / "logs/version_0/metrics.csv").open(newline="") as file:
        return {int(r["step"]): float(r[column]) for r in csv.DictReader(file) if r[column]}


@pytest.mark.parametrize("name", ["train/loss", "val/loss", "val/psnr", "val/ssim"])
def test_curves_are_those_of_the_csv_file(name, folder):
    logged = Logged(folder).history
    found = {row["trainer/global_step"]: row[name] for row in logged if name in row}
    assert found == pytest.approx(rows(folder, name))
    assert len(found) == (4 if name == "train/loss" else 2)
    assert all(math.isfinite(value) for value in found.values())


def test_reconstructions_come_every_so_many_steps(tmp_path):
    """Validations after 1, 2, 3, 4 and 5 steps, reconstructions due every 2."""
    often = ["trainer.val_check_interval=1", "trainer.max_steps=5"]
    assert cli.train([*TINY, *often, f"output={tmp_path}"]) == 0
    assert len(rows(tmp_path, "val/loss")) == 5
    # Lightning's loggers count the step that is under way, from 0 on.
    assert sorted(rows(tmp_path, "val/psnr")) == [1, 3]


def test_the_configuration_is_the_resolved_one(folder):
    config = Logged(folder).config
    assert config["network"]["channels"] == 8
    assert config["optimizer"]["warmup_steps"] == 100  # a default


def test_pictures_show_the_validation_images_beside_their_reconstructions(folder):
    """At both validations, two images each, all in [0,1]."""
    paths = sorted(folder.glob("wandb/offline-run-*/files/media/images/val/*.png"))
    assert len(paths) == 4
    pictures = np.stack([imread(path) for path in paths])
    truth, reconstructed = pictures[..., :16], pictures[..., 16:]
    assert reconstructed.shape == (4, 16, 16)
    images = phantoms(range(2), 0, "validation", 16)[:, 0]
    for image, reconstruction in zip(truth, reconstructed, strict=True):
        assert np.abs(image - images).max(axis=(1, 2)).min() <= 0.51 / 255
        assert 0.01 < np.abs(image - reconstruction).mean() < 0.5
