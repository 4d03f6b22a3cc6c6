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
from training import Setting, measure

from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.split import split_patients
from gnclightning.data.ellipses import phantoms
from gnclightning.training.data import EllipsesDataModule, FolderDataModule, ImageDataModule
from gnclightning.training.ldct import LDCTDataModule

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


def training_rate(kind: str, device: str, seconds: float) -> float:
    """Images per second of training steps of the shipped network."""
    setting = Setting("shipped", kind, "bf16-mixed", BATCH, seconds, device, workers=0)
    return measure(setting)["images_per_second"]


def main() -> None:
    """Time everything, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="per row")
    parser.add_argument("--device", default="cpu", help="that trains")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    steps = {kind: training_rate(kind, arguments.device, seconds) for kind in ("energy", "score")}
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
