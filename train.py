"""Train a prior; `python train.py --help` lists the settings."""

import sys

from gnclightning.cli import train

if __name__ == "__main__":
    sys.exit(train())
