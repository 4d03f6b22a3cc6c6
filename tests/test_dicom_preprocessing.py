"""From stored values to images: formulas, noise, resizing, and what cannot be read."""

import shutil

import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_trees import ct_dataset, stored_pixels, write
from gnclightning.data.dicom.headers import read_header
from gnclightning.data.dicom.pixels import read_hounsfield
from gnclightning.data.dicom.preprocessing import (
    MU_MAX,
    Preprocessing,
    attenuation,
    dequantisation_noise,
    resize,
)
from gnclightning.data.dicom.records import Reason, RejectedError, Slice
from gnclightning.data.samples import ct_slice
from gnclightning.errors import UserError

PLAIN = {"size": None, "dequantise": False}


def read(root, file="a"):
    header = read_header(root, file)
    assert isinstance(header, Slice), header
    return read_hounsfield(root, header)


def packaged(name):
    return get_testdata_file(name, read=False, download=False)


# Hounsfield units


def test_hounsfield_units_follow_from_slope_and_intercept(tmp_path):
    write(ct_dataset("C001", 5), tmp_path / "a")
    hounsfield = read(tmp_path)
    assert hounsfield[0, 0] == 2 * 600 - 1000
    np.testing.assert_array_equal(hounsfield, 2.0 * stored_pixels("C001", 5) - 1000)


def test_slope_and_intercept_need_not_be_whole(tmp_path):
    dataset = ct_dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-1024.25"
    write(dataset, tmp_path / "a")
    assert read(tmp_path)[0, 0] == 300 - 1024.25


def _padded(dataset, value, vr, limit=None, stored=None, signed=True):
    """The first row of the slice becomes padding, stored as `stored` (or `value`)."""
    pixels = stored_pixels("C001", 5).astype(np.int16 if signed else np.uint16)
    pixels[0] = value if stored is None else stored
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = pixels.tobytes()
    dataset.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", vr, limit)


ENDS = [-2000, -1990, -1999, *[-1995] * 13]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize(
    "padding",
    [
        {"value": 63536, "vr": "US", "signed": False},
        {"value": -2000, "vr": "SS"},
        {"value": 63536, "vr": "US", "stored": -2000},
        {"value": -2000, "vr": "SS", "limit": -1990, "stored": ENDS},
        {"value": -1990, "vr": "SS", "limit": -2000, "stored": ENDS},
        {"value": 63536, "vr": "US", "limit": 63546, "stored": ENDS},
    ],
)
def test_padding_is_air(tmp_path, padding, syntax):
    """Whatever its stored value would mean in HU; all else stays."""
    dataset = ct_dataset("C001", 5)
    dataset.file_meta.TransferSyntaxUID = syntax
    _padded(dataset, **padding)
    write(dataset, tmp_path / "a")
    expected = 2.0 * stored_pixels("C001", 5) - 1000
    expected[0] = -1000
    np.testing.assert_array_equal(read(tmp_path), expected)


def test_values_next_to_padding_are_none(tmp_path):
    dataset = ct_dataset("C001", 5)
    _padded(dataset, -2000, "SS", -1990, [-2001, -1989] * 8)
    write(dataset, tmp_path / "a")
    np.testing.assert_array_equal(read(tmp_path)[0], [-5002, -4978] * 8)


@pytest.mark.parametrize(
    ("stored", "detail"),
    [
        (np.full(256, -2000), "all stored values are padding"),
        (np.repeat([-2000, 5], 128), "all stored values but padding are 5"),
    ],
)
def test_nothing_but_padding_is_no_image(tmp_path, stored, detail):
    dataset = ct_dataset()
    dataset.PixelPaddingValue = -2000
    dataset.PixelData = stored.astype(np.int16).tobytes()
    assert _rejected(tmp_path, dataset) == (Reason.CONSTANT, detail)


def test_the_real_slice_has_the_values_of_the_demonstration(tmp_path):
    shutil.copy(packaged("CT_small.dcm"), tmp_path / "a")
    above_air = np.maximum(read(tmp_path), -1000) + 1000
    np.testing.assert_allclose(above_air / 2167, ct_slice().images[0, 0], rtol=1e-6)


