"""`python -m gnclightning.experiments.comparison`; `--help` lists the settings."""

import sys

from gnclightning.experiments.comparison.program import comparison

if __name__ == "__main__":
    sys.exit(comparison())
