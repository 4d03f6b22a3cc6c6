"""The benchmarks: the published pattern gives our results, and tables show what was measured."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.priors import NetworkEnergy, from_pretrained
from gnclightning.sde import VPSDE

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "suite")


@pytest.mark.parametrize("steps", [1, 5])
def test_the_published_pattern_gives_our_iterates_with_more_evaluations(prior, steps):
    import bench_solver

    network, _ = from_pretrained(prior)
    assert isinstance(network, NetworkEnergy)
    task = bench_solver.task(2, network, size=32, steps=steps)
    ours, scores = task.ours()
    theirs, counts = task.published()
    assert (ours - task.x).norm() > 1e-2 * task.x.norm()
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    # Ours, two images: a score at the start, grad F but at t_min, where it is grad f, and trials.
    trials = scores - 2 - 2 * min(steps, bench_solver.LONG - 1)
    assert counts.gradients == 2 * 2 * steps
    assert counts.energies == 2 * steps + trials
    assert counts.projections == 2 * counts.gradients + counts.energies


class Halves:
    """A half of an image as operator, of its square as energy: they compute on any device.

    Our operators and networks turn autocast off, which does not know `meta`.
    """

    def __call__(self, x):
        return x / 2

    adjoint = __call__

    def energy(self, x, t):
        return t * x.square().flatten(1).sum(1) / 2

    def score(self, x, t):
        return -t[:, None, None, None] * x


def test_the_published_pattern_stays_on_the_device(monkeypatch):
    """No tensor of the CPU meets those of the device, for which `meta` stands."""
    from published import Published

    x = torch.empty(2, 1, 32, 32, device="meta")
    scale = torch.empty(2, dtype=torch.float64, device="meta")
    alpha = Alpha(VPSDE(), scale, growth=1.0)
    # Without values there is nothing to branch on: each first trial is accepted.
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: True)
    algorithm = Published(Halves(), Halves(), alpha, [0.1, 0.05], 0.05)
    assert algorithm(x, x).device.type == "meta"
    assert (algorithm.gradients, algorithm.energies) == (2 * 2 * 2, 2 * 2 * 2)


ROWS = [
    {"test": "stream", "bytes": 2**30, "seconds": [0.1, 0.1, 0.1]},
    {"test": "build", "size": 256, "bytes": 2**23, "whole": 2 * 2**25, "seconds": [0.5, 0.1, 0.2]},
    *(
        {"test": "batched", "who": who, "size": 256, "batch": 8, "way": way, "seconds": [s] * 3}
        for who, s in (("native", 0.004), ("whole matrix", 0.016))
        for way in ("forward", "adjoint")
    ),
    {"test": "batched", "who": "native", "size": 256, "batch": 1, "way": "forward",
     "seconds": [0.007, 0.001, 0.005]},
    {"test": "one_image", "who": "ASTRA linear", "size": 256, "way": "forward",
     "seconds": [0.01, 0.03, 0.02]},
    *(
        # A start of 8 gradients, and of 5 seconds, which no iteration has.
        {"test": "algorithm_1", "who": who, "batch": 8, "steps": steps,
         "gradients": 8 + 16 * steps, "energies": energies * steps,
         "seconds": [5 + steps * second for second in seconds]}
        for who, energies, seconds in (("ours", 0, [1, 2, 3]), ("published", 24, [4, 4, 6]))
        for steps in (1, 5)
    ),
    {"test": "peak", "precision": "float32", "operations": 1e9, "seconds": [0.01] * 3},
    {"test": "network", "what": "forward", "batch": 8, "precision": "float32", "operations": 8e9,
     "seconds": [0.16] * 3},
    {"test": "phantoms", "images": 64, "seconds": [0.064] * 3},
]  # fmt: skip


def test_tables_hold_medians_and_ratios_within_a_pass(monkeypatch, tmp_path):
    import bench
    import kept

    monkeypatch.chdir(tmp_path)
    result = {
        "rows": ROWS,
        "failed": ["test_toy2d[alg1]"],
        "passes": 3,
        "load": [0.5, 2.0],
        "quality": [{"steps": 8, "psnr": 33.456, "ssim": 0.9, "seconds": 1.5}],
        "throughput": {"images_per_minute": 30, "shares": {"network": 0.8}, "peak_memory_mb": 900},
    }
    kept.keep("bench-cpu-1", result, "command")
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text(
        "Before.\n<!-- begin bench-cpu-1 -->\nearlier\n<!-- end bench-cpu-1 -->\nAfter.\n"
    )
    monkeypatch.setattr(sys, "argv", ["bench.py", "table"])
    bench.main()
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "earlier" not in text
    assert "load average 0.5 to 2.0" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    projections = {tuple(line[:3]): line[3:] for line in lines if len(line) == 15}
    # Milliseconds for an image, ASTRA's median, and 20 ms against 4 ms for 8 images.
    assert projections["256", "8", "forward"][:3] == ["0.5", "2", "20"]
    assert projections["256", "8", "forward"][-5:] == ["40", "", "", "", ""]
    # 32 MiB at 10 GiB/s, and 4 MiB.
    assert projections["256", "1", "forward"][-4:] == ["3.12", "1.6", "0.391", "12.8"]
    assert ["256", "0.2", "8.4", "67.1"] in lines
    assert ["8", "ours", "0.25", "2", "0", ""] in lines
    assert ["8", "published", "0.5", "2", "3", "2"] in lines
    assert ["forward", "8", "float32", "20", "1", "50 %"] in lines
    assert ["phantoms, generated", "1e+03 images / s"] in lines
    assert ["8", "33.46", "0.900", "1.50"] in lines
    assert "2.00 s per image" in text
    assert "in no table: test_toy2d[alg1]." in text
    assert "not be installed here: ASTRA line, ASTRA strip, scikit-image, deepinv" in text


def test_without_a_gpu_nothing_is_claimed(monkeypatch):
    import bench

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench, "one_pass", lambda given: pytest.fail("something was measured"))
    monkeypatch.setattr(sys, "argv", ["bench.py", "run", "--device", "cuda"])
    with pytest.raises(SystemExit, match="found none: nothing was measured"):
        bench.main()


@pytest.mark.parametrize("test", sorted({row["test"] for row in ROWS}))
def test_the_tables_do_without_any_of_the_benchmarks(test):
    """And with it alone."""
    import bench_tables

    result = {"failed": [], "passes": 3, "load": [1.0], "hardware": "", "date": "", "reproduce": ""}
    without = [row for row in ROWS if row["test"] != test]
    text = "\n".join(bench_tables.section(result | {"rows": without}))
    assert ("phantoms, generated" in text) == (test != "phantoms")
    assert ("| 8 | published | 0.5 |" in text) == (test != "algorithm_1")
    assert ("| 256 | 8 | forward | 0.5 | 2 | " in text) == (test != "batched")
    assert ("| 3.12 | 1.6 | 0.391 | 12.8 |" in text) == (test not in ("batched", "stream", "build"))
    assert ("| 1 | 50 % |" in text) == (test not in ("network", "peak"))
    alone = bench_tables.section(result | {"rows": [row for row in ROWS if row["test"] == test]})
    table_heads = [line for line in alone if line.startswith("| ---")]
    assert len(table_heads) == (test not in ("stream", "peak", "one_image"))


@pytest.mark.parametrize("words", [["--tiny"], ["--only", "x"], ["--tiny", "--name", "bench-cuda"]])
def test_a_part_does_not_replace_the_result_of_a_whole_run(monkeypatch, words):
    import bench

    monkeypatch.setattr(bench, "one_pass", lambda given: pytest.fail("something was measured"))
    monkeypatch.setattr(sys, "argv", ["bench.py", "run", *words])
    with pytest.raises(SystemExit, match="expected --name NAME beside --only and --tiny"):
        bench.main()


def test_a_benchmark_that_fails_takes_nothing_from_the_others(monkeypatch, tmp_path):
    import bench
    from passes import Pass

    row = {"test": "phantoms", "images": 64}
    good = [{**row, "seconds": seconds} for seconds in (1.0, 2.0)]
    passes = [
        Pass({"test_phantoms": good[0], "test_build": {"test": "build", "seconds": 3.0}}, []),
        Pass({"test_phantoms": good[1]}, ["test_build"]),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "one_pass", lambda given: passes.pop(0))
    monkeypatch.setattr(
        sys, "argv", ["bench.py", "run", "--passes", "2", "--tiny", "--name", "tried"]
    )
    with pytest.raises(SystemExit, match="failed, the rest is kept: test_build"):
        bench.main()
    kept = json.loads(Path("docs/results/tried.json").read_text())
    assert kept["rows"] == [{**row, "seconds": [1.0, 2.0]}]
    assert kept["failed"] == ["test_build"]


def test_what_was_timed_is_kept_before_the_rest_is_measured(monkeypatch, tmp_path):
    import bench
    from passes import Pass

    monkeypatch.chdir(tmp_path)
    found = Pass({"test_phantoms": {"test": "phantoms", "seconds": 1.0}}, [])
    monkeypatch.setattr(bench, "one_pass", lambda given: found)
    monkeypatch.setattr(bench, "to_quality", lambda given: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["bench.py", "run", "--passes", "1"])
    with pytest.raises(ZeroDivisionError):
        bench.main()
    kept = json.loads(Path("docs/results/bench-cpu-1.json").read_text())
    assert kept["rows"] == [{"test": "phantoms", "seconds": [1.0]}]


@pytest.mark.parametrize(
    ("psnr", "rows", "words"),
    [
        ([33.89], 1, "The first row is above 33.2 dB already"),
        ([30.0, 32.0, 33.1, 33.2, 35.0], 4, "4 iterations reach 33.2 dB."),
        ([30.0] * 10, 10, "33.2 dB are not reached."),
    ],
)
def test_iterations_are_counted_from_one_to_the_published_quality(monkeypatch, psnr, rows, words):
    import bench
    import bench_tables

    asked = []

    def reconstruct(settings, output):
        asked.append(next(s for s in settings if s.startswith("solver.steps=")))
        means = {"psnr": psnr[len(asked) - 1], "ssim": 0.9, "seconds": 1.0}
        return {"methods": {"preconditioned": {k: {"mean": v} for k, v in means.items()}}}

    monkeypatch.setattr(bench, "reconstruct", reconstruct)
    found = bench.to_quality(argparse.Namespace(device="cpu"))
    assert [row["psnr"] for row in found] == psnr[:rows]
    assert asked[0] == "solver.steps=1"
    assert asked == [f"solver.steps={row['steps']}" for row in found]
    assert words in "\n".join(bench_tables.quality({"quality": found}))


@pytest.fixture
def tried(monkeypatch):
    """Benchmarks at tiny sizes, one pass; timed by a stand-in where pytest-benchmark is not."""
    import passes

    if importlib.util.find_spec("pytest_benchmark") is None:
        monkeypatch.setenv("PYTEST_PLUGINS", "benchmark_stand_in")
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))

    def run(only):
        given = argparse.Namespace(device="cpu", threads=1, tiny=True, only=only)
        return passes.one_pass(given)

    return run


FEW = "phantoms or stream or build or peak or (batched and native and 128)"


@pytest.mark.parametrize(
    ("only", "tests"),
    [
        (FEW, {"phantoms", "stream", "build", "peak", "batched"}),
        pytest.param(
            f"not one_image and not whole and not ({FEW})",
            {"algorithm_1", "network", "training_step", "toy2d", "many_angles", "batched"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_suite_runs(tried, only, tests):
    """All but the projectors of other packages."""
    found = tried(only)
    assert found.failed == []
    assert {row["test"] for row in found.rows.values()} == tests
    assert all(row["seconds"] > 0 for row in found.rows.values())


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda:1", 1)])
def test_the_clock_waits_for_a_gpu_only(monkeypatch, device, waits):
    from timing import finished

    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(str(device)))
    assert finished(lambda: len(calls), torch.device(device))() == 0, "the call ends first"
    assert calls == [device] * waits


def test_throughput_shares_out_all_of_the_time(prior):
    """In a process of its own, as it wraps what it watches; every part takes some."""
    options = ["--measure", "2", "--size", "32", "--count", "4", "--steps", "2"]
    script = ROOT / "benchmarks" / "throughput.py"
    command = [sys.executable, str(script), *options, "--prior", str(prior)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["batch_size"], found["images"]) == (2, 4)
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.01)
    assert all(share > 0 for share in found["shares"].values())
