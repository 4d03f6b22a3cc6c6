"""The loop over batches, and what it shows on the screen."""

import re
import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from batches import result
from gnclightning.build_measurement import build_images
from gnclightning.build_methods import build_baselines, build_method
from gnclightning.build_reconstruction import build_prior
from gnclightning.metrics import psnr, ssim
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.reconstruction import batch_size
from gnclightning.reconstruction.batch_size import BatchLimit, fitting_batch_size
from gnclightning.reconstruction.methods import Outcome, Step
from gnclightning.reconstruction.progress import ProgressBar
from gnclightning.reconstruction.records import BatchResult, MethodResult, MetricsRow, TraceRow
from gnclightning.reconstruction.runner import Iteration, Observer
from gnclightning.reconstruction.runner import run as run_batches
from gnclightning.reconstruction.table import FinalTable
from run_folders import COUNT, STEPS, configure, measured

OPERATOR = Radon(ParallelBeam2D.for_image(32, 20))


class Fake:
    """A method that makes what it is told, and calls back once."""

    name = "fake"

    def __init__(self, x: torch.Tensor, status: str = "not finite"):
        self.x, self.status = x, status

    def __call__(self, measured, callback) -> Outcome:
        n = len(self.x)
        callback(
            Step(
                0,
                torch.zeros(n, dtype=torch.int64),
                self.x,
                torch.ones(n).bool(),
                torch.zeros(n, 8, dtype=torch.float64),
            )
        )
        none = torch.zeros(n, dtype=torch.int64)
        return Outcome(self.x, [self.status] * n, none, none, none)


class Recorder(Observer):
    def __init__(self, pause: float = 0.0):
        self.pause, self.calls, self.results = pause, [], []

    def batch_started(self, batch):
        self.calls.append("batch started")

    def method_started(self, name):
        self.calls.append(name)

    def iterated(self, iteration):
        time.sleep(self.pause)
        self.calls.append(iteration.number)

    def batch_finished(self, result):
        self.results.append(result)
        self.calls.append("batch finished")

    def close(self, results):
        self.calls.append("closed")


class TestRunner:
    def test_observers_are_told_in_order(self, prior):
        batches = measured(prior, "batch_size=2")
        recorder = Recorder()
        run_batches(batches[1:], OPERATOR, [Fake(batches[1].truth)], [recorder])
        assert recorder.calls == [*("batch started", "fake", 0, "batch finished", "closed")]

    def test_an_image_that_is_not_finite_does_not_hurt_the_others(self, prior):
        (batch,) = measured(prior)
        x = 0.9 * batch.truth
        x[1] = torch.nan
        recorder = Recorder()
        run_batches([batch], OPERATOR, [Fake(x)], [recorder])
        rows = recorder.results[0].metrics
        assert [row.status for row in rows] == ["not finite"] * COUNT
        assert [np.isnan(row.psnr) for row in rows] == [False, True, False]
        alone = psnr(x[::2], batch.truth[::2]).tolist()
        assert [rows[0].psnr, rows[2].psnr] == alone
        assert rows[2].ssim == pytest.approx(ssim(x[2:], batch.truth[2:]).item(), rel=1e-12)

    def test_the_time_of_observers_is_not_the_method_s(self, prior):
        (batch,) = measured(prior)
        recorder = Recorder(pause=0.3)
        run_batches([batch], OPERATOR, [Fake(batch.truth)], [recorder])
        assert recorder.results[0].metrics[0].seconds < 0.1

    def test_a_method_that_waits_takes_no_processor_time(self, prior):
        (batch,) = measured(prior)

        class Waiting(Fake):
            def __call__(self, measured, callback):
                time.sleep(0.3)
                return super().__call__(measured, callback)

        class Working(Fake):
            def __call__(self, measured, callback):
                until = time.process_time() + 0.3
                while time.process_time() < until:
                    pass
                return super().__call__(measured, callback)

        recorder = Recorder()
        before = time.process_time()
        run_batches([batch], OPERATOR, [Waiting(batch.truth), Working(batch.truth)], [recorder])
        spent = time.process_time() - before
        waited, worked = (m.metrics[0] for m in recorder.results[0].methods)
        assert COUNT * waited.seconds > 0.29 > 0.15 > COUNT * waited.cpu_seconds
        assert 0.29 < COUNT * worked.cpu_seconds < spent

    def test_all_are_closed_whatever_happens(self, prior):
        class Failing(Recorder):
            def iterated(self, iteration):
                raise KeyboardInterrupt

            def close(self, results):
                raise OSError("close")

        (batch,) = measured(prior)
        last = Recorder()
        with pytest.raises(OSError, match="close") as caught:
            run_batches([batch], OPERATOR, [Fake(batch.truth)], [Failing(), last])
        assert isinstance(caught.value.__context__, KeyboardInterrupt)
        assert last.calls[-1] == "closed"
        assert "batch finished" not in last.calls


