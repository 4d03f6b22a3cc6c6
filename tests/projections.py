"""What any projector must see of single pixels and of a disc, and what its adjoint must be."""

from collections.abc import Callable

import torch

from gnclightning.operators import ParallelBeam2D, PlanarGeometry, Projector, dot_test

F64 = torch.float64


def pixel(geometry: PlanarGeometry, row: int, column: int) -> torch.Tensor:
    image = torch.zeros(geometry.image_shape)
    image[row, column] = 1
    return image


def check_pixels(
    projector: Projector,
    geometry: PlanarGeometry,
    mass: Callable[[int, int], torch.Tensor],
    tolerance: float,
) -> None:
    """A pixel is seen where it must be, and as much of it: its area over the detector.

    Args:
        projector: to check.
        geometry: its own.
        mass: of the pixel in row r and column c at all angles, (angles,).
        tolerance: of the mass, relative; centres may be a tenth of a pixel off.
    """
    rows, columns = geometry.image_shape
    centres = geometry.detector_bins()
    bins = torch.arange(geometry.detector_count, dtype=F64)
    tenth = geometry.pixel_size / geometry.detector_spacing / 10
    for row, column in [(0, 0), (0, columns - 1), (rows - 1, 0), (4, 3), (2, 5)]:
        profile = projector(pixel(geometry, row, column)).double()
        total = profile.sum(1)
        seen = (profile * bins).sum(1) / total
        assert (seen - centres[row, column]).abs().max() < tenth
        expected = mass(row, column)
        assert (total * geometry.detector_spacing / expected - 1).abs().max() < tolerance


def check_disc(build: Callable[[ParallelBeam2D], Projector], geometry: ParallelBeam2D) -> None:
    """An off-centre disc gives the lengths of its chords."""
    x0, y0, radius = (part * geometry.pixel_size for part in (5.0, -6.0, 10.0))
    x, y = geometry.pixel_positions
    image = torch.zeros(geometry.image_shape, dtype=F64)
    steps = (torch.arange(-7, 8, 2, dtype=F64) / 16 * geometry.pixel_size).tolist()
    for dx in steps:
        for dy in steps:
            image += ((x - x0 + dx) ** 2 + ((y - y0 + dy) ** 2)[:, None] < radius**2) / 64
    cosines, sines = geometry.directions
    s = geometry.detector_positions - (x0 * cosines + y0 * sines)[:, None]
    chords = 2 * (radius**2 - s**2).clamp(min=0).sqrt()
    error = (build(geometry)(image.float()) - chords).abs()
    assert error.mean() < 0.02 * chords.mean()
    assert error[s.abs() > radius + 2 * geometry.pixel_size].max() < 1e-5
    assert error[s.abs() < radius - 2 * geometry.pixel_size].max() < 0.04 * 2 * radius


def check_adjoint(projector: Projector) -> None:
    """It is the transpose, in batches as one by one, and autograd's."""
    assert dot_test(projector, batch=3) < 1e-7
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, *projector.domain_shape, generator=generator)
    y = torch.rand(2, 3, *projector.range_shape, generator=generator)
    for n in range(2):
        torch.testing.assert_close(projector(x)[n], projector(x[n]), rtol=0, atol=1e-6)
        back = projector.adjoint(y)[n]
        torch.testing.assert_close(back, projector.adjoint(y[n]), rtol=0, atol=1e-6)
    followed = x.clone().requires_grad_()
    (0.5 * (projector(followed) - y).square().sum()).backward()
    torch.testing.assert_close(followed.grad, projector.adjoint(projector(x) - y))
