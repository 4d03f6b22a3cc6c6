"""Times the 2D experiment, and says where the time goes.

    python benchmarks/toy2d.py                # a fraction, extrapolated to full size
    python benchmarks/toy2d.py --t-max 20     # more values of t_max: a better estimate
    python benchmarks/toy2d.py --full         # full size with one process per core, wall time

Times of a fraction are CPU seconds of this process, so that other work on the machine disturbs
them little; full size has 100 values of t_max, all 10^4 starts and 1300 iterations, and two
processes share its work almost evenly.
"""

import argparse
import cProfile
import pstats
import tempfile
import time

import numpy as np
import torch

from gnclightning.experiments.toy2d.jobs import Job, grouped
from gnclightning.experiments.toy2d.methods import PAPER
from gnclightning.experiments.toy2d.program import toy2d
from gnclightning.memory import keep_memory

STARTS, COUNT, STEPS, CORES = 100, 100, 1300, 2


def seconds(job: Job) -> float:
    """CPU seconds of a job."""
    begun = time.process_time()
    job()
    return time.process_time() - begun


def fraction(count: int, steps: int) -> None:
    """Time `count` values of t_max spread over the whole range, with fewer iterations if asked."""
    torch.set_num_threads(1)
    keep_memory()
    values = np.geomspace(1e-2, 10, 2 * count + 1)[1::2].tolist()
    job = Job("alg1", (1.0,), 10, 10, (1.0, 1.0))
    job()  # first calls import and allocate
    total = 0.0
    for method in PAPER:
        measured = 0.0
        for group in grouped(method, values, STARTS):
            spent = seconds(Job(method, group, STARTS, steps, (1.0, 1.0)))
            each = spent / (len(group) * STARTS**2 * steps)
            span = f"t_max {group[0]:.3g} to {group[-1]:.3g}"
            print(f"{method}  {span:24}  {spent:7.1f} s  {each * 1e9:6.0f} ns per iteration")
            measured += spent
        whole = measured / len(values) * COUNT * STEPS / steps
        total += whole
        print(f"{method}  full size: {whole:.0f} CPU seconds")
    print(f"both, on {CORES} cores: {total / CORES:.0f} s")


def profile(steps: int) -> None:
    """CPU time within each module that takes part, one value of t_max in mid-range."""
    for method in PAPER:
        profiler = cProfile.Profile(time.process_time)
        job = Job(method, (0.5,), STARTS, steps, (1.0, 1.0))
        profiler.runcall(job)
        print(f"\n{method}, t_max = 0.5, {steps} iterations")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(12)


def full() -> None:
    """Run everything through the command line."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        toy2d([f"output={folder}/run"])
        print(f"full size: {time.perf_counter() - begun:.0f} s")


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--t-max", type=int, default=5, help="values of t_max to time")
    parser.add_argument("--steps", type=int, default=STEPS, help="iterations, of 1300")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--full", action="store_true", help="run full size")
    arguments = parser.parse_args()
    if arguments.full:
        full()
    elif arguments.profile:
        profile(arguments.steps)
    else:
        fraction(arguments.t_max, arguments.steps)


if __name__ == "__main__":
    main()
