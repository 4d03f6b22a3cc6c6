"""Jobs for worker processes: one method with a few values of t_max."""

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import torch

from gnclightning.experiments.toy2d.methods import PAPER, schedules, study_methods
from gnclightning.experiments.toy2d.problem import batch_last, objective, start_grid
from gnclightning.experiments.toy2d.rates import Rates, measure
from gnclightning.memory import keep_memory

_ROWS, _ROWS_OF_SEARCHES = 10_000, 50_000
"""Points that are worth a batch: with fewer, the calls cost more than the numbers. Methods that
search make many calls for the few points that are not content with the first trial."""


@dataclass(frozen=True)
class Job:
    """A method, the values of t_max to run it with, and the size of each run.

    Attributes:
        method: name, see `methods`.
        t_max: start times.
        starts: along each side of the square.
        steps: iterations.
        minimiser: global minimiser of f.
    """

    method: str
    t_max: tuple[float, ...]
    starts: int
    steps: int
    minimiser: tuple[float, float]

    def __call__(self) -> list[Rates]:
        """The rates for each t_max."""
        methods = {**PAPER, **study_methods(self.steps)}
        count, grid = len(self.t_max), start_grid(self.starts)
        return measure(
            methods[self.method](schedules(list(self.t_max), self.steps)),
            objective(count * len(grid)),
            batch_last(grid.repeat(count, 1)),
            torch.arange(count).repeat_interleave(len(grid)),
            self.steps,
            torch.tensor(self.minimiser, dtype=torch.float64),
        )


def grouped(method: str, t_max: Sequence[float], starts: int) -> list[tuple[float, ...]]:
    """The values of t_max in groups that make a batch worth its while."""
    rows = _ROWS if method == "alg1" else _ROWS_OF_SEARCHES
    size = max(1, rows // starts**2)
    return [tuple(t_max[i : i + size]) for i in range(0, len(t_max), size)]


def perform(jobs: Sequence[Job], workers: int | None) -> Generator[tuple[Job, list[Rates]]]:
    """Do all jobs, as they are finished.

    Args:
        jobs: in the order in which they are begun.
        workers: processes; None: as many as there are cores. One: this process.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        keep_memory()
        yield from ((job, job()) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy PyTorch's threads' locks
    with ProcessPoolExecutor(workers, context, initializer=_prepare) as executor:
        try:
            waiting = {executor.submit(job): job for job in jobs}
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _prepare() -> None:
    """One thread per worker; interruptions are the parent's business."""
    torch.set_num_threads(1)
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
