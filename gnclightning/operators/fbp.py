"""Filtered back-projection for parallel beams and for fan beams with a flat detector."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.fan_beam import FanBeam2D
from gnclightning.operators.geometry import PlanarGeometry
from gnclightning.operators.short_scan import ray_shares, scanned_arc

_fft: Any = torch.fft  # comes without types

FilterName = Literal["ramp", "hann", "shepp-logan"]

# Windows on the ramp, of the frequency in cycles per bin (0 to 1/2).
_WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "ramp": torch.ones_like,
    "hann": lambda frequency: torch.cos(math.pi * frequency).square(),
    "shepp-logan": torch.sinc,
}

_AT_ONCE = 2**16  # pixels times angles whose bins are computed at a time: half a megabyte an array


def fbp(sinogram: Tensor, geometry: PlanarGeometry, filter: FilterName = "ramp") -> Tensor:
    """Filtered back-projection, intensity-correct: line integrals in, image values out.

    The ramp is sampled in space, which keeps the zero frequency right, and zero-padded against
    wrap-around; back-projection is pixel-driven with linear interpolation between bins (A. C. Kak
    and M. Slaney, Principles of Computerized Tomographic Imaging, 1988, Sections 3.3 and 3.4.2).
    Fans over less than a turn have Parker's weights (`short_scan`).

    Args:
        sinogram: (..., angles, detectors).
        geometry: where the rays run. The angles may be in any order and unevenly spaced, over half
            a turn or more, fan beams over half a turn and the fan angle or more, less of which is
            warned of; a wide gap between two angles leaves streaks.
        filter: "ramp" (sharpest), "shepp-logan", or "hann" (smoothest).

    Returns:
        (..., rows, columns) in the dtype and on the device of `sinogram`, in 1/length.

    Raises:
        UserError: if the sinogram does not match the geometry, or the filter is unknown.
    """
    if sinogram.shape[-2:] != geometry.range_shape:
        raise UserError(
            f"fbp: expected a sinogram (..., {geometry.range_shape[0]} angles, "
            f"{geometry.range_shape[1]} detectors), got {tuple(sinogram.shape)}: "
            "state the geometry it was measured with"
        )
    if filter not in _WINDOWS:
        raise UserError(f"fbp: expected filter to be one of {list(_WINDOWS)}, got {filter!r}")
    projections, spacing, turn = sinogram.reshape(-1, *geometry.range_shape), 1.0, math.pi
    extent = turn
    if isinstance(geometry, FanBeam2D):
        # On a detector at the centre of rotation, where rays that slant count less.
        arc = scanned_arc(geometry.angles)
        position = geometry.detector_positions.to(sinogram)
        slant = geometry.length / torch.hypot(position, torch.full_like(position, geometry.length))
        spacing = geometry.source_distance / geometry.length
        projections = projections * slant * ray_shares(geometry, arc).to(sinogram)
        turn, extent = 2 * math.pi, arc.extent
    filtered = _filter(projections, spacing * geometry.detector_spacing, _WINDOWS[filter])
    weights = _angle_weights(geometry.angles, turn, extent).to(sinogram)
    image = _back_project(filtered * weights[:, None], geometry)
    return image.reshape(*sinogram.shape[:-2], *geometry.image_shape)


def _filter(sinogram: Tensor, spacing: float, window: Callable[[Tensor], Tensor]) -> Tensor:
    """Convolve each projection with the windowed, band-limited ramp (Kak and Slaney, eq. 3.61)."""
    count = sinogram.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * count))
    offset = torch.arange(length, dtype=torch.float64)
    offset = torch.where(offset < length / 2, offset, offset - length)
    kernel = torch.where(offset.remainder(2) == 1, -1 / (math.pi * offset).square(), 0.0)
    kernel[0] = 1 / 4
    frequency = torch.arange(length // 2 + 1, dtype=torch.float64) / length
    ramp: Tensor = _fft.rfft(kernel).real
    response = (ramp * window(frequency) / spacing).to(sinogram)
    spectrum: Tensor = _fft.rfft(sinogram, length) * response
    filtered: Tensor = _fft.irfft(spectrum, length)
    return filtered[..., :count]


def _angle_weights(angles: tuple[float, ...], turn: float, extent: float) -> Tensor:
    """Quadrature weights, (angles,), float64, with the sum `extent`.

    Angles count modulo `turn`, as opposite parallel beams see the same lines; each stands for half
    the gap to either neighbour. Evenly spaced angles get turn / n each, repeated ones share. If
    they cover less, the widest gap is only as wide as it takes to cover `extent`.
    """
    folded, order = torch.tensor(angles, dtype=torch.float64).remainder(turn).sort()
    gaps = torch.diff(folded, append=folded[:1] + turn)
    gaps[gaps.argmax()] -= turn - extent
    weights = torch.empty_like(folded)
    weights[order] = (gaps + gaps.roll(1)) / 2
    return weights


def _back_project(projections: Tensor, geometry: PlanarGeometry) -> Tensor:
    """Sum what each pixel sees, (n, angles, detectors) -> (n, pixels); 0 off the detector.

    Some angles at a time: (pixels, angles) of a fine scan would take more memory than its matrix.
    """
    padded = torch.nn.functional.pad(projections, (1, 1))
    pixels, count = math.prod(geometry.image_shape), len(geometry.angles)
    image = projections.new_zeros(len(projections), pixels)
    step = max(1, _AT_ONCE // pixels)
    for start in range(0, count, step):
        _add_angles(image, padded, geometry, slice(start, min(start + step, count)))
    return image


def _add_angles(image: Tensor, padded: Tensor, geometry: PlanarGeometry, angles: slice) -> None:
    """Add what each pixel sees at `angles` to the image (n, pixels); a bin more is on each side."""
    bins = geometry.detector_bins(angles=angles, device=padded.device).flatten(0, 1)
    bins = bins.add_(1).clamp_(0, geometry.detector_count + 1)
    lower = bins.floor().clamp_(max=geometry.detector_count)
    fraction = (bins - lower).to(padded)
    weights = _depth_weights(geometry, angles, padded)
    for number, index in enumerate(lower.long().unbind(1)):
        row = padded[:, angles.start + number]
        seen = torch.lerp(row[:, index], row[:, index + 1], fraction[:, number])
        image += seen if weights is None else seen * weights[:, number]


def _depth_weights(geometry: PlanarGeometry, angles: slice, like: Tensor) -> Tensor | None:
    """What a projection counts at each pixel, (pixels, angles); None if all alike."""
    if not isinstance(geometry, FanBeam2D):
        return None
    depths = geometry.depths(angles=angles, device=like.device).flatten(0, 1)
    return (geometry.source_distance / depths).square().to(like)
