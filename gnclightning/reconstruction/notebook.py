"""A progress bar for Python programs and notebooks; that of the command line needs a terminal."""

from statistics import fmean

from tqdm.auto import tqdm

from gnclightning.reconstruction.records import BatchResult, MeasuredBatch
from gnclightning.reconstruction.runner import Iteration, Observer


class NotebookBar(Observer):
    """Shows images done, the time left, and the mean objective of the batch.

    Args:
        images: of the run.
        steps: iterations of the solver, at most.
    """

    def __init__(self, images: int, steps: int):
        self._images, self._steps = images, steps
        self._done = 0
        self._reached: dict[str, int] = {}
        self._bar = tqdm(total=images * steps, unit="step", desc=self._description())

    def batch_started(self, batch: MeasuredBatch) -> None:
        """Forget the iterations of the batch before."""
        self._reached = {}

    def iterated(self, iteration: Iteration) -> None:
        """Move on."""
        objective = fmean(row.objective for row in iteration.rows)
        self._bar.set_postfix_str(f"f {objective:.4g}", refresh=False)
        self._reached |= {row.image: row.iteration for row in iteration.rows}
        self._move_to(self._done * self._steps + sum(self._reached.values()))

    def batch_finished(self, result: BatchResult) -> None:
        """Count the images; those that stopped early leave a gap to close."""
        self._done += len(result.batch.names)
        self._bar.set_description(self._description(), refresh=False)
        self._move_to(self._done * self._steps)

    def close(self, results: object) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _move_to(self, place: int) -> None:
        self._bar.update(place - self._bar.n)

    def _description(self) -> str:
        return f"{self._done}/{self._images} images"
