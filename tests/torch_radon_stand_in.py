"""A stand-in for torch-radon on the CPU, by its published conventions.

Pixels have the size 1, row 0 is at the top, y points up, s = x cos + y sin, angles are radians,
the detector is centred, everything is float32. The projection follows rays, sampling the image
bilinearly at steps of a pixel; the back-projection runs over pixels and interpolates linearly
between bins. So the one is not the transpose of the other.
"""

import math
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

_STEP = 0.5


def _project(images: Tensor, angles: Tensor, count: int, spacing: float) -> Tensor:
    rows, columns = images.shape[-2:]
    reach = math.ceil(math.hypot(rows, columns))
    along = torch.arange(-reach, reach + _STEP, _STEP)
    s = (torch.arange(count) - (count - 1) / 2) * spacing
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    x = s[:, None] * cos - along * sin
    y = s[:, None] * sin + along * cos
    # Coordinates of grid_sample: -1 and 1 are the outer edges of the image, y points down.
    grid = torch.stack([2 * x / columns, -2 * y / rows], -1).flatten(0, 1)[None]
    grid = grid.expand(len(images), -1, -1, -1)
    sampled = grid_sample(images[:, None], grid, padding_mode="zeros", align_corners=False)
    return _STEP * sampled.sum(-1).reshape(len(images), len(angles), count)


def _project_back(sinograms: Tensor, angles: Tensor, shape: tuple[int, int], spacing: float):
    rows, columns = shape
    x = torch.arange(columns) - (columns - 1) / 2
    y = ((rows - 1) / 2 - torch.arange(rows))[:, None]
    result = torch.zeros(len(sinograms), *shape)
    count = sinograms.shape[-1]
    for number, angle in enumerate(angles):
        place = (x * angle.cos() + y * angle.sin()) / spacing + (count - 1) / 2
        left = place.floor()
        for near, share in ((left, left + 1 - place), (left + 1, place - left)):
            inside = (near >= 0) & (near < count)
            index = near.clamp(0, count - 1).long()
            result += sinograms[:, number][:, index] * (share * inside)
    return result / spacing


class Radon:
    """Version 1: square images, "only [...] resolutions which are multiples of 16"."""

    def __init__(self, resolution, angles, det_count=-1, det_spacing=1.0, clip_to_circle=False):
        assert not clip_to_circle
        assert resolution % 16 == 0
        self.resolution, self.det_spacing = resolution, det_spacing
        self.angles = torch.as_tensor(angles, dtype=torch.float32)
        self.det_count = resolution if det_count <= 0 else det_count

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (self.resolution, self.resolution)
        assert x.dtype == torch.float32
        return _project(x, self.angles, self.det_count, self.det_spacing)

    def backprojection(self, sinogram: Tensor) -> Tensor:
        assert sinogram.shape[-2:] == (len(self.angles), self.det_count)
        shape = (self.resolution, self.resolution)
        return _project_back(sinogram, self.angles, shape, self.det_spacing)


class ParallelBeam:
    """Version 2: images of any shape, which the first projection tells."""

    def __init__(self, det_count, angles, det_spacing=1.0, volume=None):
        assert volume is None
        if isinstance(angles, tuple) and len(angles) == 3:
            start, stop, count = angles
            angles = [start + (stop - start) * n / count for n in range(count)]
        self.angles = torch.as_tensor(angles, dtype=torch.float32)
        self.det_count, self.det_spacing, self.shape = det_count, det_spacing, None

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        self.shape = tuple(x.shape[-2:])
        return _project(x, self.angles, self.det_count, self.det_spacing)

    def backward(self, sinogram: Tensor) -> Tensor:
        assert self.shape is not None, "must use forward before backward"
        return _project_back(sinogram, self.angles, self.shape, self.det_spacing)


CLASSIC = SimpleNamespace(Radon=Radon)
SECOND = SimpleNamespace(ParallelBeam=ParallelBeam)