class Greedy(Fake):
    """Needs too much memory for more than so many images at once."""

    def __init__(self, x: torch.Tensor, limit: BatchLimit, fits: int, error: Exception):
        super().__init__(x)
        self.limit, self.fits, self.error, self.sizes = limit, fits, error, []

    def __call__(self, measured, callback) -> Outcome:
        self.sizes.append(self.limit.width(len(self.x)))
        if self.sizes[-1] > self.fits:
            raise self.error
        return super().__call__(measured, callback)


class TestMemory:
    def run(self, prior, fits: int, error: Exception) -> tuple[Greedy, Recorder]:
        (batch,) = measured(prior)
        limit, recorder = BatchLimit(8), Recorder()
        method = Greedy(batch.truth, limit, fits, error)
        with suppress(type(error)):
            run_batches([batch], OPERATOR, [method], [recorder], limit=limit)
        return method, recorder

    def test_half_of_the_images_at_hand_until_it_fits(self, prior):
        """Three images, of eight that are allowed."""
        method, recorder = self.run(prior, 1, MemoryError("Unable to allocate"))
        assert method.sizes == [3, 1]
        assert recorder.calls.count("batch finished") == 1

    def test_one_image_cannot_be_halved(self, prior):
        method, recorder = self.run(prior, 0, torch.OutOfMemoryError("CUDA out of memory."))
        assert method.sizes == [3, 1]
        assert "batch finished" not in recorder.calls

    def test_other_errors_are_not_taken_for_it(self, prior):
        method, _ = self.run(prior, 1, RuntimeError("something else"))
        assert method.sizes == [3]

    def test_the_batch_size_follows_what_is_free(self, monkeypatch):
        """Half of it, shared by the processes, less what any batch takes."""
        cpu = torch.device("cpu")
        for free, processes, expected in ((90, 1, 4), (90, 2, 1), (9000, 1, 8), (0, 1, 1)):
            monkeypatch.setattr(batch_size, "available_memory", lambda free=free: free)
            assert fitting_batch_size(10, 5, cpu, processes) == expected


def rows(image: str, **changes) -> list[MetricsRow]:
    row = MetricsRow(image, "fbp", 20.0, 0.5, 0, 0, 1, 0.25, "direct")
    solver = MetricsRow(image, "preconditioned", 33.21, 0.935, 40, 80, 402, 2.5, "budget spent")
    return [row, solver._replace(**changes)]


