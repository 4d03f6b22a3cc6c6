"""Parallel-beam geometry: defaults, files, bad values."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from geometries import GEOMETRIES, SMALL
from gnclightning.errors import UserError
from gnclightning.operators import (
    ParallelBeam2D,
)

F64 = torch.float64


def test_default_geometry():
    for size, count, spacing in ((128, 183, 0.98918), (256, 365, 0.99189)):
        geometry = ParallelBeam2D.for_image(size, 60)
        assert geometry.range_shape == (60, count)
        assert geometry.detector_spacing == pytest.approx(spacing, abs=5e-6)
        assert geometry.angles[::59] == pytest.approx((math.pi / 120, math.pi * 119 / 120))
    oblong = ParallelBeam2D.for_image((30, 40), 3, pixel_size=0.5, unit="mm")
    assert (oblong.detector_count, oblong.detector_spacing) == (51, pytest.approx(25 / 51))


@given(GEOMETRIES)
def test_geometry_survives_files(geometry):
    assert ParallelBeam2D.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry
    arrays = {name: np.asarray(value)[()] for name, value in geometry.to_dict().items()}
    assert {ParallelBeam2D.from_dict(arrays)} == {geometry}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("unit", 3, "unit: expected the name of a length, got 3"),
        ("image_shape", (4, 0), "image_shape: expected an integer of at least 1, got 0"),
        ("image_shape", (4, 4, 4), r"expected \(rows, columns\), got \(4, 4, 4\)"),
        ("angles", (), "at least one finite value in radians"),
        ("angles", (0.0, math.nan), "at least one finite value in radians"),
        ("detector_count", 1.5, "detector_count: expected an integer of at least 1, got 1.5"),
        ("detector_spacing", 0.0, "detector_spacing: expected a positive finite length, got 0.0"),
        ("pixel_size", math.inf, "pixel_size: expected a positive finite length, got inf"),
    ],
)
def test_bad_geometry_is_explained(name, value, message):
    with pytest.raises(UserError, match=message):
        replace(SMALL, **{name: value})
    with pytest.raises(UserError, match="geometry: expected the entries"):
        ParallelBeam2D.from_dict({"angles": [0.0]})
