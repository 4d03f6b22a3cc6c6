"""Reconstructs many phantoms while processes of the run are killed at random, and compares.

    python benchmarks/kills.py                          # 1,000 phantoms, 20 SIGKILLs, two processes
    python benchmarks/kills.py --count 40 --kills 3     # the same in a minute

The run is done once undisturbed. Then the same command is started in another folder; its first
process is killed after a random time, with which the others end, and the command started again, as
often as asked for. Both folders must hold the same in the end: all files byte for byte, save for
times. The prior is small and untrained, as only the machinery is tested.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import NetworkEnergy, PriorMetadata, save_pretrained
from gnclightning.sde import VPSDE

ROOT = Path(__file__).parents[1]
TIMES = ("seconds", "cpu_seconds")
SAME = ("reconstructions.h5", "trace.csv", "certificate.json")


def main() -> None:
    """Run, kill, compare, print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="phantoms")
    parser.add_argument("--size", type=int, default=32, help="pixels of a side, a multiple of 4")
    parser.add_argument("--steps", type=int, default=6, help="iterations")
    parser.add_argument("--batch", type=int, default=8, help="images of a batch and of a chunk")
    parser.add_argument("--devices", type=int, default=2, help="processes")
    parser.add_argument("--kills", type=int, default=20, help="how often the run is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(options, Path(folder))
    print(json.dumps(found))
    if not found["same"]:
        sys.exit("the files differ")


def compare(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Both runs, in folders below `folder`, and what they came to."""
    prior = save_tiny_prior(folder / "prior.safetensors", options.size)
    settings = [
        *("data.name=ellipses", f"data.count={options.count}", f"data.size={options.size}"),
        *(f"solver.steps={options.steps}", "geometry.angles=20", "tv.iterations=10", "device=cpu"),
        *(f"batch_size={options.batch}", f"devices={options.devices}", f"prior.path={prior}"),
        "logger.mode=disabled",
    ]
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    began = time.monotonic()
    process = start(settings, undisturbed)
    while process.poll() is None and not list(undisturbed.glob("chunks/*.sha256")):
        time.sleep(0.05)
    starting = time.monotonic() - began
    finish(process)
    whole = time.monotonic() - began
    draw = random.Random(options.seed)
    latest = starting + (whole - starting) / options.kills
    began, killed = time.monotonic(), 0
    process = start(settings, disturbed)
    while killed < options.kills:
        try:
            process.wait(draw.uniform(starting / 2, latest))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            process = start(settings, disturbed)
    finish(process)
    total = time.monotonic() - began
    return {
        "images": options.count,
        "killed": killed,
        "seconds_undisturbed": round(whole, 1),
        "seconds_disturbed": round(total, 1),
        "seconds_until_the_first_chunk": round(starting, 1),
        "overhead_seconds_per_kill": round((total - whole) / max(killed, 1), 2),
        "same": same(undisturbed, disturbed),
    }


def save_tiny_prior(path: Path, size: int) -> Path:
    """An untrained energy of a small network, whose layers are not zero."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_pretrained(NetworkEnergy(VPSDE(), network), PriorMetadata((size, size)), path)
    return path


def start(settings: list[str], output: Path) -> subprocess.Popen[str]:
    """Start the program."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "reconstruct.py"), *settings, f"output={output}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a program that must succeed."""
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"status {process.returncode}: {errors}")


def same(a: Path, b: Path) -> bool:
    """Whether two run folders hold the same results, whatever time they took."""
    left = [path.name for path in b.rglob("*") if path.is_file()]
    if sorted(left) != sorted(path.name for path in a.rglob("*") if path.is_file()):
        return False
    if any((a / name).read_bytes() != (b / name).read_bytes() for name in SAME):
        return False
    return metrics(a) == metrics(b)


def metrics(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the columns of times."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
