"""`python -m gnclightning.experiments.tune`; `--help` lists the settings."""

import sys

from gnclightning.experiments.tune.program import tune

if __name__ == "__main__":
    sys.exit(tune())
