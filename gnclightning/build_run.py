"""From a `ReconstructConfig` to a run folder: one process or several, begun or gone on with."""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from gnclightning.build_ldct import build_slice_series
from gnclightning.build_measurement import build_source
from gnclightning.build_preflight import Run, build_preflight
from gnclightning.build_reconstruction import (
    Ready,
    build_device,
    check_slices,
    effective_config,
    prepare,
)
from gnclightning.build_run_folder import prepare_run_folder, read_config, with_earlier_batch_size
from gnclightning.build_scan import in_units_of_images
from gnclightning.config import ReconstructConfig
from gnclightning.data.dicom.parallel import follow_parent
from gnclightning.errors import UserError
from gnclightning.memory import keep_memory
from gnclightning.reconstruction.chunks import NAME, Chunks
from gnclightning.reconstruction.folder import check_space, choose_folder, locked, probe_folder
from gnclightning.reconstruction.processes import (
    Launched,
    Processes,
    Starting,
    launched,
    share_cores,
)
from gnclightning.reconstruction.progress import ProgressBar, failures
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.reconstruction.report import Report
from gnclightning.reconstruction.resuming import is_finished
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.tracking import Tracking
from gnclightning.reconstruction.writers import (
    ChunkWriter,
    ImageMeasurements,
    Projections,
    RunFolder,
    estimate_size,
)
from gnclightning.tensors import full_float32
from gnclightning.tracking import check_mode, open_logger


def run_reconstruction(config: ReconstructConfig, dry_run: bool = False) -> None:
    """Measure and reconstruct as configured; prints a table and fills the run folder.

    An unfinished run of the same settings in the folder is gone on with. Several processes share
    the work if `torchrun` started this one, or `config.devices` asks for them.

    Args:
        config: the settings.
        dry_run: whether to stop after all checks, print what they found, and write nothing.

    Raises:
        UserError: anything that the configuration, the prior, the data or the run folder get
            wrong; before any work. Or a process that `torchrun` started ended before its time.
        OSError: a file cannot be read or written.
    """
    if not launched():
        folder = choose_folder(config.output, config.overwrite)
        processes = Processes()
        if config.devices > 1 and not dry_run:
            processes = Starting(config.devices, partial(_join, config, folder), _say)
        _take_part(config, folder, processes, dry_run)
        return
    if config.output is None:
        raise UserError("expected output=FOLDER where torchrun starts processes, got none: give it")
    processes = Launched()
    if processes.rank == 0:
        choose_folder(config.output, config.overwrite)
    _take_part(config, Path(config.output), processes, dry_run)


def _join(config: ReconstructConfig, folder: Path, rank: int, size: int) -> None:
    """What a process does that the first one has started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one ends the others
    follow_parent()
    try:
        _take_part(config, folder, Processes(rank, size))
    except (UserError, OSError, MemoryError) as error:
        print(f"error in process {rank}: {error}", file=sys.stderr)
        sys.exit(2)


def _take_part(
    config: ReconstructConfig, folder: Path, processes: Processes, dry_run: bool = False
) -> None:
    """One process of a run; the first prepares the folder and writes the results."""
    keep_memory()
    given, leads = config, processes.rank == 0
    share_cores(processes)
    device = build_device(config.device, processes.local_rank if processes.size > 1 else None)
    check_mode(config.logger.mode)
    if leads:
        config = with_earlier_batch_size(config, folder)
    check_slices(config)
    rejected: dict[str, str] = {}
    config, source = in_units_of_images(config, build_source(config, rejected))
    ready = prepare(config, source, device, processes=processes.local_size, rejected=rejected)
    effective = effective_config(ready.config, ready.geometry, device)
    images, failed = len(ready.measurements), 0
    if leads:
        _say_what_was_checked(given, ready, rejected, folder, device, dry_run)
    if dry_run:
        return
    with ExitStack() as stack:
        if leads:
            probe_folder(folder, _size(ready))
            stack.enter_context(locked(folder))
            prepare_run_folder(folder, effective, ready.inputs)
            # Before the others look, so that what is damaged is done again.
            failed = sum(map(failures, _chunks(folder, images).results()))
        stack.callback(processes.close)
        processes.begin()
        if is_finished(folder):
            if leads:
                _say(f"finished before: {folder}; overwrite=true begins anew")
            return
        chunks = _chunks(folder, images)
        ready.limit.size = read_config(folder).rows_at_once
        observers: list[Observer] = [ChunkWriter(chunks)]
        if leads:
            if finished := chunks.finished():
                _say(f"going on: {len(finished)} of {len(chunks)} chunks are finished")
            facts = {"inputs": ready.inputs}
            kind = _measurement(ready)
            observers.append(RunFolder(folder, kind, images, device, facts, rejected))
            observers.append(Report(folder))
            observers += _console_observers(effective, folder, chunks, failed)
            observers += build_slice_series(effective, folder)
        with full_float32():
            run(
                _work(ready, chunks, processes, observers),
                ready.measurements.operator,
                ready.methods,
                observers,
                lambda: list(chunks.results()) if leads else [],
                ready.limit,
            )
        if leads:
            chunks.finish()


def _work(
    ready: Ready, chunks: Chunks, processes: Processes, observers: Sequence[Observer]
) -> Iterator[MeasuredBatch]:
    """This process's share of the work; then, for the first one, what others have left undone."""

    def tell() -> None:
        for observer in observers:
            observer.waiting()

    yield from ready.measurements.batches(chunks.size, chunks.share(processes.rank, processes.size))
    processes.wait(tell)
    if processes.rank == 0:
        yield from ready.measurements.batches(chunks.size, chunks.share(0, 1))


