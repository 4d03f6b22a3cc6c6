"""The centre of rotation, found on shifted phantoms with noise."""

import math
from dataclasses import replace

import pytest
import torch

from gnclightning.data.ellipses import phantoms
from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D, Radon, add_noise, fbp, rotation_centre

PHANTOMS = torch.from_numpy(phantoms(range(8), 0, "test", 128)).reshape(8, 1, 128, 128)


def scan(offset: float, count: int, turn: float, noise: float = 0.1) -> tuple[torch.Tensor, tuple]:
    """Noisy sinograms with the centre `offset` bins from the middle of the detector."""
    geometry = ParallelBeam2D.for_image(128, 1)
    angles = tuple(n * turn / count for n in range(count))
    geometry = replace(
        geometry,
        angles=angles,
        detector_count=211,
        detector_offset=offset * geometry.detector_spacing,
    )
    clean = Radon(geometry)(PHANTOMS)
    return add_noise(clean, relative=noise, seeds=range(len(clean)))[0], angles


@pytest.mark.parametrize("offset", [0.0, 3.37, -7.21])
@pytest.mark.parametrize(
    ("count", "turn", "method", "noise", "tolerance"),
    [
        (60, math.pi, "centres of mass of 60", 0.0, 1e-3),
        (60, math.pi, "centres of mass of 60", 0.1, 0.12),
        (120, 2 * math.pi, "60 pairs of opposite", 0.0, 0.01),
        (120, 2 * math.pi, "60 pairs of opposite", 0.1, 0.02),
    ],
)
def test_accuracy(offset, count, turn, method, noise, tolerance):
    """The root mean squared error, in bins, over phantoms."""
    sinograms, angles = scan(offset, count, turn, noise)
    found = rotation_centre(sinograms, angles)
    assert method in found.method
    assert float((found.offsets - offset).square().mean().sqrt()) < tolerance
    assert abs(found.offset - offset) <= found.spread + tolerance
    each = [rotation_centre(y[None], angles).offset for y in sinograms[:2]]
    torch.testing.assert_close(found.offsets[:2], torch.tensor(each).double())


def test_the_offset_moves_the_projections_and_not_the_image():
    """Shifted by whole bins the sinogram is the same, and so is what filtering back gives."""
    plain = replace(ParallelBeam2D.for_image(32, 12), detector_count=61)
    shifted = replace(plain, detector_offset=3 * plain.detector_spacing)
    x = PHANTOMS[:1, :, 48:80, 48:80]
    y, moved = Radon(plain)(x), Radon(shifted)(x)
    torch.testing.assert_close(moved, y.roll(3, -1), rtol=0, atol=1e-5)
    torch.testing.assert_close(fbp(moved, shifted), fbp(y, plain), rtol=0, atol=1e-4)
    assert (plain.coverage, replace(plain, detector_offset=20.0).coverage) == (
        1.0,
        pytest.approx((61 * plain.detector_spacing / 2 - 20) / 16),
    )


def test_angles_that_do_not_tell():
    sinograms, _ = scan(0.0, 3, math.pi)
    with pytest.raises(UserError, match="from all around"):
        rotation_centre(sinograms, [0.0, 0.001, 0.002])
    with pytest.raises(UserError, match="add up to nothing"):
        rotation_centre(-sinograms, [0.0, 1.0, 2.0])
