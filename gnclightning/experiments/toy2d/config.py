"""The schema of the 2D experiment."""

from dataclasses import dataclass, field
from typing import Literal

from gnclightning.config.common import LoggerConfig
from gnclightning.config.sections import Section, bounded, within


@dataclass(kw_only=True)
class RunsConfig(Section):
    """What is run; the defaults are the paper's."""

    starts: int = bounded(100, ">= 2")
    """Starts along each side of the square [-10,10]^2, which holds the square of this number."""
    steps: int = bounded(1300, ">= 2")
    """Iterations, over which t falls evenly from t_max to 1e-3."""
    t_max_count: int = bounded(100, ">= 2")
    """Values of t_max, evenly spaced on a log scale from 0.01 to 10."""
    t_max: list[float] = field(default_factory=list, metadata=within(">= 0.001"))
    """Values of t_max in place of those; empty: those."""
    study: bool = False
    """Whether to study remedies for Algorithm 2 too: the descent condition after K iterations, a
    metric, a nonmonotone search."""
    workers: int | None = bounded(None, ">= 1")
    """Processes; null: as many as there are cores."""


@dataclass(kw_only=True)
class OptionalLoggerConfig(LoggerConfig):
    """Tracking with Weights & Biases; the files are written in any case."""

    mode: Literal["auto", "online", "offline", "disabled"] = "disabled"
    """Whether figures and rates are sent; auto: online if logged in to W&B, else offline."""


@dataclass(kw_only=True)
class Toy2DConfig(Section):
    """Reproduce the 2D experiment of the paper (Section 4.1, Fig. 1)."""

    output: str = "runs/toy2d"
    """Run folder; what an interrupted run of the same settings has finished there is kept."""
    overwrite: bool = False
    """Whether to begin anew in a run folder that is not empty."""
    progress: bool = True
    """Whether to show a progress bar."""
    toy2d: RunsConfig = field(default_factory=RunsConfig)
    logger: OptionalLoggerConfig = field(default_factory=OptionalLoggerConfig)
