"""The settings that all experiments with arms share."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from gnclightning.config.common import OptionalLoggerConfig
from gnclightning.config.sections import Section
from gnclightning.errors import UserError
from gnclightning.experiments.arms.arm import key_of

GATHERED = "settings"


@dataclass(kw_only=True)
class ExperimentConfig(Section):
    """An experiment made of reconstructions."""

    output: str | None = None
    """Folder; null: named after the experiment, below runs/. What an interrupted run of the same
    settings has finished there is kept."""
    overwrite: bool = False
    """Whether to begin anew in a folder that is not empty."""
    quick: bool = False
    """Whether to show in seconds how it works, with few images and iterations; --quick for short.
    Its numbers are of no use."""
    settings: list[str] = field(default_factory=list[str])
    """Settings of the reconstructions. On the command line any setting of reconstruct.py is written
    beside those above, and replaces this list of a file: data.count=10 data.size=64
    geometry.angles=30 noise.relative=0.05 batch_size=4 seed=1 prior.path=WEIGHTS solver.t_min=0.01,
    or data.name=ldct data.path=FOLDER. Settings of solver.* go to the arms whose solver has
    them."""
    logger: OptionalLoggerConfig = field(default_factory=OptionalLoggerConfig)


def gather(schema: type[ExperimentConfig], words: Sequence[str]) -> list[str]:
    """Words of a command line, with those of reconstructions gathered in the list of them."""
    own = {f.name for f in fields(schema)}
    kept = [word for word in words if key_of(word).partition(".")[0] in own or "=" not in word]
    if any(key_of(word) == GATHERED for word in kept):
        raise UserError(
            "expected settings of the reconstructions beside the others, such as data.count=10, "
            "got a list: leave settings= out"
        )
    gathered = [word for word in words if word not in kept]
    return [*kept, f"{GATHERED}={json.dumps(gathered, ensure_ascii=False)}"] if gathered else kept
