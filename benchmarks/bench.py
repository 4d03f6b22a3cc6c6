"""Runs the benchmarks in `benchmarks/suite` and writes docs/benchmarks.md.

    python benchmarks/bench.py run [--threads 2]      # make bench [THREADS=2]
    python benchmarks/bench.py run --device cuda      # make bench-gpu
    python benchmarks/bench.py table                  # docs/results/bench-*.json -> the page

The suite (pytest-benchmark) is run several times, each time in a process of its own, and the median
of these passes counts; ratios are taken within a pass. One thread is timed in processor time, which
other programs disturb little, several threads and GPUs in wall time. Then, once: how many
iterations reach 33.2 dB, the throughput with so many, and the memory of 512 x 512 pixels with 720
angles.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from bench_tables import NAMES, PAGE, QUALITY, sections
from kept import keep, reconstruct, write_section
from passes import Pass, merged, one_pass
from throughput import in_own_process
from training import in_process

from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.training.monitoring import peak_memory

STEPS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
BATCH = 16


def to_quality(given: argparse.Namespace) -> list[dict[str, float]]:
    """PSNR after more and more iterations, from one on, until 33.2 dB are reached."""
    rows: list[dict[str, float]] = []
    for steps in STEPS:
        settings = [
            *(f"data.count={BATCH}", f"batch_size={BATCH}", "methods=[]"),
            *(f"solver.steps={steps}", f"device={given.device}"),
        ]
        found = reconstruct(settings, Path("runs/bench"))["methods"]["preconditioned"]
        values = {key: found[key]["mean"] for key in ("psnr", "ssim", "seconds")}
        rows.append({"steps": steps, **values})
        if values["psnr"] >= QUALITY:
            break
    return rows


def large(device: str) -> dict[str, float]:
    """Build the operator of 512 x 512 pixels and 720 angles, project and back-project."""
    idle = peak_memory(torch.device(device))
    begun = time.process_time()
    operator = Radon(ParallelBeam2D.for_image(512, 720)).to(device)
    built = time.process_time() - begun
    operator.adjoint(operator(torch.rand(1, 1, 512, 512, device=device)))
    peak = peak_memory(torch.device(device))
    return {"build": built, "peak_memory": peak, "idle_memory": idle}


def run(given: argparse.Namespace) -> None:
    """Measure everything and keep it."""
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("expected a CUDA device, found none: nothing was measured")
    usual = f"bench-{given.device}" + (f"-{given.threads}" if given.device == "cpu" else "")
    name = given.name or usual
    if (given.tiny or given.only) and name in {usual, *NAMES}:
        raise SystemExit(
            "expected --name NAME beside --only and --tiny, other than that of a whole run, whose "
            f"result they would replace; got {name!r}: nothing was measured"
        )
    torch.set_num_threads(given.threads)
    passes: list[Pass] = []
    loads: list[float] = []
    for _ in range(given.passes):
        loads.append(os.getloadavg()[0])
        passes.append(one_pass(given))
    result: dict[str, Any] = {**merged(passes), "passes": given.passes, "load": loads}
    words = " ".join(["python", "benchmarks/bench.py", *sys.argv[1:]])
    keep(name, result, words, hardware(given))  # already now, should anything below fail
    if not (given.tiny or given.only):
        result["quality"] = to_quality(given)
        steps = int(result["quality"][-1]["steps"])
        if given.device == "cpu" and given.threads == 1:
            asked = argparse.Namespace(count=BATCH, steps=steps, prior="ellipses-128", size=128)
            result["throughput"] = in_own_process(asked, BATCH)
        result["large"] = in_process(large, given.device)
    result["load"].append(os.getloadavg()[0])
    keep(name, result, words, hardware(given))
    if result["failed"]:
        raise SystemExit(f"failed, the rest is kept: {', '.join(result['failed'])}")


def hardware(given: argparse.Namespace) -> str:
    """What is measured, in words."""
    if given.device == "cuda":
        return torch.cuda.get_device_name()
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    threads = f"{given.threads} thread" + ("s" if given.threads > 1 else "")
    return f"{names[0] if names else 'CPU'}, {os.cpu_count()} cores, {threads}"


def table() -> None:
    """Write the sections of the page for all kept results."""
    for name, lines in sections().items():
        write_section(name, lines, PAGE)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    runner.add_argument("--threads", type=int, default=1)
    runner.add_argument("--passes", type=int, default=3)
    runner.add_argument("--only", help="benchmarks whose names hold this; wants --name")
    runner.add_argument("--name", help="of the kept result, in place of bench-DEVICE-THREADS")
    runner.add_argument(
        "--tiny", action="store_true", help="only try whether all works; wants --name"
    )
    commands.add_parser("table")
    given = parser.parse_args()
    run(given) if given.command == "run" else table()


if __name__ == "__main__":
    main()
