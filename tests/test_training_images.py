"""A training goes on with the images that it had, wherever these are, and with no others."""

import shutil

import numpy as np
import pytest
import torch

from dicom_trees import write_series
from gnclightning import cli
from trainings import TINY, differing, train

PHANTOMS = ("data.size", "data.train_count", "data.validation_count")
OTHERS = [s for s in TINY if not s.startswith(PHANTOMS)]
FEW = ["reconstruction.every_n_steps=0", "trainer.val_check_interval=100"]


def settings(kind: str, images, cache) -> list[str]:
    if kind == "folder":
        return ["data.name=folder", f"data.path={images}"]
    return [
        *("data.name=ldct", "data.size=16", "data.conversion_workers=0", "data.seed=0"),
        *(f"data.path={images}", f"data.cache={cache}"),
    ]


def start(output, steps: int, *more: str) -> int:
    return cli.train([*OTHERS, *FEW, f"output={output}", f"trainer.max_steps={steps}", *more])


def plant(kind: str, images, numbers) -> None:
    """Images, or patients, with these numbers."""
    for number in numbers:
        if kind == "folder":
            images.mkdir(exist_ok=True)
            stack = np.random.default_rng(number).random((16, 16), dtype=np.float32)
            np.save(images / f"{number:02}.npy", stack)
        else:
            write_series(images, f"C{number:03}", 3)


def change_one(kind: str, images) -> None:
    """Another image in the place of one."""
    if kind == "folder":
        np.save(images / "03.npy", np.load(images / "03.npy")[::-1])
    else:
        write_series(images, "C003", 3, change=lambda d: setattr(d, "RescaleIntercept", -1000))


@pytest.mark.parametrize("kind", ["folder", "ldct"])
def test_other_images_are_refused(kind, tmp_path, capsys):
    """Ten images of which one is for validation; six patients of three slices, likewise."""
    images, output, count = tmp_path / "images", tmp_path / "run", {"folder": 10, "ldct": 6}[kind]
    data = settings(kind, images, tmp_path / "cache")
    plant(kind, images, range(count))
    assert start(output, 1, *data) == 0
    before = (output / "prior.safetensors").read_bytes()
    shutil.copytree(images, tmp_path / "more")
    plant(kind, tmp_path / "more", range(count, 16))
    change_one(kind, images)
    numbers = {"folder": ("9 and 1", "14 and 2"), "ldct": ("15 and 3", "42 and 6")}[kind]
    more = settings(kind, tmp_path / "more", tmp_path / "cache")
    for now, found in ((more, numbers[1]), (data, "others")):
        capsys.readouterr()
        assert start(output, 2, *now) == 2
        error = capsys.readouterr().err
        expected = f"images that {output / 'last.ckpt'} was trained and validated on, {numbers[0]}"
        assert f"{expected}, got {found}: put the files back" in error
        assert error.count("\n") == 1
    assert (output / "prior.safetensors").read_bytes() == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["folder", "ldct"])
def test_the_same_images_may_lie_elsewhere_and_be_prepared_by_others(kind, tmp_path):
    images, cache = tmp_path / "images", tmp_path / "cache"
    plant(kind, images, range(6))
    assert start(tmp_path / "whole", 2, *settings(kind, images, cache)) == 0
    assert start(tmp_path / "parts", 1, *settings(kind, images, cache)) == 0
    images.rename(tmp_path / "moved")
    moved = settings(kind, tmp_path / "moved", tmp_path / "another cache")
    assert start(tmp_path / "parts", 2, *moved, "data.workers=1") == 0
    whole, parts = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    )
    assert differing(parts, whole) == []


def test_settings_are_those_of_the_checkpoint_and_not_of_a_run_that_wrote_none(
    tmp_path, capsys, monkeypatch
):
    """A training that was to start anew was killed at once: the checkpoint is of the old one."""
    train(tmp_path, 1, *FEW)
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: None)
    train(tmp_path, 1, *FEW, "seed=5", "resume=false")
    monkeypatch.undo()
    command = [*TINY, *FEW, f"output={tmp_path}", "trainer.max_steps=2", "seed=5"]
    assert cli.train(command) == 2
    assert "was trained with another seed than is asked for" in capsys.readouterr().err
