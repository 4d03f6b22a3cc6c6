"""The images of a report: which ones, and how they are packed."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gnclightning.data.dicom.cache_file import dataset
from gnclightning.reconstruction.records import label, mean_name
from gnclightning.reconstruction.starts import STD

WORST, SAMPLE = 50, 14
"""Images of the gallery: the worst, and some of the others."""
BUDGET = 24 * 2**20
"""Characters of packed images, at most; the first image is there whatever its size."""
LEVELS = 2**12
"""Grey levels of a packed image: windows of a sixteenth of its range still show 8 bits."""


def choose(order: Sequence[int]) -> list[int]:
    """Numbers of the images to show, of all numbers sorted from the worst on.

    The worst `WORST`, then `SAMPLE` evenly spaced among the others.
    """
    others = order[WORST:]
    if len(others) <= SAMPLE:
        return list(order)
    places = np.linspace(0, len(others) - 1, SAMPLE).round().astype(int)
    return [*order[:WORST], *(others[place] for place in places)]


def layers(file: h5py.File, solver: str, methods: Sequence[str]) -> list[dict[str, str]]:
    """What can be shown of an image: data set, name for readers, and kind."""
    found = [
        {"key": method, "label": label(method), "kind": "image"}
        for method in dict.fromkeys(methods)
        if method in file
    ]
    if "ground_truth" in file:
        found.append({"key": "ground_truth", "label": "ground truth", "kind": "image"})
    spread = f"{mean_name(solver)}_{STD}"
    if spread in file:
        found.append({"key": spread, "label": "spread of starts", "kind": "deviation"})
    return found


def pack_images(
    file: h5py.File, names: Sequence[str], chosen: Iterable[int], keys: Sequence[str]
) -> list[dict[str, Any]]:
    """The chosen images with all their layers, in their order, as many as the budget allows."""
    packed: list[dict[str, Any]] = []
    spent = 0
    for number in chosen:
        found = {key: pack(dataset(file, key)[number]) for key in keys}
        spent += sum(len(layer["data"]) for layer in found.values())
        if packed and spent > BUDGET:
            break
        packed.append({"name": names[number], "number": number, "layers": found})
    return packed


def pack(image: NDArray[np.float32]) -> dict[str, Any]:
    """An image (H, W) as text: value = low + level (high - low) / (LEVELS - 1).

    Levels are 16-bit integers; each row as differences to its left neighbour, all high bytes before
    all low bytes, zlib, base64. Browsers read PNG files with 8 bits per channel only.
    """
    known = np.isfinite(image)
    low, high = (float(f(image[known])) if known.any() else 0.0 for f in (np.min, np.max))
    scale = (LEVELS - 1) / (high - low) if high > low else 0.0
    levels = ((np.where(known, image, low).astype(np.float64) - low) * scale).round()
    stored = levels.astype(np.uint16)
    stored[:, 1:] -= stored[:, :-1].copy()
    planes = np.concatenate([(stored >> 8).ravel(), (stored & 255).ravel()]).astype(np.uint8)
    data = base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")
    return {"low": low, "high": high, "data": data}
