"""Images per second and memory of training: our network, a plain U-Net, the published size.

    python benchmarks/training.py run [--seconds 20] [--precision bf16-mixed 32-true]
    python benchmarks/training.py table       # docs/results/training.json -> docs/results.md

All in one run, one after the other, each in a process of its own, whose peak memory it is. A step
is loss, gradient, clipping and optimiser for new ELLIPSES phantoms of 128 x 128; the network is the
shipped one, a conventional U-Net (`plain_unet.py`) of as many parameters, and one of the published
57.6 million. Ours is trained by Muon and Adam, as always, the others by Adam. Other work on the
machine slows everything; ratios suffer less. On a GPU: `--device cuda`, which also says which
share of the time goes into waiting for images. Then two processes (DDP) against one through
`train.py`, with the same global batch, turn by turn.
"""

import argparse
import csv
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from kept import header, keep, load, row, write_section
from plain_unet import plain_unet
from torch import Tensor, nn

from gnclightning.data.ellipses import phantoms
from gnclightning.losses import PowerTimes, denoising_score_matching
from gnclightning.networks import UNet
from gnclightning.priors import NetworkEnergy, NetworkPrior, NetworkScore, from_pretrained
from gnclightning.sde import VPSDE
from gnclightning.training.data import EllipsesDataModule
from gnclightning.training.module import BOUNDARY
from gnclightning.training.monitoring import peak_memory
from gnclightning.training.optimizers import MuonAdam, split_parameters

KINDS: dict[str, type[NetworkPrior]] = {"score": NetworkScore, "energy": NetworkEnergy}
NETWORKS = ("shipped", "plain", "published size")
PUBLISHED = 57.6e6
SIZE, BATCH, EPOCH = 128, 8, 8000
COLUMNS = (
    "training of",
    "network",
    "million parameters",
    "precision",
    "images per step",
    "images / s",
    "the shipped network is faster by",
    "waiting for images",
    "peak memory, GB",
)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """What is timed; `batch` images per step, for at least `seconds` and a step."""

    network: str
    kind: str
    precision: str
    batch: int
    seconds: float
    device: str
    workers: int


def build(setting: Setting) -> NetworkPrior:
    """The prior, with fresh weights."""
    shipped, _ = from_pretrained("ellipses-128")
    size = sum(p.numel() for p in shipped.parameters())
    networks: dict[str, Callable[[], nn.Module]] = {
        "shipped": lambda: UNet(shipped.network.config),
        "plain": lambda: plain_unet(size),
        "published size": lambda: plain_unet(PUBLISHED),
    }
    network: Any = networks[setting.network]()
    return KINDS[setting.kind](VPSDE(), network).to(setting.device)


def optimiser(prior: NetworkPrior) -> torch.optim.Optimizer:
    """As in training for our network, Adam for others."""
    if isinstance(prior.network, UNet):
        return MuonAdam(*split_parameters(prior, BOUNDARY))
    return torch.optim.Adam(prior.parameters())


def stream(setting: Setting) -> Iterator[Tensor]:
    """Batches of training, without end."""
    loader = EllipsesDataModule(setting.batch, EPOCH, 1, SIZE, setting.workers).train_dataloader()
    while True:
        yield from loader


def measure(setting: Setting) -> dict[str, Any]:
    """Train for a while: images per second, share of waiting for images, peak memory in bytes."""
    device = torch.device(setting.device)
    prior, batches = build(setting), stream(setting)
    steps = optimiser(prior)
    half = setting.precision == "bf16-mixed"
    generator = torch.Generator().manual_seed(0)

    def step() -> float:
        begun = time.perf_counter()
        x = next(batches)
        waited = time.perf_counter() - begun
        t, noise = PowerTimes()(prior.sde, len(x), generator), torch.randn(x.shape)
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            given = (value.to(device) for value in (x, t, noise))
            loss = denoising_score_matching(prior, prior.sde, *given).mean()
        steps.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        steps.step()
        loss.item()  # waits for the device
        return waited

    step()
    count, waited, start = 0, 0.0, time.perf_counter()
    while not count or time.perf_counter() - start < setting.seconds:
        waited += step()
        count += 1
    spent = time.perf_counter() - start
    return {
        **asdict(setting),
        "parameters": sum(p.numel() for p in prior.parameters()),
        "steps": count,
        "images_per_second": count * setting.batch / spent,
        "waiting": waited / spent,
        "peak_memory": peak_memory(device),
    }


