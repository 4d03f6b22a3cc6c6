"""The schema of the tuning."""

from dataclasses import dataclass, field
from typing import get_args

from gnclightning.config.baselines import Baseline
from gnclightning.config.common import SEEDS
from gnclightning.config.reconstruct import DEFAULT_NOISE, PriorSourceConfig
from gnclightning.config.sections import Section, bounded


@dataclass(kw_only=True)
class TuneConfig(Section):
    """Tune the methods of docs/baselines.md on validation phantoms."""

    output: str = "runs/tune"
    """Run folder; what an interrupted run of the same settings has finished there is kept."""
    overwrite: bool = False
    """Whether to begin anew in a run folder that is not empty."""
    methods: list[Baseline] = field(default_factory=lambda: list(get_args(Baseline)))
    """Methods to tune, in this order."""
    quick: bool = False
    """Whether to show in a minute how it works: two phantoms, two values of each setting, few
    iterations; --quick for short. Its numbers are of no use."""
    phantoms: int = bounded(5, ">= 1")
    """ELLIPSES phantoms of the validation set, the first ones."""
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""
    angles: int = bounded(60, ">= 1")
    """Projection angles."""
    noise: float = bounded(DEFAULT_NOISE, "> 0")
    """Noise as a part of the mean absolute value of each sinogram."""
    seed: int = bounded(0, SEEDS)
    """Seed of noise and starts."""
    prior: PriorSourceConfig = field(default_factory=PriorSourceConfig)
