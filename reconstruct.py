"""Reconstruct images; `python reconstruct.py --help` lists the settings."""

import sys

from gnclightning.cli import reconstruct

if __name__ == "__main__":
    sys.exit(reconstruct())