def _say_what_was_checked(
    given: ReconstructConfig,
    ready: Ready,
    rejected: Mapping[str, str],
    folder: Path,
    device: torch.device,
    dry_run: bool,
) -> None:
    """All of it if there is nothing more to come, else the headline."""
    run = Run(
        given,
        ready.config,
        ready.source,
        ready.geometry,
        ready.operator,
        ready.metadata,
        ready.centre,
        ready.probe,
    )
    report = build_preflight(run, _size(ready), device)
    for reason in rejected.values():
        _say(f"left out: {reason}")
    if dry_run:
        check_space(folder, _size(ready))
        report.show_all(Console())
    else:
        report.show(Console(stderr=True), headline=ready.config.progress)


def _chunks(folder: Path, images: int) -> Chunks:
    """The chunks that the settings in the folder make, which may be those of an earlier run."""
    return Chunks(folder / NAME, images, read_config(folder).images_of_chunk, _say)


def _size(ready: Ready) -> int:
    """Bytes that a run writes."""
    steps = ready.config.solver.steps
    return estimate_size(len(ready.measurements), ready.operator, len(ready.methods), steps)


def _measurement(ready: Ready) -> Projections | ImageMeasurements:
    """What the run's files say of its measurements."""
    unit, operator = ready.metadata.intensity_unit, ready.config.operator
    if ready.geometry is not None:
        return Projections(unit, ready.geometry)
    return ImageMeasurements(unit, asdict(operator))


def _console_observers(
    config: ReconstructConfig, folder: Path, chunks: Chunks, failed: int
) -> list[Observer]:
    """Progress bar, table and tracking, as far as they are wanted."""
    messages = Console(stderr=True)
    observers: list[Observer] = []
    if config.progress:
        bar = ProgressBar(
            chunks.images,
            config.solver.steps,
            messages,
            table=config.live_table,
            finished=chunks.images_finished,
            failed=failed,
        )
        observers.append(bar)
    observers.append(FinalTable(folder, Console()))
    if config.logger.mode != "disabled":
        observers.append(_tracking(config, folder, chunks, messages))
    return observers


def _tracking(
    config: ReconstructConfig, folder: Path, chunks: Chunks, messages: Console
) -> Tracking:
    logger = config.logger
    name = logger.name or folder.resolve().name
    return Tracking(
        partial(open_logger, logger.mode, logger.project, name, folder),
        asdict(config),
        chunks.images,
        chunks.size,
        logger.images_every,
        messages,
    )


def _say(message: str) -> None:
    Console(stderr=True).print(message, highlight=False, markup=False, soft_wrap=True)
