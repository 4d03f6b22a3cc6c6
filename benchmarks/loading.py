"""Images per second of each loader beside those of the training step that they feed.

    python benchmarks/loading.py [--seconds 10] [--device cuda]

Loaders are those of training: phantoms generated on the fly, a stack of images in a file, slices
in the cache of a DICOM tree; in the training process or in one worker process. The step is that of
the shipped network as an energy and as a score, with loss, gradient, clipping and optimiser, in
bfloat16 autocast. All in one run, one after the other, on batches of 8 images of 128 x 128.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from dicom_tree import SLICES, chest, stored, write_series
from pydicom.uid import ExplicitVRLittleEndian
from torch import nn

from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.split import split_patients
from gnclightning.data.ellipses import phantoms
from gnclightning.losses import PowerTimes, denoising_score_matching
from gnclightning.networks import UNet
from gnclightning.priors import NetworkEnergy, NetworkPrior, NetworkScore, load_prior
from gnclightning.training.data import EllipsesDataModule, FolderDataModule, ImageDataModule
from gnclightning.training.ldct import LDCTDataModule
from gnclightning.training.module import BOUNDARY
from gnclightning.training.optimizers import MuonAdam, split_parameters

BATCH, SIZE, IMAGES = 8, 128, 1000
PATIENTS, COPIES = ("C002", "C012"), 14
"""One to train and one to validate on; each of their slices is there so many times."""


def dicom_loader(folder: Path) -> tuple[Callable[[int], ImageDataModule], float]:
    """A loader of a converted tree, and the slices per second of its conversion."""
    for number, patient in enumerate(PATIENTS):
        rng = np.random.default_rng(number)
        images = [stored(image, 12, rng) for image in chest(rng)] * COPIES
        write_series(folder / "ct", patient, "Full Dose Images", images, ExplicitVRLittleEndian)
    start = time.perf_counter()
    cache = open_cache(folder / "ct", folder / "cache", Preprocessing(size=SIZE), workers=0)
    rate = len(PATIENTS) * COPIES * SLICES / (time.perf_counter() - start)
    split = split_patients(cache.patients)
    return lambda workers: LDCTDataModule(cache, split, BATCH, workers=workers), rate


def loading_rate(module: ImageDataModule, seconds: float) -> float:
    """Images per second, pass after pass, after a first batch."""

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield from module.train_dataloader()

    stream, images = batches(), 0
    next(stream)
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        images += len(next(stream))
    return images / spent


def training_rate(kind: type[NetworkPrior], device: torch.device, seconds: float) -> float:
    """Images per second of training steps, after two."""
    shipped, _ = load_prior("ellipses-128")
    prior = kind(shipped.sde, UNet(shipped.network.config)).to(device)
    optimizer = MuonAdam(*split_parameters(prior, BOUNDARY))
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(phantoms(range(BATCH), 0, "train", SIZE))
    steps, start = -2, 0.0
    while steps < 0 or time.perf_counter() - start < seconds:
        t, noise = PowerTimes()(prior.sde, BATCH, generator), torch.randn(x.shape)
        with torch.autocast(device.type, torch.bfloat16):
            given = (value.to(device) for value in (x, t, noise))
            loss = denoising_score_matching(prior, prior.sde, *given).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        loss.item()  # waits for the device
        steps += 1
        if steps == 0:
            start = time.perf_counter()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Time everything, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="per row")
    parser.add_argument("--device", default="cpu", help="that trains")
    arguments = parser.parse_args()
    seconds, device = arguments.seconds, torch.device(arguments.device)
    steps = {
        kind.parametrisation: training_rate(kind, device, seconds)
        for kind in (NetworkEnergy, NetworkScore)
    }
    print("| what | images / s | times the step of an energy | of a score |")
    print("| --- | --- | --- | --- |")
    for name, rate in steps.items():
        print(f"| training step, {name} | {rate:.1f} | | |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "a.npy", phantoms(range(IMAGES), 0, "train", SIZE)[:, 0])
        slices, conversion = dicom_loader(folder)
        loaders: dict[str, Callable[[int], ImageDataModule]] = {
            "phantoms, generated": lambda workers: EllipsesDataModule(
                BATCH, 8000, 1, SIZE, workers
            ),
            "folder": lambda workers: FolderDataModule(folder / "a.npy", BATCH, workers=workers),
            "DICOM cache": slices,
        }
        for what, make in loaders.items():
            for workers in (0, 1):
                rate = loading_rate(make(workers), seconds)
                ratios = " | ".join(f"{rate / step:.0f}" for step in steps.values())
                print(f"| {what}, {workers} workers | {rate:.0f} | {ratios} |")
    print(f"\nDICOM conversion, once: {conversion:.0f} slices / s in one process.")


if __name__ == "__main__":
    main()
