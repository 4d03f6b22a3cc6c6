"""Native Radon transform as a sparse matrix.

The weights of `joseph.footprint` are listed ray by ray, which gives the matrix of A, and pixel by
pixel, which gives that of its transpose.
"""

import functools
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator
from gnclightning.operators.geometry import ALL, PlanarGeometry
from gnclightning.operators.joseph import expected_entries, footprint

_ENTRY_LIMIT = 2**30  # row pointers are 32-bit, however much memory there is
_SHARE_AT_ONCE = 16  # of the matrices that would fit memory, computed at a time where not all fit
_CHUNK = 2**18  # weights worked on at a time: few enough to stay in a processor's cache
_Name = Literal["forward", "adjoint"]
_Piece = tuple[Tensor, Tensor, Tensor]  # entries per row, their columns, their values


class _Rows(NamedTuple):
    """A matrix in compressed sparse rows: row pointers, column indices, values."""

    pointers: Tensor
    columns: Tensor
    values: Tensor

    def times(self, x: Tensor) -> Tensor:
        """Multiply with dense columns, (columns, n) -> (rows, n)."""
        _use_up_sparse_warnings()
        with torch.autocast(x.device.type, enabled=False):  # no sparse products in bfloat16
            return _csr(self, len(x)) @ x


class Radon(LinearOperator):
    """Line integrals of an image along the rays of a parallel-beam or fan-beam geometry.

    Images (..., rows, columns) in 1/length give dimensionless sinograms (..., angles, detectors).
    Nothing is rescaled. The adjoint is the transpose of the very same matrix, entry by entry.

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
        if dtype not in (torch.float32, torch.float64):
            raise UserError(f"Radon: expected dtype float32 or float64, got {dtype}")
        super().__init__(geometry.image_shape, geometry.range_shape, dtype)
        self.geometry = geometry
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
                for field, tensor in zip(_Rows._fields, matrix, strict=True):
                    self.register_buffer(f"_{name}_{field}", tensor, persistent=False)

    def _check(self, tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
        super()._check(tensor, shape, name)
        if tensor.dtype != self.dtype or tensor.device != self.device:
            raise UserError(
                f"expected {name} as {self.dtype} on {self.device}, got {tensor.dtype} on "
                f"{tensor.device}: convert it, or the operator, with .to(...)"
            )

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

    def _matrix(self, name: _Name, angles: slice) -> _Rows:
        if self._stored:
            return _Rows(*(self.get_buffer(f"_{name}_{field}") for field in _Rows._fields))
        matrix = self._compute(name, angles)
        return matrix._replace(values=matrix.values.to(self.dtype))

    def _compute(self, name: _Name, angles: slice) -> _Rows:
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


def _assemble(pieces: Iterable[_Piece], dtype: torch.dtype) -> _Rows:
    """Join consecutive rows into one matrix."""
    counts, columns, values = zip(
        *((counts, columns.int(), values.to(dtype)) for counts, columns, values in pieces),
        strict=True,
    )
    pointers = torch.nn.functional.pad(torch.cat(counts).cumsum(0), (1, 0)).int()
    return _Rows(pointers, torch.cat(columns), torch.cat(values))


def _csr(matrix: _Rows, column_count: int) -> Tensor:
    shape = (len(matrix.pointers) - 1, column_count)
    return torch.sparse_csr_tensor(*matrix, shape, check_invariants=False)  # pyright: ignore[reportUnknownMemberType]


@functools.cache
def _use_up_sparse_warnings() -> None:
    """Swallow the two notices that PyTorch gives once per process with its first CSR tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        pointers = torch.zeros(1, dtype=torch.int32)
        _csr(_Rows(pointers, pointers[:0], torch.zeros(0)), 1)