def _as_ct(name, plain):
    """Compressed pixels of a packaged file of another modality, in a CT slice."""
    source = pydicom.dcmread(packaged(name))
    dataset = ct_dataset(size=source.Rows)
    dataset.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
        setattr(dataset, tag, getattr(source, tag))
    dataset["PixelData"].is_undefined_length = True
    return dataset, 2.0 * pydicom.dcmread(packaged(plain)).pixel_array - 1000


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("MR_small_RLE.dcm", "pydicom"),
        ("MR_small_jp2klossless.dcm", "PIL"),
        ("MR_small_jpeg_ls_lossless.dcm", "jpeg_ls"),
    ],
)
def test_compressed_pixels_are_those_of_the_uncompressed_file(tmp_path, name, decoder):
    pytest.importorskip(decoder, reason="needs the extra dicom")
    dataset, expected = _as_ct(name, "MR_small.dcm")
    write(dataset, tmp_path / "a")
    np.testing.assert_array_equal(read(tmp_path), expected)


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_real_jpeg_2000_slices_hold_air_and_bone(tmp_path, name):
    shutil.copy(packaged(name), tmp_path / "a")
    hounsfield = read(tmp_path)
    assert hounsfield.shape == (512, 512)
    assert hounsfield.min() < -900
    assert 1000 < hounsfield.max() < 4000
    assert 0.05 < np.mean(np.abs(hounsfield) < 100) < 0.9


COMPRESSED = ("MR_small_jp2klossless.dcm", "MR_small_RLE.dcm")


def _rejected(tmp_path, dataset):
    write(dataset, tmp_path / "a")
    with pytest.raises(RejectedError) as caught:
        read(tmp_path)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_pixels_that_break_off_are_rejected(tmp_path, name):
    dataset, _ = _as_ct(name, "MR_small.dcm")
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    for length in (0.3, 0.6, 0.9):
        dataset.PixelData = encapsulate([stream[: int(length * len(stream))]])
        dataset["PixelData"].is_undefined_length = True
        assert _rejected(tmp_path, dataset)[0] == Reason.UNDECODABLE


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
def test_compressed_files_that_break_off_are_rejected(tmp_path, part):
    for name in COMPRESSED:
        dataset, _ = _as_ct(name, "MR_small.dcm")
        path = write(dataset, tmp_path / "a")
        whole = path.read_bytes()
        pixels = whole.index(b"\xe0\x7f\x10\x00") + 12
        path.write_bytes(whole[: pixels + int(part * (len(whole) - pixels))])
        with pytest.raises(RejectedError) as caught:
            read(tmp_path)
        assert caught.value.reason == Reason.TRUNCATED


def test_a_missing_decoder_names_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("pydicom.pixels.common.CoderBase.is_available", False)
    for syntax, remedy in (
        (JPEGLSLossless, "pip install 'gnclightning[dicom]'"),
        (JPEGLosslessSV1, "convert it to an uncompressed transfer syntax"),
    ):
        dataset = ct_dataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([b"\0" * 10])
        dataset["PixelData"].is_undefined_length = True
        reason, detail = _rejected(tmp_path, dataset)
        assert reason == Reason.NO_DECODER
        assert detail == f"{syntax.name}: {remedy}"


def test_an_unknown_syntax_has_no_decoder(tmp_path):
    dataset = ct_dataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
    dataset.PixelData = encapsulate([b"\0" * 10])
    dataset["PixelData"].is_undefined_length = True
    assert _rejected(tmp_path, dataset)[0] == Reason.NO_DECODER


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_failures_of_the_system_are_told_from_damage(tmp_path, monkeypatch, error, detail):
    def fail(*_, **__):
        raise error

    write(ct_dataset(), tmp_path / "a")
    header = read_header(tmp_path, "a")
    monkeypatch.setattr("pydicom.dcmread", fail)
    again = read_header(tmp_path, "a")
    assert (again.reason, again.detail) == (Reason.UNREADABLE, detail)
    with pytest.raises(RejectedError) as caught:
        read_hounsfield(tmp_path, header)
    assert (caught.value.reason, caught.value.detail) == (Reason.UNREADABLE, detail)


def test_broken_and_constant_pixels_are_rejected(tmp_path):
    dataset = ct_dataset()
    dataset.PixelData = b"\x01\0" * 256
    assert _rejected(tmp_path, dataset) == (Reason.CONSTANT, "all stored values are 1")
    dataset = ct_dataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.PixelData = encapsulate([b"\x05" * 70])
    dataset["PixelData"].is_undefined_length = True
    assert _rejected(tmp_path, dataset)[0] == Reason.UNDECODABLE


def test_a_file_that_has_gone_is_rejected(tmp_path):
    path = write(ct_dataset(), tmp_path / "a")
    header = read_header(tmp_path, "a")
    path.unlink()
    with pytest.raises(RejectedError) as caught:
        read_hounsfield(tmp_path, header)
    assert caught.value.reason == Reason.UNREADABLE


# Intensity


def test_attenuation_of_water_air_and_bone():
    """By hand: 0.01998 /m for one HU, 20 /m for water, 0.02 /m for air."""
    mu = attenuation(np.array([0.0, -1000.0, 3071.0, 1000.0]))
    np.testing.assert_allclose(mu, [20, 0.02, 81.35858, 39.98], rtol=1e-12)
    assert pytest.approx(81.35858, rel=1e-12) == MU_MAX


