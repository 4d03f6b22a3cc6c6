"""Joseph's weights: how much of a pixel lies in a ray.

Joseph's method follows a ray from row to row of pixels (or from column to column, whichever the ray
crosses at the steeper angle) and interpolates linearly between the two nearest pixels. With
w = p max(|cos|, |sin|) of the ray's angle, for pixel size p, the weight of a pixel whose centre is
at the distance d from the ray is then, for rows and columns alike,

    p^2 / w * max(0, 1 - d / w).

This closed form lets the same weights be listed ray by ray and pixel by pixel
(P. M. Joseph, IEEE Trans. Med. Imaging 1, 1982).
"""

import math

import torch
from torch import Tensor

from gnclightning.operators.fan_beam import FanBeam2D
from gnclightning.operators.geometry import PlanarGeometry


def expected_entries(geometry: PlanarGeometry) -> float:
    """Non-zero weights if the detector sees the whole image; about, for fan beams."""
    return float(2 * _reach(geometry).sum()) * math.prod(geometry.image_shape)


def footprint(
    geometry: PlanarGeometry, rows: slice, angles: slice, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The rays that pixels reach, and with which weight.

    Element by element the result does not depend on how rows and angles are grouped.

    Args:
        geometry: pixels and rays.
        rows: image rows wanted.
        angles: indices of the angles wanted.
        device: where to compute.

    Returns:
        Rays, counted from the first of `angles`, and weights, (rows * columns, angles, candidates).
        A candidate without a positive weight is not reached, or does not exist.
    """
    if isinstance(geometry, FanBeam2D):
        bins, weights = _fan(geometry, rows, angles, device)
    else:
        bins, weights = _parallel(geometry, rows, angles, device)
    exists = (bins >= 0) & (bins < geometry.detector_count)
    offsets = torch.arange(bins.shape[1], device=device) * geometry.detector_count
    return (bins + offsets[:, None]).int(), weights * exists


def _reach(geometry: PlanarGeometry) -> Tensor:
    """Half-width w of a pixel's footprint in detector bins, (angles,), at the centre's depth."""
    cosines, sines = geometry.directions
    widths = torch.maximum(cosines.abs(), sines.abs()) * geometry.pixel_size
    return widths / geometry.detector_spacing


def _parallel(
    geometry: PlanarGeometry, rows: slice, angles: slice, device: torch.device
) -> tuple[Tensor, Tensor]:
    reach = _reach(geometry)[angles].to(device)
    centre = geometry.detector_bins(rows, angles, device).flatten(0, 1)
    bins = _candidates(centre, reach, math.ceil(2 * float(reach.max())))
    weights = 1 - (bins - centre[..., None]).abs_() / reach[:, None]
    scale = geometry.pixel_size**2 / geometry.detector_spacing
    return bins, weights * (scale / reach)[:, None]


def _fan(
    geometry: FanBeam2D, rows: slice, angles: slice, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A ray at u from the middle of the detector is turned by the angle gamma, tan gamma = u / D.

    A pixel at the depth l that is seen at u' is l / D |u - u'| cos gamma away from it.
    """
    position = geometry.detector_positions.to(device)
    fan_angle = torch.atan2(position, torch.full_like(position, geometry.length))
    cosine = fan_angle.cos()
    theta = torch.tensor(geometry.angles[angles], dtype=torch.float64, device=device)
    direction = theta[:, None] - fan_angle
    width = torch.maximum(direction.cos().abs(), direction.sin().abs()) * geometry.pixel_size
    centre = geometry.detector_bins(rows, angles, device).flatten(0, 1)
    # Detector bins per length at the pixel, along the detector.
    density = geometry.length / geometry.depths(rows, angles, device).flatten(0, 1)
    density = density / geometry.detector_spacing
    reach = geometry.pixel_size * density / cosine.min()
    bins = _candidates(centre, reach, math.ceil(2 * _widest(geometry, float(cosine.min()))))
    ray = bins.clamp(0, geometry.detector_count - 1).long()
    which = torch.arange(len(theta), device=device)[:, None]
    distance = (bins - centre[..., None]).abs_() / density[..., None] * cosine[ray]
    width = width[which, ray]
    return bins, (1 - distance / width) * (geometry.pixel_size**2 / width)


def _widest(geometry: FanBeam2D, cosine: float) -> float:
    """An upper bound of `reach` in `_fan`, the same for any rows and angles."""
    radius = math.hypot(*geometry.image_shape) * geometry.pixel_size / 2
    nearest = geometry.source_distance - radius
    return geometry.pixel_size * geometry.length / (nearest * geometry.detector_spacing * cosine)


def _candidates(centre: Tensor, reach: Tensor, count: int) -> Tensor:
    """The `count` bins from the first one within `reach` of `centre` on, (..., count)."""
    first = torch.floor(centre - reach) + 1
    return first[..., None] + torch.arange(count, device=centre.device)
