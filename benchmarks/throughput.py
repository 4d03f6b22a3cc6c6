"""Images per minute over the batch size, where the time goes, and two processes against one.

    python benchmarks/throughput.py                                       # the shipped prior
    python benchmarks/throughput.py --batches 1 4 --count 4 --steps 5     # a quick look

Each line is a process of its own, so that its peak memory is its own, with one thread and timed in
processor time, so that other programs matter little; two processes are one run with `devices=2`, in
wall time. Total variation is left out. `network` is the time within the prior, `operator` that in
A, A* and filtered back-projection, `input/output` that for chunks, tables and figures, `solver` the
rest of the work. Starting the program (imports, checks, the test of the gradient) is stated apart.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_NETWORK, _OPERATOR, _OUTPUT, _WORK = "network", "operator", "input/output", "work"


def main() -> None:
    """Measure each batch size in a process of its own; print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--count", type=int, default=16, help="images, at least; whole batches")
    parser.add_argument("--steps", type=int, default=10, help="iterations")
    parser.add_argument("--prior", default="ellipses-128")
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--processes", type=int, default=2, help="compared with one")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options, options.measure)))
        return
    rows = [in_own_process(options, batch) for batch in options.batches]
    print(json.dumps({"one process": rows}, indent=1))
    for batch in options.batches[1:2]:
        print(json.dumps(several(options, batch), indent=1))


def in_own_process(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """`measure` in a fresh process with one thread."""
    more = ["--count", options.count, "--steps", options.steps, "--prior", options.prior]
    command = [sys.executable, __file__, "--measure", batch, "--size", options.size, *more]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=one_thread(), check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def several(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """The time of the same command with one process and with several, start and end included."""
    found: dict[str, Any] = {"batch_size": batch}
    count = max(options.count, batch * options.processes)
    for processes in (1, options.processes):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            given = settings(options, batch, count, Path(folder) / "run")
            command = [sys.executable, ROOT / "reconstruct.py", f"devices={processes}", *given]
            subprocess.run(command, capture_output=True, env=one_thread(), check=True)
            took = time.monotonic() - began
        found[f"devices={processes}"] = {"images": count, "seconds": round(took, 1)}
    return found


def measure(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """One run in this process, with the times of its parts."""
    from gnclightning import build_operator, build_run
    from gnclightning.config import load_reconstruct_config
    from gnclightning.operators import Radon
    from gnclightning.priors import NetworkEnergy
    from gnclightning.reconstruction import writers
    from gnclightning.reconstruction.chunks import Chunks

    clock = Clock()
    for owner, name, part in (
        (NetworkEnergy, "energy_and_score", _NETWORK),
        (Radon, "__call__", _OPERATOR),
        (Radon, "adjoint", _OPERATOR),
        (build_operator, "fbp", _OPERATOR),
        (Chunks, "save", _OUTPUT),
        (writers.RunFolder, "close", _OUTPUT),
        (build_run, "run", _WORK),
    ):
        clock.watch(owner, name, part)
    count = -(-max(options.count, batch) // batch) * batch
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        given = settings(options, batch, count, Path(folder) / "run")
        build_run.run_reconstruction(load_reconstruct_config(None, given))
    total, work = time.process_time() - began, clock.seconds[_WORK]
    parts = {name: clock.inside[name] for name in (_NETWORK, _OPERATOR, _OUTPUT)}
    parts["solver"] = work - sum(parts.values())
    return {
        "batch_size": batch,
        "images": count,
        "images_per_minute": round(60 * count / work, 2),
        "shares": {name: round(seconds / work, 3) for name, seconds in parts.items()},
        "seconds_before": round(total - work, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


class Clock:
    """Processor time within functions, those that they call among them not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inside = {name: 0.0 for name in (_NETWORK, _OPERATOR, _OUTPUT)}
        self._open: list[str] = []

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Let a function of a class or module be timed from now on."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            nested = any(other != _WORK for other in self._open)
            working = _WORK in self._open
            self._open.append(part)
            began = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                took = time.process_time() - began
                self._open.pop()
                self.seconds[part] = self.seconds.get(part, 0.0) + took
                if working and not nested:
                    self.inside[part] += took

        setattr(owner, name, timed)


def settings(options: argparse.Namespace, batch: int, count: int, output: Path) -> list[str]:
    """The settings of a run."""
    return [
        *("data.name=ellipses", f"data.count={count}", f"data.size={options.size}", "methods=[]"),
        *(f"batch_size={batch}", f"solver.steps={options.steps}", f"prior.path={options.prior}"),
        *("logger.mode=disabled", "progress=false", "device=cpu", f"output={output}"),
    ]


def one_thread() -> dict[str, str]:
    """The environment, with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
