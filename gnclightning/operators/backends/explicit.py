"""A projector by its matrix, wherever the matrix comes from: the adjoint is its transpose."""

import math

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.memory import check_memory
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.joseph import expected_entries
from gnclightning.operators.projector import Projector
from gnclightning.operators.sparse import Rows, pointers

_MOST_ENTRIES = 2**30  # row pointers are 32-bit
_WIDER = 1.5  # footprints of other kernels in those of Joseph's, at most
_BYTES = 40  # that an entry takes at the peak, while the matrix is transposed
_AT_ONCE = 2**24  # sinogram values


class ExplicitProjector(Projector):
    """A projector given by the matrix of A.

    Args:
        geometry: of images and sinograms.
        matrix: (angles * detectors) x (rows * columns); columns that repeat within a row add up.
    """

    def __init__(self, geometry: PlanarGeometry, matrix: Rows) -> None:
        super().__init__(geometry, matrix.values.dtype)
        transposed = matrix.transposed(math.prod(geometry.image_shape))
        for name, rows in {"forward": matrix, "adjoint": transposed}.items():
            for field, tensor in zip(Rows._fields, rows, strict=True):
                self.register_buffer(f"_{name}_{field}", tensor, persistent=False)
        self.to(matrix.values.device)

    def _matvec(self, x: Tensor) -> Tensor:
        return self._times("forward", x.flatten(-2), self.range_shape)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._times("adjoint", y.flatten(-2), self.domain_shape)

    def _times(self, name: str, vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
        rows = Rows(*(self.get_buffer(f"_{name}_{field}") for field in Rows._fields))
        columns = vectors.reshape(-1, vectors.shape[-1]).T.contiguous()
        return rows.times(columns).T.reshape(*vectors.shape[:-1], *shape)


def check_size(geometry: PlanarGeometry) -> None:
    """Raise `UserError` if a matrix of this geometry would be too large."""
    # Pixels smaller than bins are seen by one bin at least.
    least = math.prod(geometry.image_shape) * len(geometry.angles)
    entries = _WIDER * expected_entries(geometry) + least
    if entries > _MOST_ENTRIES:
        raise UserError(
            f"expected at most {_MOST_ENTRIES:.2g} entries in the matrix of another package's "
            f"projector, got some {entries:.2g}: take the native one, which can do without"
        )
    check_memory(int(_BYTES * entries), "the matrix of another package's projector")


def matrix_of(projector: Projector) -> Rows:
    """The matrix of A, column by column, from images of which a single pixel is 1."""
    check_size(projector.geometry)
    pixels, rays = (math.prod(s) for s in (projector.domain_shape, projector.range_shape))
    step = max(1, _AT_ONCE // rays)
    counts: list[Tensor] = []
    columns: list[Tensor] = []
    values: list[Tensor] = []
    for start in range(0, pixels, step):
        number = torch.arange(min(step, pixels - start), device=projector.device)
        images = torch.zeros(
            len(number), pixels, dtype=projector.dtype, device=projector.device
        ).index_put((number, number + start), torch.ones((), device=projector.device))
        with torch.no_grad():
            seen = projector(images.reshape(-1, *projector.domain_shape)).flatten(1)
        pixel, ray = seen.nonzero(as_tuple=True)
        counts.append(pixel.bincount(minlength=len(number)))
        columns.append(ray.int())
        values.append(seen[pixel, ray])
    by_pixel = Rows(pointers(torch.cat(counts)), torch.cat(columns), torch.cat(values))
    return by_pixel.transposed(rays)