def test_by_default_images_are_fractions_of_the_greatest_attenuation():
    hounsfield = np.array([[-3024.0, -1000.0], [0.0, 4095.0]])
    image = Preprocessing(**PLAIN).apply(hounsfield, "1.2")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, [[0, 0.02 / 81.35858], [20 / 81.35858, 1]], rtol=1e-6)


def test_a_window_maps_its_ends_to_zero_and_one():
    process = Preprocessing(**PLAIN, intensity="window", window=(-160, 240))
    image = process.apply(np.array([[-500.0, -160.0], [40.0, 250.0]]), "1.2")
    assert image.tolist() == [[0, 0], [0.5, 1]]
    assert process.hounsfield_range == (-160, 240)
    assert process.unit == "fraction of the window from -160 to 240 HU"


@pytest.mark.parametrize("intensity", ["attenuation", "window"])
def test_the_stated_range_inverts_the_map(intensity):
    process = Preprocessing(**PLAIN, intensity=intensity)
    hounsfield = np.linspace(-900, 900, 9).reshape(3, 3)
    low, high = process.hounsfield_range
    image = process.apply(hounsfield, "1.2").astype(np.float64)
    np.testing.assert_allclose(low + image * (high - low), hounsfield, atol=1e-3)


# Dequantisation


def test_noise_is_uniform_and_belongs_to_the_slice_and_the_seed():
    noise = dequantisation_noise((200, 200), "1.2.3", 0)
    assert noise.min() >= 0
    assert noise.max() < 1
    counts, _ = np.histogram(noise, 10, (0, 1))
    assert np.abs(counts - 4000).max() < 300  # five standard deviations
    np.testing.assert_array_equal(noise, dequantisation_noise((200, 200), "1.2.3", 0))
    for instance, seed in (("1.2.4", 0), ("1.2.3", 1)):
        other = dequantisation_noise((200, 200), instance, seed)
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.025


def test_noise_is_added_in_hounsfield_units_before_the_map():
    hounsfield = np.zeros((4, 4))
    process = Preprocessing(size=None, intensity="window", window=(-10, 10), seed=3)
    expected = (10 + dequantisation_noise((4, 4), "1.2", 3)) / 20
    np.testing.assert_allclose(process.apply(hounsfield, "1.2"), expected, rtol=1e-6)


# Resizing


@given(
    before=st.integers(1, 40),
    after=st.integers(1, 40),
    antialias=st.booleans(),
    seed=st.integers(0, 9),
)
def test_resizing_is_that_of_pytorch(before, after, antialias, seed):
    image = np.random.default_rng(seed).random((before, before))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None],
        size=(after, after),
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )
    np.testing.assert_allclose(resize(image, after, antialias), expected[0, 0], atol=1e-12)


def test_halving_averages_four_pixels():
    """The paper's 512 to 256: each new centre lies between four old ones."""
    image = np.random.default_rng(0).random((16, 16))
    expected = image.reshape(8, 2, 8, 2).mean((1, 3))
    np.testing.assert_allclose(resize(image, 8), expected, atol=1e-14)


@pytest.mark.parametrize("antialias", [False, True])
def test_a_ramp_stays_a_ramp_inside(antialias):
    """Pixel i of n has its centre at (i + 1/2) / n of the width, before and after."""
    ramp = np.tile((np.arange(24) + 0.5) / 24, (24, 1))
    small = resize(ramp, 6, antialias)
    expected = np.tile((np.arange(6) + 0.5) / 6, (6, 1))
    np.testing.assert_allclose(small[:, 1:-1], expected[:, 1:-1], atol=1e-14)


def test_anti_aliasing_removes_what_a_coarse_grid_cannot_hold():
    stripes = np.tile(np.arange(32) % 3 == 0, (32, 1)).astype(float)
    assert np.ptp(resize(stripes, 8, antialias=False)) > 0.4
    assert np.ptp(resize(stripes, 8, antialias=True)[:, 1:-1]) < 0.1


def test_the_steps_come_in_the_stated_order():
    """Clipping comes before resizing: one bright pixel of four counts as 3071 HU, not more."""
    hounsfield = np.full((2, 2), -1000.0 * 20 / 19.98)
    hounsfield[0, 0] = 30_000
    process = Preprocessing(size=1, dequantise=False)
    assert process.apply(hounsfield, "1.2").item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": (10, 10)}, "from a lower to a higher HU, got 10 to 10: swap them"),
        ({"size": 0}, "size of at least 1 pixel, got 0"),
        ({"seed": -1}, "seed of at least 0, got -1"),
    ],
)
def test_options_out_of_range(change, message):
    with pytest.raises(UserError, match=message):
        Preprocessing(**change)
