"""Several processes that share the chunks of a run.

Either `torchrun` starts them, on one machine or several, or this program starts them itself. Rank 0
prepares the run folder and, once all others have finished, writes the results; between that the
processes share nothing but the folder.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.process import BaseProcess

import torch

from gnclightning.data.dicom.parallel import cores
from gnclightning.errors import UserError

_POLL_SECONDS = 0.2
_PATIENCE = timedelta(days=365)
"""How long a process waits for others, whose chunks take as long as they take."""


class Processes:
    """The processes of a run, as one of them sees them; itself one that waits for nobody.

    It is the only one, or one that rank 0 has started.

    Attributes:
        rank: of this process, from 0 on.
        size: processes of the run.
        local_rank: rank of this process on this machine.
        local_size: processes on this machine.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank = self.local_rank = rank
        self.size = self.local_size = size

    def begin(self) -> None:
        """Return once rank 0 has prepared the run folder."""

    def wait(self, tell: Callable[[], None]) -> None:
        """Return once all have finished; meanwhile `tell` is called now and then.

        Raises:
            UserError: a process ended before it had finished.
        """

    def close(self) -> None:
        """End what this process started, however the run ended."""


class Starting(Processes):
    """Rank 0, which starts all others.

    Args:
        size: processes.
        work: what the others do, given rank and size; it can be pickled.
        warn: told of those that end before their work is done.
    """

    def __init__(
        self, size: int, work: Callable[[int, int], None], warn: Callable[[str], None] = print
    ):
        super().__init__(0, size)
        self._work, self._warn = work, warn
        self._others: list[BaseProcess] = []

    def begin(self) -> None:
        """Start the others."""
        # Forked processes could inherit locks that threads of PyTorch hold.
        context = multiprocessing.get_context("spawn")
        for rank in range(1, self.size):
            other = context.Process(target=self._work, args=(rank, self.size), daemon=True)
            other.start()
            self._others.append(other)

    def wait(self, tell: Callable[[], None]) -> None:
        """See `Processes`; what a process that was killed has left is for the caller to do."""
        while any(other.is_alive() for other in self._others):
            tell()
            time.sleep(_POLL_SECONDS)
        for rank, other in enumerate(self._others, 1):
            if code := other.exitcode:
                ended = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
                self._warn(f"process {rank} {ended}: what it has left is done now")

    def close(self) -> None:
        """End the others, if they still run."""
        for other in self._others:
            other.terminate()
        for other in self._others:
            other.join()


class Launched(Processes):
    """A process that `torchrun` started, see its environment variables."""

    def __init__(self) -> None:
        super().__init__(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def begin(self) -> None:
        """See `Processes`."""
        torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
        self._barrier(lambda: None)

    def wait(self, tell: Callable[[], None]) -> None:
        """See `Processes`."""
        self._barrier(tell)

    def close(self) -> None:
        """See `Processes`."""
        if torch.distributed.is_initialized():
            with suppress(RuntimeError):  # of another process that has ended before
                torch.distributed.destroy_process_group()

    def _barrier(self, tell: Callable[[], None]) -> None:
        try:
            work = torch.distributed.barrier(async_op=True)
            assert work is not None
            while not work.is_completed():
                tell()
                time.sleep(_POLL_SECONDS)
            work.wait()
        except RuntimeError as error:
            raise UserError(
                f"expected {self.size} processes to finish, one has ended before: see its message; "
                "what is finished is kept, give the same command again to go on"
            ) from error


def launched() -> bool:
    """Whether `torchrun`, or what sets the same variables, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def share_cores(processes: Processes) -> None:
    """Let the processes of a machine share its cores, unless OMP_NUM_THREADS says how many."""
    if processes.local_size > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // processes.local_size))
