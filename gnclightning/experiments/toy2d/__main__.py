"""`python -m gnclightning.experiments.toy2d`; `--help` lists the settings."""

import sys

from gnclightning.experiments.toy2d.program import toy2d

if __name__ == "__main__":
    sys.exit(toy2d())
