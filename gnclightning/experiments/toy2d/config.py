"""The schema of the 2D experiment."""

from dataclasses import dataclass, field, replace

from gnclightning.config.common import OptionalLoggerConfig
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
class Toy2DConfig(Section):
    """Reproduce the 2D experiment of the paper (Section 4.1, Fig. 1)."""

    output: str = "runs/toy2d"
    """Run folder; what an interrupted run of the same settings has finished there is kept."""
    overwrite: bool = False
    """Whether to begin anew in a run folder that is not empty."""
    quick: bool = False
    """Whether to show in seconds how it works, with at most 12 starts along each side, 130
    iterations and 5 values of t_max; --quick for short. Its numbers are of no use."""
    progress: bool = True
    """Whether to show a progress bar."""
    toy2d: RunsConfig = field(default_factory=RunsConfig)
    logger: OptionalLoggerConfig = field(default_factory=OptionalLoggerConfig)

    @property
    def runs(self) -> RunsConfig:
        """What is run."""
        asked, most = self.toy2d, _QUICK
        if not self.quick:
            return asked
        return replace(
            asked,
            starts=min(asked.starts, most.starts),
            steps=min(asked.steps, most.steps),
            t_max_count=min(asked.t_max_count, most.t_max_count),
        )


_QUICK = RunsConfig(starts=12, steps=130, t_max_count=5)
