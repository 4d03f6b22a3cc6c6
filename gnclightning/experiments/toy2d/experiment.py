"""From a `Toy2DConfig` to a run folder."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

from gnclightning.config import save
from gnclightning.experiments.toy2d import figures
from gnclightning.experiments.toy2d.config import RunsConfig, Toy2DConfig
from gnclightning.experiments.toy2d.critical_points import Minima, find_minima
from gnclightning.experiments.toy2d.jobs import Job, grouped, perform
from gnclightning.experiments.toy2d.methods import PAPER, study_methods
from gnclightning.experiments.toy2d.progress import ProgressBar
from gnclightning.experiments.toy2d.storage import (
    RATES,
    Results,
    load,
    summarise,
    summarise_study,
    write_summary,
)
from gnclightning.experiments.tracking import Columns, Rows, track
from gnclightning.files import replacing
from gnclightning.reconstruction.folder import CONFIG, choose_folder, probe_folder
from gnclightning.tracking import check_mode

STUDY_T_MAX = 1.5
"""In the band where Algorithm 1 succeeds most often."""
_FILE_BYTES = 2**25
_SAVE_EVERY = 5.0
"""Seconds between two savings of what is finished; a saving takes some hundredths of one."""


def run_experiment(config: Toy2DConfig) -> None:
    """Run what is asked for and not yet done; fill the run folder.

    Raises:
        UserError: the run folder cannot be used.
        OSError: a file cannot be read or written.
    """
    begun, settings = time.perf_counter(), config.runs
    check_mode(config.logger.mode)
    folder, results = _open(config)
    minima = find_minima()
    t_max = values_of_t_max(settings)
    jobs = _jobs(settings, results, t_max, minima)
    _finish(jobs, config, folder, results)
    summary = summarise(results, t_max, minima, time.perf_counter() - begun)
    drawn = {"fig1.png": figures.draw(results, t_max, minima)}
    if settings.study:
        summary["study"] = summarise_study(results, STUDY_T_MAX)
        drawn["study.png"] = figures.draw_study(summary["study"])
    for name, figure in drawn.items():
        with replacing(folder / name) as temporary:
            figure.savefig(temporary)
    write_summary(folder, summary)
    console = Console()
    console.print(f"{folder}: {', '.join(drawn)}, {RATES}, summary.json", highlight=False)
    if config.logger.mode != "disabled":
        tables = {method: _columns(summary[method]) for method in PAPER}
        track("toy2d", config, config.logger, folder, tables, list(drawn))


def values_of_t_max(settings: RunsConfig) -> list[float]:
    """In ascending order, each once."""
    return sorted(set(settings.t_max or np.geomspace(1e-2, 10, settings.t_max_count).tolist()))


def _columns(rates: Mapping[str, Sequence[float]]) -> tuple[Columns, Rows]:
    """Rates over t_max as a table."""
    return list(rates), list(zip(*rates.values(), strict=True))


def _open(config: Toy2DConfig) -> tuple[Path, Results]:
    """The run folder, made if need be, and the results that it holds."""
    settings, folder = config.runs, Path(config.output)
    resumed = (folder / RATES).is_file() and not config.overwrite
    if not resumed:
        choose_folder(config.output, config.overwrite)
    results = load(folder, settings.starts, settings.steps) if resumed else None
    probe_folder(folder, _FILE_BYTES)
    with replacing(folder / CONFIG) as temporary:
        save(config, temporary)
    if results is None:
        results = Results(settings.starts, settings.steps)
        (folder / RATES).unlink(missing_ok=True)
    return folder, results


def _jobs(
    settings: RunsConfig, results: Results, t_max: Sequence[float], minima: Minima
) -> list[Job]:
    """What is left to do, the most expensive first, so that the workers end together."""
    wanted = {method: results.missing(method, t_max) for method in reversed(PAPER)}
    if settings.study:
        for method in study_methods(settings.steps):
            wanted[method] = results.missing(method, [STUDY_T_MAX])
    x, y = minima.points[0].tolist()
    return [
        Job(method, group, settings.starts, settings.steps, (x, y))
        for method, missing in wanted.items()
        for group in grouped(method, missing, settings.starts)
    ]


def _finish(jobs: Sequence[Job], config: Toy2DConfig, folder: Path, results: Results) -> None:
    """Do the jobs; what is finished is saved now and then, and however this ends."""
    total, saved = sum(len(job.t_max) for job in jobs), time.monotonic()
    work = config.runs.starts**2 * config.runs.steps
    with ProgressBar(total, work, config.progress) as bar:
        try:
            with closing(perform(jobs, config.runs.workers)) as finished:
                for job, found in finished:
                    for value, rates in zip(job.t_max, found, strict=True):
                        results.add(job.method, value, rates)
                    bar.advance(len(found))
                    if time.monotonic() - saved > _SAVE_EVERY:
                        results.save(folder)
                        saved = time.monotonic()
        finally:
            results.save(folder)
