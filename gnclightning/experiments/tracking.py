"""Weights & Biases: tables and figures of a finished experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from gnclightning.config.common import LoggerConfig
from gnclightning.config.sections import Section
from gnclightning.tracking import open_logger

Columns = Sequence[str]
Rows = Sequence[Sequence[Any]]


def track(
    name: str,
    settings: Section,
    logging: LoggerConfig,
    folder: Path,
    tables: Mapping[str, tuple[Columns, Rows]],
    figures: Sequence[str],
) -> None:
    """Log below `NAME/`; a failure is reported and does not end the run, whose files exist.

    Args:
        name: of the experiment.
        settings: of the run.
        logging: where to log; its mode is not "disabled".
        folder: the run folder.
        tables: columns and rows, by name.
        figures: names of files in the run folder.
    """
    try:
        title = logging.name or folder.resolve().name
        logger = open_logger(logging.mode, logging.project, title, folder)
        run = logger.experiment
        run.config.update(asdict(settings))
        for key, (columns, rows) in tables.items():
            logger.log_table(f"{name}/{key}", list(columns), [list(row) for row in rows])
        for figure in figures:
            logger.log_image(f"{name}/{Path(figure).stem}", [str(folder / figure)])
        run.finish()
    except Exception as error:
        reason = " ".join(str(error).split())
        console = Console(stderr=True)
        console.print(f"W&B tracking stopped: {reason}", style="yellow", markup=False)
