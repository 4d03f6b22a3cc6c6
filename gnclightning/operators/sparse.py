"""Sparse matrices in compressed rows, times dense columns."""

import functools
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

_MANY = 16
"""Columns from which on PyTorch's sparse product is slower than its bags of embeddings."""


class Rows(NamedTuple):
    """A matrix in compressed sparse rows: row pointers, column indices, values."""

    pointers: Tensor
    columns: Tensor
    values: Tensor

    def times(self, x: Tensor) -> Tensor:
        """Multiply with dense columns, (columns, n) -> (rows, n)."""
        if x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] >= _MANY:
            return self._bags(x)
        _use_up_sparse_warnings()
        return _csr(self, len(x)) @ x

    def _bags(self, x: Tensor) -> Tensor:
        """Rows as bags of embeddings with weights: the same sums by a vectorised kernel."""
        return torch.nn.functional.embedding_bag(
            self.columns,
            x,
            self.pointers,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )

    def transposed(self, column_count: int) -> "Rows":
        """The transpose, entry by entry; `column_count` is how many columns this matrix has."""
        columns, order = self.columns.long().sort(stable=True)
        counts = columns.bincount(minlength=column_count)
        rows = torch.arange(len(self.pointers) - 1, device=columns.device)
        rows = rows.repeat_interleave(self.pointers.long().diff())
        return Rows(pointers(counts), rows[order].int(), self.values[order])


def pointers(counts: Tensor) -> Tensor:
    """Row pointers, (rows + 1,) int32, from the number of entries in each row."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int()


def _csr(matrix: Rows, column_count: int) -> Tensor:
    shape = (len(matrix.pointers) - 1, column_count)
    return torch.sparse_csr_tensor(*matrix, shape, check_invariants=False)  # pyright: ignore[reportUnknownMemberType]


@functools.cache
def _use_up_sparse_warnings() -> None:
    """Swallow the two notices that PyTorch gives once per process with its first CSR tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        none = torch.zeros(1, dtype=torch.int32)
        _csr(Rows(none, none[:0], torch.zeros(0)), 1)
