"""Runs the arms of an experiment, each once, and writes what was found."""

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table as ScreenTable

from gnclightning.build_run import run_reconstruction
from gnclightning.build_run_folder import FREE
from gnclightning.config import from_yaml_text, save
from gnclightning.errors import UserError
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import GATHERED, ExperimentConfig
from gnclightning.experiments.arms.experiment import Experiment
from gnclightning.experiments.arms.findings import (
    PAGE,
    RESULTS,
    SUMMARY,
    Findings,
    write_findings,
)
from gnclightning.experiments.arms.results import Result, ResultRow
from gnclightning.experiments.arms.settings import configure
from gnclightning.experiments.commands import command
from gnclightning.experiments.tables import Table
from gnclightning.experiments.tracking import Columns, Rows, track
from gnclightning.files import replacing
from gnclightning.reconstruction.folder import (
    CHOOSE,
    CONFIG,
    PARENT,
    choose_folder,
    locked,
    probe_folder,
)
from gnclightning.reconstruction.resuming import check_same
from gnclightning.tracking import check_mode

ConfigT = TypeVar("ConfigT", bound=ExperimentConfig)
ARMS = "arms"
_FILE_BYTES = 2**20


class Laboratory:
    """Runs arms.

    Args:
        folder: of the experiment.
        given: settings of the user, for all arms.
        defaults: settings of the experiment that give way to those.
        begin: prepares the folder; called once, when the settings of the first arms are checked.
    """

    def __init__(
        self,
        folder: Path,
        given: Sequence[str],
        defaults: Sequence[str],
        begin: Callable[[], None],
    ):
        self._folder, self._given, self._defaults = folder, given, defaults
        self._begin = cache(begin)
        self._console = Console(stderr=True)

    def run(self, arms: Sequence[Arm], later: Sequence[Arm] = ()) -> list[Result]:
        """Run those arms that are not finished; the results of all, in their order.

        Args:
            arms: what is run.
            later: arms that will be run after these, whose settings are checked now.

        Raises:
            UserError: a setting does not fit; before any work, save for what only the prior or the
                data can tell. Or the folder of an arm holds another run.
        """
        configs = configure([*arms, *later], self._given, self._defaults)
        self._begin()
        found: list[Result] = []
        for number, (arm, config) in enumerate(zip(arms, configs, strict=False), start=1):
            folder = self._folder / ARMS / arm.name
            self._console.print(f"{number} of {len(arms)}: {arm.title} ({arm.name})", markup=False)
            folder.parent.mkdir(exist_ok=True)
            with redirect_stdout(sys.stderr):  # the output is the experiment's result
                run_reconstruction(replace(config, output=str(folder)))
            found.append(Result(arm, folder, config))
        return found


def run_experiment(experiment: Experiment[ConfigT], config: ConfigT) -> None:
    """Conduct an experiment, as far as that was not done, and fill its folder.

    Raises:
        UserError: settings, prior, data or folder cannot be used.
        OSError: a file cannot be read or written.
    """
    check_mode(config.logger.mode)
    folder = Path(config.output or PARENT / experiment.name)
    choose_folder(str(folder), config.overwrite)
    if not config.overwrite:
        _check_same(folder, config)
    with ExitStack() as stack:

        def begin() -> None:
            probe_folder(folder, _FILE_BYTES)
            stack.enter_context(locked(folder))
            if config.overwrite:
                _clear(folder)
            with replacing(folder / CONFIG) as temporary:
                save(config, temporary)

        laboratory = Laboratory(folder, config.settings, experiment.defaults(config), begin)
        findings = experiment.conduct(config, laboratory)
        again = command(experiment.name, config, GATHERED)
        figures = write_findings(folder, experiment.heading, again, findings)
        _show(findings, [*figures, RESULTS, PAGE, SUMMARY], folder)
        if config.logger.mode != "disabled":
            tables: dict[str, tuple[Columns, Rows]] = {
                "results": (ResultRow._fields, findings.rows)
            }
            for table in findings.tables:
                tables[table.title or "table"] = (table.columns, table.rows)
            track(experiment.name, config, config.logger, folder, tables, figures)


def _check_same(folder: Path, config: ExperimentConfig) -> None:
    """Raise `UserError` if a folder holds an experiment with other settings.

    One of which no arm has begun does not count: its prior or data may have been mistaken.
    """
    if not (folder / CONFIG).is_file():
        return
    try:
        before = from_yaml_text((folder / CONFIG).read_text(encoding="utf-8"), type(config))
    except ValueError as error:
        raise UserError(
            f"expected the settings of this experiment in {folder / CONFIG}, got others "
            f"({error}): {CHOOSE.removeprefix('or ')}, or give overwrite=true to begin anew"
        ) from error
    if not _begun(folder):
        return
    old, new = _content(before), _content(config)
    keys = [key for key in new | old if old.get(key) != new.get(key)]
    shown = {key: f"{new.get(key, 'null')} (before: {old.get(key, 'null')})" for key in keys}
    check_same(folder, {}, shown)


def _content(config: ExperimentConfig) -> dict[str, Any]:
    """What decides about the results."""
    found = asdict(config)
    pairs = (text.partition("=") for text in found.pop(GATHERED))
    return {
        key: value
        for key, value in [*found.items(), *((key, text) for key, _, text in pairs)]
        if key.partition(".")[0] not in FREE
    }


def _begun(folder: Path) -> list[Path]:
    """The folders of the arms that have begun."""
    return [path.parent for path in (folder / ARMS).glob(f"*/{CONFIG}")]


def _clear(folder: Path) -> None:
    """Remove what an earlier experiment left."""
    for arm in _begun(folder):
        shutil.rmtree(arm)
    for name in (RESULTS, PAGE, SUMMARY):
        (folder / name).unlink(missing_ok=True)


def _show(findings: Findings, files: Sequence[str], folder: Path) -> None:
    console = Console()
    for table in findings.tables[:1]:
        console.print(_on_screen(table))
    console.print(f"{folder}: {', '.join(files)}", highlight=False, soft_wrap=True, markup=False)


def _on_screen(table: Table) -> ScreenTable:
    # Without padding all columns fit a terminal of 80 characters.
    shown = ScreenTable(box=box.SIMPLE, title=table.title or None, padding=0, pad_edge=False)
    for number, (column, *cells) in enumerate(zip(table.columns, *table.rows, strict=True)):
        longest = max((len(word) for text in cells for word in text.split()), default=0)
        side = "left" if number == 0 else "right"
        shown.add_column(column, justify=side, overflow="fold", min_width=longest)
    for row in table.rows:
        shown.add_row(*row)
    return shown
