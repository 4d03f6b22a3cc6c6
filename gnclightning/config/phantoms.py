"""The schema of a file of phantoms."""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.common import SEEDS
from gnclightning.config.sections import Section, bounded


@dataclass(kw_only=True)
class PhantomsConfig(Section):
    """Write ELLIPSES phantoms to an HDF5 file with a checksum, for data.name=ellipses data.file."""

    path: str
    """The file, a new one."""
    count: int = bounded(100, ">= 1")
    """Images."""
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""
    split: Literal["test", "validation", "train"] = "test"
    """The set that the phantoms are drawn from."""
    start: int = bounded(0, ">= 0")
    """Index of the first phantom within the set."""
    seed: int = bounded(0, SEEDS)
    """Seed of the phantoms; that of test phantoms elsewhere is 0."""
