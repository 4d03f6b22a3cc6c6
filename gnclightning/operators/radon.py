"""Native Radon transform as a sparse matrix.

The weights of `joseph.footprint` are listed ray by ray, which gives the matrix of A, and pixel by
pixel, which gives that of its transpose.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from gnclightning.operators.geometry import ALL, PlanarGeometry
from gnclightning.operators.joseph import expected_entries, footprint
from gnclightning.operators.projector import Projector
from gnclightning.operators.sparse import Rows, pointers

_ENTRY_LIMIT = 2**30  # row pointers are 32-bit, however much memory there is
_SHARE_AT_ONCE = 16  # of the matrices that would fit memory, computed at a time where not all fit
_CHUNK = 2**18  # weights worked on at a time: few enough to stay in a processor's cache
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

    def __init__(
        self,
        geometry: PlanarGeometry,
        dtype: torch.dtype = torch.float32,
        memory_limit: int | None = 2**31,
    ) -> None:
        super().__init__(geometry, dtype)
        self._built_dtype = dtype
        angle_count = len(geometry.angles)
        entry_limit = _ENTRY_LIMIT
        if memory_limit is not None:
            entry_limit = min(entry_limit, memory_limit // (2 * (4 + dtype.itemsize)))
        entries = expected_entries(geometry)
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
        columns = x.reshape(-1, math.prod(self.domain_shape)).T.contiguous()
        parts = [self._matrix("forward", block).times(columns) for block in self._blocks]
        return torch.cat(parts).T.reshape(*x.shape[:-2], *self.range_shape)

    def _rmatvec(self, y: Tensor) -> Tensor:
        columns = y.reshape(-1, *self.range_shape).movedim(0, -1)
        parts = (
            self._matrix("adjoint", block).times(columns[block].flatten(0, 1).contiguous())
            for block in self._blocks
        )
        return functools.reduce(torch.add, parts).T.reshape(*y.shape[:-2], *self.domain_shape)

    def _matrix(self, name: _Name, angles: slice) -> Rows:
        if self._stored:
            return Rows(*(self.get_buffer(f"_{name}_{field}") for field in Rows._fields))
        matrix = self._compute(name, angles)
        return matrix._replace(values=matrix.values.to(self.dtype))

    def _compute(self, name: _Name, angles: slice) -> Rows:
        pieces = _by_ray if name == "forward" else _by_pixel
        return _assemble(pieces(self.geometry, angles, self.device), self._built_dtype)


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
