"""Phantoms in a file: the same as generated ones, and nothing else passes for them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning import cli
from gnclightning.build_measurement import build_images
from gnclightning.config import load_reconstruct_config
from gnclightning.data.ellipses import phantoms
from gnclightning.data.ellipses_file import PhantomSet, digest, load_phantoms, save_phantoms
from gnclightning.data.folder import read_images
from gnclightning.errors import UserError

SMALL = PhantomSet(count=5, size=16, start=2)


@pytest.fixture
def file(tmp_path) -> Path:
    save_phantoms(tmp_path / "test.h5", SMALL)
    return tmp_path / "test.h5"


def test_the_default_test_set_never_changes():
    """The 100 phantoms that results are of.

    The first numbers allow for the rounding of a platform's sine, cosine and logarithm, a relative
    1e-6. The checksum is of the very bits: sums of intensities are exact integers and the one
    division is correctly rounded, so other roundings change it only if a pixel's centre lies within
    some 1e-15 of an edge, or an intensity as near to the middle between two multiples of 2^-40.
    Where the numbers agree and the checksum does not, that is what has happened.
    """
    which = PhantomSet(count=100, size=128)
    images = which.make()
    wide = images.astype(np.float64)
    weights = np.random.default_rng(0).random(images.shape)
    assert [wide.mean(), (wide**2).mean(), (weights * wide).mean()] == pytest.approx(
        [0.1042437234, 0.0466611943, 0.0521134144], rel=1e-6
    )
    assert digest(which, images) == (
        "6e42b04590cfee71d250ecf74b6bcd74e810c672889d49f8d835e539a011bef2"
    )


def test_what_is_read_is_what_is_generated(file):
    expected = phantoms(range(2, 7), 0, "test", 16)[:, 0]
    np.testing.assert_array_equal(load_phantoms(file, SMALL), expected)
    part = replace(SMALL, start=4, count=2)
    np.testing.assert_array_equal(load_phantoms(file, part), expected[2:4])
    np.testing.assert_array_equal(read_images(file).images[:, 0], expected)


def test_a_run_has_the_same_images_names_and_seeds_as_without_a_file(file):
    data = ("data.name=ellipses", "data.size=16", "data.start=3", "data.count=2")
    read, made = (
        build_images(load_reconstruct_config(None, [*data, *more]))
        for more in ([f"data.file={file}"], [])
    )
    assert torch.equal(read.images, made.images)
    assert (
        (read.names, read.seeds)
        == (made.names, made.seeds)
        == (
            ("ellipses[3]", "ellipses[4]"),
            (3, 4),
        )
    )


def test_the_seed_is_that_of_the_file(tmp_path):
    save_phantoms(tmp_path / "a.h5", PhantomSet(1, 16, seed=7))
    read = load_phantoms(tmp_path / "a.h5", PhantomSet(1, 16))
    np.testing.assert_array_equal(read, phantoms([0], 7, "test", 16)[0])


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("start", 3), ("split", "train"), ("sha256", "0")]
)
def test_a_description_that_has_changed_is_noticed(file, name, value):
    with h5py.File(file, "r+") as opened:
        opened.attrs[name] = value
    with pytest.raises(UserError, match="as it was written, got other contents"):
        load_phantoms(file, SMALL)


@pytest.mark.parametrize(
    "change", [{"start": 1}, {"count": 6}, {"size": 32}, {"split": "validation"}]
)
def test_phantoms_that_are_not_in_the_file(file, change):
    with pytest.raises(UserError, match=r"got test phantoms 2 to 6 of 16x16 pixels: give data"):
        load_phantoms(file, replace(SMALL, **change))


def test_the_program_writes_a_new_file_and_tells_its_checksum(tmp_path, capsys):
    path = tmp_path / "new" / "small.h5"
    arguments = ["ellipses", str(path), "count=5", "size=16", "start=2"]
    assert cli.data(arguments) == 0
    out, err = capsys.readouterr()
    checksum = digest(SMALL, SMALL.make())
    assert (out, err) == (
        f"{path}: test phantoms 2 to 6 of 16x16 pixels, SHA-256 of the contents {checksum}\n",
        "",
    )
    np.testing.assert_array_equal(load_phantoms(path, SMALL), SMALL.make())
    content = path.read_bytes()
    assert cli.data(arguments) == 2
    assert capsys.readouterr().err == (
        f"error: expected a new file, got {path}, which exists: name another\n"
    )
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["small.h5"]


def test_help_is_that_of_the_command(capsys):
    assert cli.data(["ellipses", "--help"]) == 0
    out = capsys.readouterr().out
    assert " ellipses FILE [--config FILE]" in out
    assert "\n    count=100 " in out
