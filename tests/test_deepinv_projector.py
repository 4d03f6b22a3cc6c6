"""deepinv's projector behind our convention, with a stand-in for its `Tomography` or with itself.

`make test-deepinv` runs those with deepinv itself, which needs torchvision.
"""

import math
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import deepinv_stand_in
from gnclightning.config import load_reconstruct_config
from gnclightning.errors import UserError
from gnclightning.operators import FanBeam2D, ParallelBeam2D, Radon
from gnclightning.operators.backends import build_projector, deepinv_projector
from projections import check_adjoint, check_disc, check_pixels, pixel
from run_folders import arrays, refused_in_one_line, run, settings

CPU = torch.device("cpu")
ANGLES = (0.0, 0.4, math.pi / 4, math.pi / 2, 2.0, math.pi, 4.1, -1.3)
ALIGNED = ParallelBeam2D((9, 7), ANGLES, 19, 0.5, pixel_size=0.5, unit="mm", detector_offset=1.0)
"""Non-square, half-millimetre pixels, the centre of rotation two bins off the middle."""
BINS = ("geometry.detector_spacing=1", "geometry.detector_count=46")
"""Of an image of 32 x 32."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(
    params=["stand-in", pytest.param("itself", marks=pytest.mark.deepinv)], autouse=True
)
def package(request, monkeypatch):
    """What `import deepinv.physics` gives."""
    if request.param == "itself":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("deepinv.physics", reason="make test-deepinv has deepinv")
        return
    for name, module in deepinv_stand_in.MODULES.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_single_pixels():
    """It samples the turned image once per pixel: single ones are seen with up to a third more."""
    area = torch.full((len(ANGLES),), ALIGNED.pixel_size**2, dtype=torch.float64)
    check_pixels(deepinv_projector(ALIGNED, CPU), ALIGNED, lambda *_: area, 0.35)


def test_quarter_turns_are_sums_of_rows_and_columns():
    """Where the grid meets the pixels nothing is interpolated: the position is exact."""
    quarters = replace(ALIGNED, angles=tuple(n * math.pi / 2 for n in range(4)))
    x = torch.rand(9, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        deepinv_projector(quarters, CPU)(x), Radon(quarters)(x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shape", [(40, 36), (41, 37)])
def test_off_centre_disc_gives_chord_lengths(shape):
    bins = 54 + shape[0] % 2
    angles = ParallelBeam2D.for_image(shape, 12).angles
    geometry = ParallelBeam2D(shape, angles, bins, 0.7, pixel_size=0.7, unit="mm")
    check_disc(lambda given: deepinv_projector(given, CPU), geometry)


def test_adjoint_is_the_transpose_in_batches():
    check_adjoint(deepinv_projector(ALIGNED, CPU))


def test_wider_and_narrower_detectors_see_the_same_rays():
    wide = replace(ALIGNED, detector_count=61, detector_offset=0.0)
    narrow = replace(ALIGNED, detector_count=3, detector_offset=0.0)
    x = pixel(ALIGNED, 2, 5)
    whole = deepinv_projector(wide, CPU)(x)
    assert whole[:, :20].abs().max() == whole[:, -20:].abs().max() == 0
    torch.testing.assert_close(deepinv_projector(narrow, CPU)(x), whole[:, 29:32])


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (
            FanBeam2D.for_image(8, 4, source_distance=20.0, detector_distance=0.0),
            "parallel beams for deepinv, got a fan beam",
        ),
        (replace(ALIGNED, image_shape=(9, 8)), "even difference of rows and columns.*got 9 x 8"),
        (replace(ALIGNED, detector_spacing=0.49), r"detector_spacing=0\.5 .*got 0\.49 mm"),
        (replace(ALIGNED, detector_count=20), "an odd geometry.detector_count.*got 20 bins"),
        (replace(ALIGNED, detector_offset=0.3), r"whole bins of .*and 0\.3 mm"),
    ],
)
def test_geometries_that_it_does_not_know(geometry, message):
    with pytest.raises(UserError, match=message):
        deepinv_projector(geometry, CPU)


class TestCommandLine:
    def test_it_measures_and_reconstructs(self, prior, tmp_path):
        choice = ("operator.backend=deepinv", "data.count=1", "methods=[]", *BINS)
        found = arrays(run(prior, tmp_path / "deepinv", *choice))
        native = arrays(run(prior, tmp_path / "native", *BINS, "data.count=1", "methods=[]"))
        for name, most in (("sinogram", 0.02), ("fbp", 0.02), ("preconditioned", 0.2)):
            difference = np.linalg.norm(found[name] - native[name])
            assert 0 < difference < most * np.linalg.norm(native[name])
        config = load_reconstruct_config(tmp_path / "deepinv" / "config.yaml", [])
        assert config.operator.backend == "deepinv"

    def test_what_it_cannot_do_is_refused(self, prior, tmp_path, capsys, monkeypatch):
        output = tmp_path / "output"
        arguments = settings(prior, output, "operator.backend=deepinv")
        refused_in_one_line(capsys, arguments, output, ("geometry.detector_spacing=1", "native"))
        monkeypatch.setitem(sys.modules, "deepinv.physics", None)
        remedy = "pip install 'gnclightning[deepinv]'"
        refused_in_one_line(capsys, [*arguments, *BINS], output, (remedy,))
        with pytest.raises(UserError, match="package deepinv"):
            build_projector(ALIGNED, "deepinv")
