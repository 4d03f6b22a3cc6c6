"""Writes the run folder: each finished batch at once, as a chunk, and all of them at the end."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning import __version__
from gnclightning.files import replacing, write_csv, write_hdf5, write_json
from gnclightning.operators import ParallelBeam2D
from gnclightning.reconstruction import certification, figures, folder
from gnclightning.reconstruction.chunks import Chunks
from gnclightning.reconstruction.records import (
    BatchResult,
    MetricsRow,
    TraceRow,
    row_of_left_out,
)
from gnclightning.reconstruction.runner import Observer
from gnclightning.reconstruction.starts import RESIDUAL
from gnclightning.reconstruction.summary import summarise

_FIGURES_BYTES, _TRACE_ROW_BYTES, _ITEM_BYTES = 2**24, 200, 4


@dataclass(frozen=True)
class Units:
    """Names of units.

    Attributes:
        intensity: of image values.
        length: of pixel size and detector spacing.
    """

    intensity: str
    length: str


def estimate_size(images: int, geometry: ParallelBeam2D, methods: int, iterations: int) -> int:
    """Bytes that a run writes, roughly: all is in chunks, too, while the large file is written."""
    pixels = int(np.prod(geometry.image_shape))
    floats = (2 + methods) * pixels + int(np.prod(geometry.range_shape))
    return images * (2 * floats * _ITEM_BYTES + 2 * iterations * _TRACE_ROW_BYTES) + _FIGURES_BYTES


class ChunkWriter(Observer):
    """Keeps each batch as soon as it is finished.

    Args:
        chunks: where; each batch is one.
    """

    def __init__(self, chunks: Chunks):
        self._chunks = chunks

    def batch_finished(self, result: BatchResult) -> None:
        """Write the batch."""
        self._chunks.save(result.batch.first // self._chunks.size, result)


class RunFolder(Observer):
    """Writes tables, reconstructions, summary and figures of all that is finished, at the end.

    Args:
        path: the run folder.
        geometry: of all sinograms, which are written in its unit of length.
        units: of images and lengths.
        images: number of images of the whole run.
        device: that the run uses.
        facts: more about the run, for the summary.
        left_out: images that could not be used, with the reason.
    """

    def __init__(
        self,
        path: Path,
        geometry: ParallelBeam2D,
        units: Units,
        images: int,
        device: torch.device,
        facts: Mapping[str, Any] | None = None,
        left_out: Mapping[str, str] | None = None,
    ):
        self.path = path
        self._geometry = geometry
        self._units = units
        self._images = images
        self._device = device
        self._left_out = dict(left_out or {})
        self._facts = {**(facts or {}), "left_out": self._left_out}
        self._results: Sequence[BatchResult] = []
        self._started = time.monotonic()

    def close(self, results: Sequence[BatchResult]) -> None:
        """Write; the summary comes last, as it says whether the run is finished."""
        if not results:
            return
        self._results = results
        self._write_tables()
        self._draw()
        wall_seconds = time.monotonic() - self._started
        summary = summarise(results, self._images, wall_seconds, self._device)
        write_json(self.path / folder.SUMMARY, summary | self._facts)

    def _draw(self) -> None:
        (self.path / folder.FIGURES).mkdir(exist_ok=True)
        for name, figure in figures.draw(self._results).items():
            with replacing(self.path / folder.FIGURES / name) as temporary:
                figure.savefig(temporary, bbox_inches="tight")

    def _write_tables(self) -> None:
        metrics = chain.from_iterable(result.metrics for result in self._results)
        trace = chain.from_iterable(m.trace for result in self._results for m in result.methods)
        rows = chain(metrics, map(row_of_left_out, self._left_out))
        write_csv(self.path / folder.METRICS, MetricsRow._fields, rows)
        write_csv(self.path / folder.TRACE, TraceRow._fields, trace)
        write_hdf5(
            self.path / folder.RECONSTRUCTIONS, *self._arrays_and_units(), self._attributes()
        )
        write_json(self.path / folder.CERTIFICATE, certification.report(self._results))

    def _arrays_and_units(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
        """The data sets (N, ...) without channels, and their units."""
        batches = [result.batch for result in self._results]
        tensors = {
            "sinogram": [self._geometry.pixel_size * batch.y for batch in batches],
            "fbp": [batch.fbp for batch in batches],
        }
        truth = [batch.truth for batch in batches if batch.truth is not None]
        if truth:
            tensors = {"ground_truth": truth} | tensors
        for parts in zip(*(result.methods for result in self._results), strict=True):
            tensors[parts[0].method] = [part.x for part in parts]
            for name in parts[0].maps:
                scale = self._geometry.pixel_size if name == RESIDUAL else 1
                maps = [scale * part.maps[name] for part in parts]
                tensors[f"{parts[0].method}_{name}"] = maps
        integrals = f"{self._units.intensity} * {self._units.length}"
        units = {
            name: integrals if name.endswith(("sinogram", RESIDUAL)) else self._units.intensity
            for name in tensors
        }
        return {name: _stack(parts) for name, parts in tensors.items()}, units

    def _attributes(self) -> Mapping[str, Any]:
        """Geometry (`geometry_` and the names of `ParallelBeam2D.to_dict`), noise and names."""
        geometry = {f"geometry_{k}": v for k, v in self._geometry.to_dict().items()}
        batches = [result.batch for result in self._results]
        return {
            **geometry,
            "geometry": json.dumps(self._geometry.to_dict()),
            "angle_unit": "radian",
            "length_unit": self._units.length,
            "intensity_unit": self._units.intensity,
            "sigma_y": self._geometry.pixel_size
            * torch.cat([batch.sigma_y for batch in batches]).numpy(),
            "image_names": list(chain.from_iterable(batch.names for batch in batches)),
            "version": __version__,
        }


def _stack(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).squeeze(1).numpy()
