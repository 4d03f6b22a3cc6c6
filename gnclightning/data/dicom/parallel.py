"""Mapping over processes, in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from gnclightning.errors import UserError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_AHEAD = 4
"""Tasks per process that may wait or be done before the oldest result has been taken."""
_BATCH = 16
"""Items per task: one file takes milliseconds, about as long as handing it over."""


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def mapped(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], workers: int | None
) -> Iterator[ResultT]:
    """The results of `function` for all items, in their order.

    Args:
        function: of one item; it can be pickled, and so can its results.
        items: what to map.
        workers: processes, None for one per core; with 0 this process does the work.

    Raises:
        UserError: a process was killed, which happens where memory runs out.
    """
    wanted = cores() if workers is None else workers
    processes = min(wanted, -(-len(items) // _BATCH))
    if processes == 0:
        yield from map(function, items)
        return
    # Forked processes could inherit locks that threads of PyTorch hold.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
    try:
        yield from _in_order(pool, function, items, _AHEAD * processes)
    except BrokenProcessPool as error:
        raise UserError(
            f"expected {processes} working processes, got one that was killed, perhaps for want "
            "of memory: use fewer"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    function: Callable[[ItemT], ResultT],
    items: Sequence[ItemT],
    ahead: int,
) -> Iterator[ResultT]:
    """Results in order, with at most `ahead` tasks under way: results may be large."""
    batches = (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))
    tasks: deque[Future[list[ResultT]]] = deque()
    for batch in islice(batches, ahead):
        tasks.append(pool.submit(_apply, function, batch))
    while tasks:
        results = tasks.popleft().result()
        for batch in islice(batches, 1):
            tasks.append(pool.submit(_apply, function, batch))
        yield from results


def _apply(function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    return [function(item) for item in items]


def _prepare() -> None:
    """Leave interruptions to the main process, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()


def follow_parent() -> None:
    """End with the process that started this one, even if it is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
