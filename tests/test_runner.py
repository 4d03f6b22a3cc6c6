"""The loop over batches, and what it shows on the screen."""

import re
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from batches import result
from gnclightning.build_measurement import build_images
from gnclightning.build_reconstruction import (
    build_baselines,
    build_method,
    build_prior,
)
from gnclightning.metrics import psnr, ssim
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.reconstruction.methods import Outcome, Step
from gnclightning.reconstruction.progress import ProgressBar
from gnclightning.reconstruction.records import BatchResult, MethodResult, MetricsRow
from gnclightning.reconstruction.runner import Observer
from gnclightning.reconstruction.runner import run as run_batches
from gnclightning.reconstruction.table import FinalTable
from run_folders import COUNT, STEPS, configure, measured


class Fake:
    """A method that makes what it is told, and calls back once."""

    name = "fake"

    def __init__(self, x: torch.Tensor, status: str = "not finite"):
        self.x, self.status = x, status

    def __call__(self, measured, callback) -> Outcome:
        n = len(self.x)
        callback(Step(0, self.x, torch.ones(n).bool(), torch.zeros(n, 8, dtype=torch.float64)))
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

    def run_finished(self):
        self.calls.append("run finished")

    def close(self):
        self.calls.append("closed")


class TestRunner:
    def test_observers_are_told_in_order(self, prior):
        batches = measured(prior, "batch_size=2")
        recorder = Recorder()
        run_batches(batches[1:], [Fake(batches[1].truth)], [recorder])
        assert recorder.calls == [
            *("batch started", "fake", 0, "batch finished", "run finished", "closed")
        ]

    def test_an_image_that_is_not_finite_does_not_hurt_the_others(self, prior):
        (batch,) = measured(prior)
        x = 0.9 * batch.truth
        x[1] = torch.nan
        recorder = Recorder()
        run_batches([batch], [Fake(x)], [recorder])
        rows = recorder.results[0].metrics
        assert [row.status for row in rows] == ["not finite"] * COUNT
        assert [np.isnan(row.psnr) for row in rows] == [False, True, False]
        alone = psnr(x[::2], batch.truth[::2]).tolist()
        assert [rows[0].psnr, rows[2].psnr] == alone
        assert rows[2].ssim == pytest.approx(ssim(x[2:], batch.truth[2:]).item(), rel=1e-12)

    def test_the_time_of_observers_is_not_the_method_s(self, prior):
        (batch,) = measured(prior)
        recorder = Recorder(pause=0.3)
        run_batches([batch], [Fake(batch.truth)], [recorder])
        assert recorder.results[0].metrics[0].seconds < 0.1

    def test_all_are_closed_whatever_happens(self, prior):
        class Failing(Recorder):
            def iterated(self, iteration):
                raise KeyboardInterrupt

            def close(self):
                raise OSError("close")

        (batch,) = measured(prior)
        last = Recorder()
        with pytest.raises(OSError, match="close") as caught:
            run_batches([batch], [Fake(batch.truth)], [Failing(), last])
        assert isinstance(caught.value.__context__, KeyboardInterrupt)
        assert last.calls[-1] == "closed"
        assert "batch finished" not in last.calls


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
        observer.batch_finished(BatchResult(None, methods))
        observer.close()
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
        observer.batch_finished(result("a", "b"))
        observer.close()
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
        operator = Radon(ParallelBeam2D.for_image(32, 20))
        solver = build_method(config, operator, *build_prior(config, images))
        methods = [*build_baselines(config, operator), solver]
        run_batches(batches, methods, [bar])
        text = file.getvalue()
        assert "3/3 images, done" in text
        assert f"{STEPS}/{STEPS}" in text
        assert re.search(r"  f \d", text)
        assert "PSNR" in text
        assert "left" in text
