"""Settings shared by all tests."""

import os

# The tensors here are small: a second thread gains nothing, and where other programs keep the
# cores busy, two threads wait for each other. Set before torch is imported, for subprocesses too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from gnclightning.reconstruction.writers import RunFolder
from run_folders import tiny_prior

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("explore", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def prior(tmp_path_factory) -> Path:
    """An untrained prior of images of 32 x 32 pixels."""
    return tiny_prior(tmp_path_factory.mktemp("prior") / "tiny.safetensors")


@pytest.fixture
def without_figures(monkeypatch):
    """Run folders without figures, which take longer to draw than small runs to do."""
    monkeypatch.setattr(RunFolder, "_draw", lambda self: None)
