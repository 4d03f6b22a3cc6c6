"""Scans made of a part by the flips and turns of the pixel grid."""

import math
from dataclasses import replace

import pytest
import torch

from gnclightning.operators import FanBeam2D, ParallelBeam2D, PlanarGeometry, Radon, dot_test
from gnclightning.operators import sparse as sparse_module
from gnclightning.operators.reduction import reduction
from gnclightning.operators.sparse import Rows, pointers

F64 = torch.float64


def turns(count: int, share: float = 1.0, first: float = 0.0) -> tuple[float, ...]:
    return tuple((i + first) * share * 2 * math.pi / count for i in range(count))


PARALLEL = ParallelBeam2D.for_image(12, 12)
FAN = FanBeam2D((10, 10), turns(16, 1.0, 0.5), 21, 1.3, source_distance=40, detector_distance=20)
SCANS = {
    "midpoints": (PARALLEL, 8, 3 * 10),
    "from zero": (replace(PARALLEL, angles=turns(12, 0.5)), 4, 7 * 10),
    "full turn": (replace(PARALLEL, angles=turns(24, 1.0, 0.5)), 8, 6 * 10),
    "any order": (
        replace(PARALLEL, angles=PARALLEL.angles[6::-1] + PARALLEL.angles[7:]), 8, 3 * 10
    ),
    "twice": (replace(PARALLEL, angles=PARALLEL.angles * 2), 8, 6 * 10),
    "even detector": (replace(PARALLEL, detector_count=18), 8, 3 * 9),
    "a limited arc": (replace(PARALLEL, angles=PARALLEL.angles[2:10]), 4, 4 * 10),
    "no square": (ParallelBeam2D.for_image((12, 8), 12), 4, 6 * 9),
    "after many turns": (
        replace(PARALLEL, angles=tuple(a + 2e9 * math.pi for a in PARALLEL.angles)), 2, 12 * 10
    ),
    "any angles": (replace(PARALLEL, angles=(0.1, 0.25, 1.7, 2.0, 2.2)), 2, 5 * 10),
    "off centre": (replace(PARALLEL, detector_offset=1.7), 1, 12 * 19),
    "off centre, full turn": (
        replace(PARALLEL, angles=turns(24, 1.0, 0.5), detector_offset=1.7), 8, 3 * 19
    ),
    "fan": (FAN, 8, 2 * 21),
    "fan off centre": (replace(FAN, detector_offset=0.7), 2, 8 * 21),
    "fan, part of a turn": (replace(FAN, angles=turns(9, 0.61, 0.2)), 1, 9 * 21),
}  # fmt: skip


@pytest.fixture(params=SCANS)
def scan(request) -> tuple[PlanarGeometry, int, int]:
    return SCANS[request.param]


def test_parts_are_as_small_as_the_symmetries_allow(scan):
    geometry, versions, rays = scan
    found = reduction(geometry)
    assert found.versions == versions
    assert math.prod(found.part.range_shape) == rays
    assert found.rays[found.slots].tolist() == list(range(math.prod(geometry.range_shape)))


def test_every_angle_is_as_if_it_were_alone(scan):
    """Angles alone, seen off centre so that the operator has no symmetry to use."""
    geometry, _, _ = scan
    x = torch.rand(2, *geometry.image_shape, dtype=F64, generator=torch.manual_seed(0))
    whole = Radon(geometry, F64)(x)
    for number, angle in enumerate(geometry.angles):
        # One bin more at the end, which moves the middle of the detector by half a bin.
        offset = geometry.detector_offset - geometry.detector_spacing / 2
        count = geometry.detector_count + 1
        alone = replace(geometry, angles=(angle,), detector_count=count, detector_offset=offset)
        assert reduction(alone).versions == 1
        expected = Radon(alone, F64)(x)[..., 0, :-1]
        torch.testing.assert_close(whole[..., number, :], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_adjoint_is_exact(scan, memory_limit):
    operator = Radon(scan[0], F64, memory_limit)
    assert dot_test(operator, seed=3, batch=3) <= 1e-12


def test_batches_are_split_to_fit_caches_and_nothing_changes(monkeypatch):
    operator = Radon(PARALLEL)
    x = torch.rand(5, 1, 12, 12, generator=torch.manual_seed(0))
    whole, back = operator(x), operator.adjoint(operator(x))
    monkeypatch.setattr("gnclightning.operators.radon._CACHE", 2 * 8 * 144 * 4)
    torch.testing.assert_close(operator(x), whole, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(operator.adjoint(whole), back, rtol=1e-6, atol=1e-4)


def test_no_images_give_no_sinograms():
    operator = Radon(PARALLEL)
    sinograms = operator(torch.zeros(0, 1, 12, 12))
    assert sinograms.shape == (0, 1, *PARALLEL.range_shape)
    assert operator.adjoint(sinograms).shape == (0, 1, 12, 12)


@pytest.mark.parametrize("columns", [1, 15, 16, 40])
def test_products_of_few_and_many_columns_are_the_dense_one(columns, monkeypatch):
    """Empty rows included, and both ways of multiplying are taken."""
    taken = []
    bags = sparse_module.Rows._bags
    monkeypatch.setattr(Rows, "_bags", lambda self, x: taken.append(1) or bags(self, x))
    torch.manual_seed(0)
    dense = torch.rand(30, 20) * (torch.rand(30, 20) < 0.2)
    dense[[0, 7, 29]] = 0
    row, column = dense.nonzero(as_tuple=True)
    matrix = Rows(pointers(row.bincount(minlength=30)), column.int(), dense[row, column])
    x = torch.randn(20, columns)
    torch.testing.assert_close(matrix.times(x), dense @ x, rtol=1e-5, atol=1e-6)
    assert bool(taken) == (columns >= 16)