def idle() -> int:
    """Peak memory of a process that has made phantoms and trained nothing."""
    phantoms(range(BATCH), 0, "train", SIZE)
    return peak_memory(torch.device("cpu"))


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function that runs in a new process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def trained_rate(devices: int, seconds: int, folder: Path) -> float:
    """Images per second of an energy's training with `train.py`: the median of its intervals."""
    settings = [
        f"output={folder}",
        "prior.parametrisation=energy",
        f"optimizer.batch_size={BATCH // devices}",
        f"trainer.devices={devices}",
        f"trainer.strategy={'ddp' if devices > 1 else 'auto'}",
        "trainer.precision=bf16-mixed",
        f"trainer.max_time=00:00:{seconds // 60:02}:{seconds % 60:02}",
        "trainer.log_every_n_steps=2",
        "reconstruction.every_n_steps=0",
        "logger.mode=disabled",
        "progress=false",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *settings]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (folder / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        values = [r.get("train/images_per_second") for r in csv.DictReader(file)]
    return statistics.median([float(value) for value in values if value][1:])


def scaling(seconds: int, rounds: int) -> dict[str, Any]:
    """Two processes of one thread against one, turn by turn."""
    rates: dict[str, list[float]] = {"1": [], "2": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for devices, found in rates.items():
                folder = Path(name) / f"{devices}-{number}"
                found.append(trained_rate(int(devices), seconds, folder))
    ratios = [two / one for one, two in zip(rates["1"], rates["2"], strict=True)]
    return {"images_per_second": rates, "efficiency": statistics.median(ratios) / 2}


def run(given: argparse.Namespace) -> None:
    """Measure everything and keep it."""
    rows: list[dict[str, Any]] = []
    first = Setting("", "", "", given.batch, given.seconds, given.device, given.workers)
    for precision in given.precision:
        for kind in KINDS:
            for network in NETWORKS:
                batch = given.large_batch if network == "published size" else given.batch
                setting = replace(
                    first, network=network, kind=kind, precision=precision, batch=batch
                )
                rows.append(in_process(measure, setting))
                print(rows[-1], flush=True)
    result: dict[str, Any] = {"rows": rows, "idle_memory": in_process(idle)}
    result["load"] = list(os.getloadavg())
    if given.scaling_seconds:
        result["scaling"] = scaling(given.scaling_seconds, given.rounds)
    on = platform.machine() + f", {torch.get_num_threads()} CPU threads"
    if given.device == "cuda":
        on = torch.cuda.get_device_name()
    words = ["python", "benchmarks/training.py", *sys.argv[1:]]
    keep("training", result, " ".join(words), on)


def table() -> None:
    """Write the section of docs/results.md."""
    found = load("training")
    if found is None:
        raise SystemExit("no docs/results/training.json: `run` first")
    load_average = found["load"][1]
    lines = [
        f"`{found['reproduce']}`, {found['hardware']}, {found['date']}, load average "
        f"{load_average:.1f}.",
        "",
        *header(COLUMNS),
    ]
    for entry in found["rows"]:
        ours = next(
            other
            for other in found["rows"]
            if other["network"] == "shipped"
            and all(other[key] == entry[key] for key in ("kind", "precision"))
        )
        lines.append(
            row(
                [
                    entry["kind"],
                    entry["network"],
                    f"{entry['parameters'] / 1e6:.2f}",
                    entry["precision"],
                    str(entry["batch"]),
                    f"{entry['images_per_second']:.3g}",
                    f"{ours['images_per_second'] / entry['images_per_second']:.3g}",
                    f"{100 * entry['waiting']:.1f} %",
                    f"{entry['peak_memory'] / 1e9:.2f}",
                ]
            )
        )
    lines += ["", f"A process that trains nothing has {found['idle_memory'] / 1e9:.2f} GB."]
    if scaled := found.get("scaling"):
        one, two = (statistics.median(scaled["images_per_second"][n]) for n in ("1", "2"))
        lines[-1] += (
            f" Two processes train {two:.3g} images / s, one {one:.3g}: an efficiency of "
            f"{100 * scaled['efficiency']:.0f} % (median of {len(scaled['images_per_second']['1'])}"
            " pairs)."
        )
    write_section("training", lines)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--seconds", type=float, default=20, help="per row, at least a step")
    runner.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    runner.add_argument("--precision", nargs="+", default=["bf16-mixed"])
    runner.add_argument("--batch", type=int, default=BATCH, help="images per step")
    runner.add_argument("--large-batch", type=int, default=1, help="with the published size")
    runner.add_argument("--workers", type=int, default=0, help="processes that load images")
    runner.add_argument("--scaling-seconds", type=int, default=60, help="per training; 0: none")
    runner.add_argument("--rounds", type=int, default=3, help="pairs of trainings")
    commands.add_parser("table")
    given = parser.parse_args()
    run(given) if given.command == "run" else table()


if __name__ == "__main__":
    main()
