"""Reconstructs sinograms that another package made on a finer grid: no inverse crime.

    python benchmarks/inverse_crime.py [--images 8] [--folder runs/inverse-crime]

ELLIPSES phantoms on a grid four times as fine are projected by ASTRA's strip kernel, the same ones
at 128 x 128 by the native projector. Both get the same noise and go into HDF5 files with their
geometry, which `reconstruct.py data.name=sinogram` reconstructs. Prints a table. Needs
`pip install 'gnclightning[astra]'`.
"""

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.data.ellipses_file import PhantomSet
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.operators.backends import astra_projector

SIZE, FINER, ANGLES = 128, 4, 60
LEVELS = (0.1, 0.01)
METHODS = ("fbp", "tv", "preconditioned")


def fine_phantoms(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same phantoms on the finer grid, in the same units of intensity."""
    count, size = len(coarse), FINER * SIZE
    fine = PhantomSet(count, size).make()
    nearest = np.rint(np.arange(SIZE) * (size - 1) / (SIZE - 1)).astype(int)
    # Each is divided by its own maximum. Values are constant but for edges, so the ratio is exact.
    for image, known in zip(fine, coarse, strict=True):
        seen = image[np.ix_(nearest, nearest)]
        inside = (seen > 0) & (known > 0)
        image *= np.median(known[inside] / seen[inside])
    return fine


def project(geometry: ParallelBeam2D, coarse: NDArray[np.float32]) -> dict[str, Tensor]:
    """Sinograms (N, angles, detectors) without noise, by who made them."""
    fine_geometry = replace(
        geometry,
        image_shape=(FINER * SIZE, FINER * SIZE),
        # Outermost pixel centres coincide, as phantoms are sampled at linspace(-1, 1).
        pixel_size=(SIZE - 1) / (FINER * SIZE - 1),
    )
    fine = torch.from_numpy(fine_phantoms(coarse))
    return {
        "native": Radon(geometry)(torch.from_numpy(coarse)),
        "astra": astra_projector(fine_geometry, "strip")(fine),
    }


def write(path: Path, geometry: ParallelBeam2D, sinograms: Tensor, truth: NDArray) -> None:
    """A measurement as docs/data.md describes it."""
    with h5py.File(path, "w") as file:
        file["sinogram"], file["truth"] = sinograms.numpy(), truth
        file.attrs.update(
            angles=geometry.angles,
            angle_unit="radian",
            detector_count=geometry.detector_count,
            detector_spacing=geometry.detector_spacing,
            pixel_size=geometry.pixel_size,
            image_shape=geometry.image_shape,
            length_unit=geometry.unit,
        )


def reconstruct(scan: Path, level: float) -> dict[str, tuple[float, float]]:
    """PSNR and SSIM of each method, from the command line."""
    output = scan.with_suffix("")
    settings = [
        "data.name=sinogram",
        f"data.path={scan}",
        "data.key=sinogram",
        "data.truth=truth",
        f"noise.relative={level}",
        f"output={output}",
        "overwrite=true",
        "logger.mode=disabled",
    ]
    subprocess.run([sys.executable, "reconstruct.py", *settings], check=True)
    with (output / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        method: (
            fmean(float(row["psnr"]) for row in rows if row["method"] == method),
            fmean(float(row["ssim"]) for row in rows if row["method"] == method),
        )
        for method in METHODS
    }


def main() -> None:
    """Make, reconstruct, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("runs/inverse-crime"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    geometry = ParallelBeam2D.for_image(SIZE, ANGLES)
    truth = PhantomSet(arguments.images, SIZE).make()
    clean = project(geometry, truth)
    distance = (clean["astra"] - clean["native"]).norm() / clean["native"].norm()
    found = {}
    for level in LEVELS:
        for maker, sinograms in clean.items():
            y, _ = add_noise(sinograms, relative=level, seeds=range(arguments.images))
            scan = arguments.folder / f"{maker}-{level:g}.h5"
            write(scan, geometry, y, truth)
            found[f"{level:.0%}", maker] = reconstruct(scan, level)
    print(f"Sinograms differ by {float(distance):.2%} (relative l2 norm, without noise).\n")
    print("| noise | sinogram by | " + " | ".join(METHODS) + " |")
    print("| --- | --- |" + " --- |" * len(METHODS))
    for (level, maker), results in found.items():
        cells = (f"{psnr:.2f} / {ssim:.3f}" for psnr, ssim in results.values())
        print(f"| {level} | {maker} | " + " | ".join(cells) + " |")
    print(json.dumps({"images": arguments.images, "difference": float(distance)}))


if __name__ == "__main__":
    main()
