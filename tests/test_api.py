"""Reconstruction from Python: the command line's results, and errors that say what to do."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import gnclightning
from gnclightning import ParallelBeam2D, UserError
from gnclightning.build_measurement import build_geometry, build_source
from gnclightning.config import load_reconstruct_config
from programs import imported
from run_folders import FAST, arrays, column, configure, run

GEOMETRY = replace(ParallelBeam2D.for_image(32, 20, 0.5, "mm"))
UNITS = ("geometry.pixel_size=0.5", "geometry.unit=mm")
SETTINGS = [setting for setting in FAST if setting.startswith("solver")]
WHITE = 0.02


@pytest.fixture(scope="module")
def sinograms(prior, tmp_path_factory) -> np.ndarray:
    """Noisy sinograms of three phantoms, per mm."""
    folder = run(prior, tmp_path_factory.mktemp("run"), "methods=[]", "solver.steps=1", *UNITS)
    return WHITE * arrays(folder)["sinogram"]


@pytest.fixture(scope="module")
def folder(sinograms, prior, tmp_path_factory) -> Path:
    """What the command line makes of them, with two starts each."""
    path = tmp_path_factory.mktemp("measured")
    np.save(path / "scan.npy", sinograms)
    data = ("data.name=sinogram", f"data.path={path / 'scan.npy'}", f"data.white={WHITE}")
    more = ("methods=[]", "starts=2", "seed=3", *UNITS)
    return run(prior, path / "run", *more, data=data)


def reconstruct(sinogram, weights, **changes):
    """As the command line does in `folder`."""
    arguments = {"prior": weights, "white": WHITE, "seed": 3, "starts": 2, "device": "cpu"}
    arguments |= {"settings": SETTINGS, "geometry": GEOMETRY, **changes}
    return gnclightning.reconstruct(sinogram, **arguments)


@pytest.fixture(scope="module")
def found(sinograms, prior):
    return reconstruct(sinograms, prior)


class TestResults:
    def test_they_are_those_of_the_command_line(self, found, folder):
        expected = arrays(folder)
        pairs = {
            "preconditioned": found.image,
            "fbp": found.fbp,
            "preconditioned_mean": found.mean,
            "preconditioned_mean_std": found.std,
            "preconditioned_mean_residual": found.residual / WHITE,
        }
        for name, array in pairs.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-5, err_msg=name)
        with h5py.File(folder / "reconstructions.h5") as file:
            np.testing.assert_allclose(found.noise / WHITE, file.attrs["sigma_y"], rtol=1e-6)

    def test_lists_are_arrays(self, sinograms, prior, found):
        again = reconstruct(sinograms.tolist(), prior)
        np.testing.assert_array_equal(again.image, found.image)

    def test_so_are_trace_certificate_and_settings(self, found, folder):
        for name in ("objective", "gradient_norm"):
            ours = [getattr(row, name) for row in found.trace]
            np.testing.assert_allclose(ours, column(folder / "trace.csv", name), rtol=1e-4)
        assert found.certificate.descent_share.shape == (3,)
        assert "of 3 runs gradient-like" in found.verdict
        assert found.status == ["budget spent"] * 3
        saved = load_reconstruct_config(folder / "config.yaml")
        assert found.config.solver == saved.solver
        assert found.config.alpha == saved.alpha
        assert found.config.noise == saved.noise

    def test_the_settings_hold_the_geometry(self, found):
        source = build_source(configure(Path("unused"), Path("unused")))
        again = build_geometry(found.config.geometry, (32, 32), source)
        assert again.angles == pytest.approx(GEOMETRY.angles, rel=1e-12)
        assert replace(again, angles=GEOMETRY.angles) == GEOMETRY

    def test_a_single_sinogram_gives_a_single_image(self, found, sinograms, prior):
        single = reconstruct(sinograms[0].astype(np.float64), prior, noise=_level(found))
        assert single.image.shape == (32, 32)
        assert single.residual.shape == GEOMETRY.range_shape
        np.testing.assert_allclose(single.image, found.image[0], rtol=0, atol=2e-5)

    def test_batches_do_not_matter(self, found, sinograms, prior):
        again = reconstruct(sinograms, prior, batch_size=2)
        np.testing.assert_allclose(again.image, found.image, rtol=0, atol=2e-5)
        assert {row.image for row in again.trace} == {"0", "1", "2"}

    def test_tensors_give_tensors(self, found, sinograms, prior):
        given = torch.from_numpy(sinograms).requires_grad_()
        again = reconstruct(given, prior)
        assert (again.image.device, again.image.dtype) == (given.device, torch.float32)
        assert not again.image.requires_grad
        np.testing.assert_allclose(again.image.numpy(), found.image, rtol=0, atol=2e-5)

    def test_without_more_starts_there_is_no_mean(self, found, sinograms, prior):
        alone = reconstruct(sinograms, prior, starts=1)
        assert (alone.mean, alone.std, alone.residual) == (None, None, None)
        np.testing.assert_allclose(alone.image, found.image, rtol=0, atol=2e-5)

    def test_the_sinogram_is_not_changed(self, sinograms, prior):
        before = sinograms.copy()
        reconstruct(sinograms, prior, starts=1, settings=["solver.steps=1"])
        np.testing.assert_array_equal(sinograms, before)

    def test_another_method(self, sinograms, prior):
        more = {"method": "gradient_descent", "starts": 1, "noise": 0.1}
        flow = reconstruct(sinograms[:1], prior, **more, settings=["solver.steps=2"])
        assert {row.method for row in flow.trace} == {"gradient_descent"}


def _level(found) -> float:
    assert found.config.noise.relative is not None
    return found.config.noise.relative


def test_a_progress_bar_counts_to_the_end(sinograms, prior, capsys):
    reconstruct(sinograms, prior, progress=True, batch_size=4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "18/18" in err
    assert "3/3 images" in err
    reconstruct(sinograms[:1], prior)
    assert capsys.readouterr() == ("", "")


BAD = {
    "one dimension": ({"sinogram": np.ones(5)}, r"sinogram: expected the shape .*got \(5,\)"),
    "four": ({"sinogram": np.ones((1, 1, 20, 47))}, r"sinogram: expected the shape"),
    "nothing": ({"sinogram": np.ones((0, 20, 47))}, r"sinogram: expected the shape"),
    "complex": ({"sinogram": np.ones((20, 47), complex)}, "real numbers, got one of complex128"),
    "ragged": ({"sinogram": [[1.0, 2.0], [3.0]]}, "sinogram: expected an array, got: "),
    "text": ({"sinogram": "scan.npy"}, "sinogram: expected an array of real numbers"),
    "transposed": ({"transposed": True}, "swap the axes, angles come first"),
    "other angles": (
        {"geometry": ParallelBeam2D.for_image(32, 21, 0.5, "mm")},
        "expected 21 angles x 47 detector bins, as the geometry has, got 20 x 47: give "
        "geometry.angles, geometry.detector_count",
    ),
    "narrow": (
        {"geometry": replace(GEOMETRY, detector_spacing=0.1)},
        r"sees 29% of the diameter of an image.*check the unit of geometry\.detector_spacing",
    ),
    "no geometry": (
        {"geometry": 20},
        "expected a gnclightning.ParallelBeam2D or FanBeam2D, got int",
    ),
    "other size": (
        {"geometry": replace(GEOMETRY, image_shape=(30, 30))},
        "expected images of 32x32 pixels.*prior=.*got 30x30.* weights for this size with prior$",
    ),
    "units": ({"white": 1e-3}, "give white=VALUE"),
    "white": ({"white": -1.0}, r"^white: expected > 0, got -1"),
    "noise": ({"noise": -1}, r"^noise: expected >= 0"),
    "starts": ({"starts": 0}, r"starts: expected >= 1"),
    "method": ({"method": "newton"}, r"^method: expected preconditioned"),
    "noiseless": ({"noise": 0.0}, r"give alpha\.rule=constant"),
    "prior": ({"prior": "nothing-128"}, "nothing-128"),
    "device": ({"device": "tpu"}, "device"),
    "argument": ({"settings": ["data.white=2"]}, "give white as an argument of reconstruct"),
    "geometry": ({"settings": ["geometry.angles=3"]}, "give geometry as an argument"),
    "folder": ({"settings": ["output=runs/try"]}, "which concerns run folders: leave it out"),
    "one text": ({"settings": "solver.steps=2"}, r"give \['solver.steps=2'\]"),
    "unknown": ({"settings": ["solver.stepz=2"]}, "solver.steps"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_end_in_one_line(case, sinograms, prior):
    changes, message = BAD[case]
    changes = dict(changes)
    sinogram = changes.pop("sinogram", sinograms)
    if changes.pop("transposed", False):
        sinogram = sinogram.swapaxes(1, 2)
    with pytest.raises(UserError, match=message) as caught:
        reconstruct(sinogram, prior, **changes)
    text = str(caught.value)
    assert "\n" not in text
    if "settings" not in changes:
        for setting in ("prior.path", "data.white", "noise.relative", "solver.name", "degrees"):
            assert setting not in text


def test_a_detector_that_is_a_little_narrow_is_warned_of(sinograms, prior):
    geometry = replace(GEOMETRY, detector_spacing=0.3)
    with pytest.warns(UserWarning, match="sees 88% of the diameter of an image of 16 mm"):
        reconstruct(sinograms[:1], prior, geometry=geometry, starts=1)


def test_noise_in_percent_is_warned_of(sinograms, prior):
    with pytest.warns(UserWarning, match=r"^noise=5 is .* if 5 percent are meant, give noise=0.05"):
        reconstruct(sinograms[:1], prior, noise=5, starts=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_named(value, sinograms, prior):
    wrong = sinograms.copy()
    wrong[1, 3, 4] = value
    with pytest.raises(UserError, match="sinogram 1: expected finite values, got 1 NaN"):
        reconstruct(wrong, prior)


def test_importing_imports_nothing_heavy():
    code = (
        "import gnclightning\n"
        "assert gnclightning.__version__\n"
        "assert 'reconstruct' in dir(gnclightning)"
    )
    assert imported(code, "torch", "lightning", "wandb", "numpy") == []
    assert imported(f"{code}\ngnclightning.reconstruct", "lightning", "wandb") == []
    with pytest.raises(AttributeError, match="no attribute 'reconstrut'"):
        _ = gnclightning.reconstrut
