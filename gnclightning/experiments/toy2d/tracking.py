"""Weights & Biases: figures and rates of a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from gnclightning.experiments.toy2d.config import Toy2DConfig
from gnclightning.experiments.toy2d.methods import PAPER
from gnclightning.tracking import open_logger


def track(
    config: Toy2DConfig, folder: Path, summary: Mapping[str, Any], figures: Sequence[str]
) -> None:
    """Log below `toy2d/`; a failure is reported and does not end the run, whose files exist.

    Args:
        config: of the run.
        folder: the run folder.
        summary: see `storage.summarise`.
        figures: names of files in the run folder.
    """
    try:
        name = config.logger.name or folder.resolve().name
        logger = open_logger(config.logger.mode, config.logger.project, name, folder)
        run = logger.experiment
        run.config.update(asdict(config))
        for method in PAPER:
            columns = summary[method]
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            logger.log_table(f"toy2d/{method}", list(columns), rows)
        for figure in figures:
            logger.log_image(f"toy2d/{Path(figure).stem}", [str(folder / figure)])
        run.finish()
    except Exception as error:
        reason = " ".join(str(error).split())
        console = Console(stderr=True)
        console.print(f"W&B tracking stopped: {reason}", style="yellow", markup=False)
