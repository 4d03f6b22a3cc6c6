"""Geometries to draw from, shared by tests."""

import math

from hypothesis import strategies as st

from gnclightning.operators import ParallelBeam2D

ANGLE = st.one_of(st.floats(-7, 7), st.integers(-8, 8).map(lambda k: k * math.pi / 4))
GEOMETRIES = st.builds(
    ParallelBeam2D,
    image_shape=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    angles=st.lists(ANGLE, min_size=1, max_size=5),
    detector_count=st.integers(1, 21),
    detector_spacing=st.floats(0.2, 3),
    pixel_size=st.floats(0.5, 2),
)
SMALL = ParallelBeam2D.for_image((9, 6), 5)
