"""Settings shared by all tests."""

import os

# The tensors here are small: a second thread gains nothing, and where other programs keep the
# cores busy, two threads wait for each other. Set before torch is imported, for subprocesses too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from gnclightning.reconstruction.writers import RunFolder
from run_folders import run, tiny_prior
from stopped_runs import WORK

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("explore", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def prior(tmp_path_factory) -> Path:
    """An untrained prior of images of 32 x 32 pixels."""
    return tiny_prior(tmp_path_factory.mktemp("prior") / "tiny.safetensors")


@pytest.fixture(scope="session")
def undisturbed(prior, tmp_path_factory) -> Path:
    """A run of seven images in four chunks; those that were stopped shall leave the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_draw", lambda self: None)
        return run(prior, tmp_path_factory.mktemp("run") / "whole", *WORK)


@pytest.fixture(scope="session")
def runs(prior, tmp_path_factory) -> dict[str, Path]:
    """A quick run of each experiment; that of Table 1 has two images and is tracked."""
    from quick_experiments import PROGRAMS, words  # here, as all other tests do without

    root = tmp_path_factory.mktemp("experiments")
    more = {"table1": ("data.count=2", "logger.mode=offline")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_draw", lambda self: None)
        for name, program in PROGRAMS.items():
            assert program(words(prior, root / name, *more.get(name, ()))) == 0
    return {name: root / name for name in PROGRAMS}


@pytest.fixture
def without_figures(monkeypatch):
    """Run folders without figures, which take longer to draw than small runs to do."""
    monkeypatch.setattr(RunFolder, "_draw", lambda self: None)