class TestScreen:
    def print_table(self, images: list[list[MetricsRow]]) -> list[str]:
        console = Console(width=80, file=(file := StringIO()))
        observer = FinalTable(Path("runs/try"), console)
        columns = zip(*images, strict=True)
        methods = [MethodResult("", None, list(column), [], None) for column in columns]
        observer.close([BatchResult(None, methods)])
        return [line.rstrip() for line in file.getvalue().splitlines()]

    def test_table(self):
        lines = self.print_table(
            [rows("a"), rows("b", psnr=35.21, status="converged", iterations=39)]
        )
        found = [line.split() for line in lines if line.strip()]
        assert found[3] == ["a", "FBP", "20.00", "0.500", "0", "0", "0.25", "direct"]
        assert found[4] == ["GNC", "33.21", "0.935", "40", "80", "2.50", "budget", "spent"]
        assert found[7][:3] == ["mean", "of", "2"]
        mean = ["GNC", "34.21", "0.935", "39.5", "80", "2.50", "1", "budget", "spent,", "1"]
        assert found[8] == mean
        assert lines[-1] == "run folder: runs/try"

    def test_the_certificate_is_summed_up_below_the_table(self):
        console = Console(width=200, file=(file := StringIO()))
        observer = FinalTable(Path("runs/try"), console)
        observer.close([result("a", "b")])
        lines = [line.rstrip() for line in file.getvalue().splitlines()]
        assert lines[-2].startswith("GNC certificate: 0 of 2 runs gradient-like")
        assert "Armijo's rule in 50 %, 2 searches failed; |grad f| ended at 0.25" in lines[-2]

    def test_long_table_is_cut_but_its_mean_is_not(self):
        lines = self.print_table([rows(f"image {n}", psnr=float(n)) for n in range(101)])
        text = "\n".join(lines)
        assert "image 19" in text
        assert "image 20" not in text
        assert "81 more" in text
        assert "mean of 101" in text
        assert " 50.00" in text

    def test_names_are_no_markup(self):
        text = "\n".join(self.print_table([rows("a[red]b"), rows("[/c]")]))
        assert "a[red]b" in text
        assert "[/c]" in text

    def test_progress(self, prior, tmp_path, capsys):
        console = Console(width=100, force_terminal=True, file=(file := StringIO()))
        batches = measured(prior, "batch_size=2")
        bar = ProgressBar(COUNT, STEPS, console)
        config = configure(prior, tmp_path)
        images = build_images(config)
        parts = build_prior(config, images)
        solver = build_method(config, OPERATOR, *parts)
        methods = [*build_baselines(config, OPERATOR, *parts), solver]
        run_batches(batches, OPERATOR, methods, [bar])
        text = file.getvalue()
        assert "3/3 images, done" in text
        assert f"{STEPS}/{STEPS}" in text
        assert re.search(r"  f \d", text)
        assert "PSNR" in text
        assert "left" in text

    def test_progress_counts_what_others_finish_and_what_failed(self, prior):
        console = Console(width=120, force_terminal=True, file=(file := StringIO()))
        finished = [4]
        bar = ProgressBar(10, STEPS, console, finished=lambda: finished[0], failed=2)
        (batch,) = measured(prior)
        run_batches([batch], OPERATOR, [Fake(batch.truth)], [bar])
        assert f"4/10 images, {2 + COUNT} failed, done" in file.getvalue()
        finished[0] = 9
        bar.waiting()
        assert bar._bar.tasks[0].completed == 9 * STEPS
        assert "9/10 images, 5 failed, waiting" in bar._bar.tasks[0].description

    def test_the_live_table_shows_each_image_under_way(self, prior):
        console = Console(width=120, force_terminal=True, file=(file := StringIO()))
        (batch,) = measured(prior)
        bar = ProgressBar(COUNT, STEPS, console, table=True)
        bar.batch_started(batch)
        row = TraceRow("b[ra]", "fake", 4, 0.25, 1234.5, 1.0, 2.0, 1.0, 1, -0.5, 77.25, 21.5)
        bar.iterated(Iteration(4, batch.truth, [row]))
        with console.capture() as capture:
            console.print(bar._shown())
        bar.close([])
        words = capture.get().split()
        for word in ("b[ra]", f"4/{STEPS}", "0.25", "1234", "77.25", "21.50"):
            assert word in words or word in capture.get()
        assert file.getvalue()

    def test_without_a_terminal_there_is_no_table(self, prior):
        console = Console(width=100, file=(file := StringIO()))
        (batch,) = measured(prior)
        run_batches(
            [batch], OPERATOR, [Fake(batch.truth)], [ProgressBar(COUNT, STEPS, console, table=True)]
        )
        assert "3/3 images, 3 failed, done" in file.getvalue()
        assert "iteration" not in file.getvalue()
