"""Writes the run folder: each finished batch at once, as a chunk, and all of them at the end."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning import __version__
from gnclightning.files import replacing, write_csv, write_hdf5, write_json
from gnclightning.operators import LinearOperator, PlanarGeometry
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
class Projections:
    """What files say of sinograms, which are written in the geometry's unit of length.

    Attributes:
        intensity_unit: of image values.
        geometry: of all sinograms.
    """

    intensity_unit: str
    geometry: PlanarGeometry
    name: ClassVar[str] = "sinogram"

    @property
    def unit(self) -> str:
        """Of the measurements."""
        return f"{self.intensity_unit} * {self.geometry.unit}"

    @property
    def scale(self) -> float:
        """From lengths in pixels to the geometry's."""
        return self.geometry.pixel_size

    def attributes(self) -> dict[str, Any]:
        """Geometry, whole as JSON and by entry (`geometry_` and the names of `to_dict`)."""
        values = self.geometry.to_dict()
        return {
            **{f"geometry_{k}": v for k, v in values.items()},
            "geometry": json.dumps(values),
            "angle_unit": "radian",
            "length_unit": self.geometry.unit,
        }


@dataclass(frozen=True)
class ImageMeasurements:
    """What files say of measurements that are no projections.

    Attributes:
        intensity_unit: of image values, and of measurements.
        operator: the arguments of `operators.image_operator`, but for the shape.
    """

    intensity_unit: str
    operator: Mapping[str, Any]
    name: ClassVar[str] = "measurement"
    scale: ClassVar[float] = 1.0

    @property
    def unit(self) -> str:
        """Of the measurements."""
        return self.intensity_unit

    def attributes(self) -> dict[str, Any]:
        """The operator as JSON."""
        return {"operator": json.dumps(dict(self.operator))}


def estimate_size(images: int, operator: LinearOperator, methods: int, iterations: int) -> int:
    """Bytes that a run writes, roughly: all is in chunks, too, while the large file is written."""
    pixels = int(np.prod(operator.domain_shape))
    floats = (2 + methods) * pixels + int(np.prod(operator.range_shape))
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
        kind: what measurements are.
        images: number of images of the whole run.
        device: that the run uses.
        facts: more about the run, for the summary.
        left_out: images that could not be used, with the reason.
    """

    def __init__(
        self,
        path: Path,
        kind: Projections | ImageMeasurements,
        images: int,
        device: torch.device,
        facts: Mapping[str, Any] | None = None,
        left_out: Mapping[str, str] | None = None,
    ):
        self.path = path
        self._kind = kind
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
            self._kind.name: [self._kind.scale * batch.y for batch in batches],
            batches[0].direct_name: [batch.direct for batch in batches],
        }
        truth = [batch.truth for batch in batches if batch.truth is not None]
        if truth:
            tensors = {"ground_truth": truth} | tensors
        for parts in zip(*(result.methods for result in self._results), strict=True):
            tensors[parts[0].method] = [part.x for part in parts]
            for name in parts[0].maps:
                scale = self._kind.scale if name == RESIDUAL else 1
                maps = [scale * part.maps[name] for part in parts]
                tensors[f"{parts[0].method}_{name}"] = maps
        measured, image = self._kind.unit, self._kind.intensity_unit
        units = {
            name: measured if name.endswith((self._kind.name, RESIDUAL)) else image
            for name in tensors
        }
        return {name: _stack(parts) for name, parts in tensors.items()}, units

    def _attributes(self) -> Mapping[str, Any]:
        """Geometry or operator, noise and names."""
        batches = [result.batch for result in self._results]
        return {
            **self._kind.attributes(),
            "intensity_unit": self._kind.intensity_unit,
            "direct": batches[0].direct_name,
            "sigma_y": self._kind.scale * torch.cat([batch.sigma_y for batch in batches]).numpy(),
            "image_names": list(chain.from_iterable(batch.names for batch in batches)),
            "version": __version__,
        }


def _stack(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).squeeze(1).numpy()
