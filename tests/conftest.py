"""Settings shared by all tests."""

import os

# The tensors here are small: a second thread gains nothing, and where other programs keep the
# cores busy, two threads wait for each other. Set before torch is imported, for subprocesses too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("explore", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
