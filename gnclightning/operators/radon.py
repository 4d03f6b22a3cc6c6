"""Native Radon transform as a sparse matrix.

The weights of `joseph.footprint` are listed ray by ray, which gives the matrix of A, and pixel by
pixel, which gives that of its transpose; both of a part of the scan, which symmetries make whole
(`reduction`).
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from gnclightning.operators.geometry import ALL, PlanarGeometry
from gnclightning.operators.joseph import expected_entries, footprint
from gnclightning.operators.projector import Projector
from gnclightning.operators.reduction import reduction
from gnclightning.operators.sparse import Rows, pointers

_ENTRY_LIMIT = 2**30  # row pointers are 32-bit, however much memory there is
_SHARE_AT_ONCE = 16  # of the matrices that would fit memory, computed at a time where not all fit
_CHUNK = 2**18  # weights worked on at a time: few enough to stay in a processor's cache
_CACHE = 2**24  # bytes of the images that a processor multiplies with at a time
_Shape = tuple[int, ...]
_Name = Literal["forward", "adjoint"]
_Piece = tuple[Tensor, Tensor, Tensor]  # entries per row, their columns, their values


class Radon(Projector):
    """Joseph's method; the adjoint is the transpose of the very same matrix, entry by entry.

    Args:
        geometry: image, angles, detector and units.
        dtype: float32 or float64. Entries are computed in float64 and rounded to it; a later
            `.to(dtype)` converts the rounded ones.
        memory_limit: bytes that the matrices of A and its transpose may take together, None for
            as many as needed. Above it they are computed anew in each call, some angles at a
            time: the same values, slowly.

    Raises:
        UserError: if `dtype` is another, or an input has the wrong shape, dtype or device.
    """

    _slots: Tensor
    _rays: Tensor

    def __init__(
        self,
        geometry: PlanarGeometry,
        dtype: torch.dtype = torch.float32,
        memory_limit: int | None = 2**31,
    ) -> None:
        super().__init__(geometry, dtype)
        self._built_dtype = dtype
        self._reduction = reduction(geometry)
        self.register_buffer("_slots", self._reduction.slots, persistent=False)
        self.register_buffer("_rays", self._reduction.rays, persistent=False)
        part = self._reduction.part
        angle_count = len(part.angles)
        entry_limit = _ENTRY_LIMIT
        if memory_limit is not None:
            entry_limit = min(entry_limit, memory_limit // (2 * (4 + dtype.itemsize)))
        share = math.prod(part.range_shape) / math.prod(geometry.range_shape)
        entries = share * expected_entries(geometry)
        self._stored = entries <= entry_limit
        # Computing takes several times the memory of what is computed.
        at_once = int(entry_limit / _SHARE_AT_ONCE / entries * angle_count)
        step = angle_count if self._stored else max(1, at_once)
        self._blocks = [
            slice(start, min(start + step, angle_count)) for start in range(0, angle_count, step)
        ]
        if self._stored:
            for name in ("forward", "adjoint"):
                matrix = self._compute(name, self._blocks[0])
                for field, tensor in zip(Rows._fields, matrix, strict=True):
                    self.register_buffer(f"_{name}_{field}", tensor, persistent=False)

    def _matvec(self, x: Tensor) -> Tensor:
        return self._in_batches(self._project, x, self.domain_shape, self.range_shape)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._in_batches(self._back_project, y, self.range_shape, self.domain_shape)

    def _in_batches(
        self, apply: Callable[[Tensor], Tensor], x: Tensor, given: _Shape, wanted: _Shape
    ) -> Tensor:
        """Apply to as many images at a time as fit the processor's caches."""
        images = x.reshape(-1, *given)
        count = step = max(1, len(images))
        if x.device.type == "cpu" and self._stored:
            size = math.prod(self.domain_shape) * self._reduction.versions * x.itemsize
            step = max(1, _CACHE // size)
        parts = [apply(images[i : i + step]) for i in range(0, count, step)]
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        return joined.reshape(*x.shape[: -len(given)], *wanted)

    def _project(self, images: Tensor) -> Tensor:
        """(B, rows, columns) -> (B, angles, detectors)."""
        versions = self._reduction.spread(images.movedim(0, -1).contiguous())
        columns = versions.flatten(0, 1)
        parts = [self._matrix("forward", block).times(columns) for block in self._blocks]
        seen = torch.cat(parts) if len(parts) > 1 else parts[0]
        seen = seen.reshape(len(self._rays), -1).index_select(0, self._slots)
        return seen.T.reshape(-1, *self.range_shape)

    def _back_project(self, sinograms: Tensor) -> Tensor:
        """(B, angles, detectors) -> (B, rows, columns)."""
        rays = torch.nn.functional.pad(sinograms.flatten(1).T, (0, 0, 0, 1))
        wanted = rays.index_select(0, self._rays)
        wanted = wanted.reshape(*self._reduction.part.range_shape, -1)
        parts = (
            self._matrix("adjoint", block).times(wanted[block].flatten(0, 1))
            for block in self._blocks
        )
        seen = functools.reduce(torch.add, parts).reshape(*self.domain_shape, -1)
        return self._reduction.gather(seen).movedim(-1, 0).contiguous()

    def _matrix(self, name: _Name, angles: slice) -> Rows:
        if self._stored:
            return Rows(*(self.get_buffer(f"_{name}_{field}") for field in Rows._fields))
        matrix = self._compute(name, angles)
        return matrix._replace(values=matrix.values.to(self.dtype))

    def _compute(self, name: _Name, angles: slice) -> Rows:
        pieces = _by_ray if name == "forward" else _by_pixel
        return _assemble(pieces(self._reduction.part, angles, self.device), self._built_dtype)


def _by_ray(geometry: PlanarGeometry, angles: slice, device: torch.device) -> Iterator[_Piece]:
    """Rows of the matrix of A, the rays of some angles at a time."""
    step = max(1, _CHUNK // math.prod(geometry.image_shape))
    for start in range(angles.start, angles.stop, step):
        group = slice(start, min(start + step, angles.stop))
        rays, weights = footprint(geometry, ALL, group, device)
        reached = weights > 0
        # Pixels come in order; sorting stably by ray leaves them in order within each ray.
        ray, order = rays.masked_select(reached).sort(stable=True)
        entries = reached.flatten().nonzero().squeeze(1).index_select(0, order)
        counts = ray.bincount(minlength=(group.stop - start) * geometry.detector_count)
        yield counts, entries // weights[0].numel(), weights.flatten().index_select(0, entries)


def _by_pixel(geometry: PlanarGeometry, angles: slice, device: torch.device) -> Iterator[_Piece]:
    """Rows of the transposed matrix, the pixels of some image rows at a time."""
    rows, columns = geometry.image_shape
    step = max(1, _CHUNK // (columns * (angles.stop - angles.start)))
    for start in range(0, rows, step):
        rays, weights = footprint(geometry, slice(start, start + step), angles, device)
        reached = weights > 0
        yield reached.sum((1, 2)), rays.masked_select(reached), weights.masked_select(reached)


def _assemble(pieces: Iterable[_Piece], dtype: torch.dtype) -> Rows:
    """Join consecutive rows into one matrix."""
    counts, columns, values = zip(
        *((counts, columns.int(), values.to(dtype)) for counts, columns, values in pieces),
        strict=True,
    )
    return Rows(pointers(torch.cat(counts)), torch.cat(columns), torch.cat(values))
