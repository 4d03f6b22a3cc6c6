"""Images from files: values, names, seeds, and what is refused."""

import math
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gnclightning.data.ellipses import phantoms
from gnclightning.data.folder import read_images
from gnclightning.data.images import ImageSet
from gnclightning.data.samples import CT_SLICE_SEED, ct_slice, demo_images
from gnclightning.errors import UserError
from own_images import RAMP, ramps, reading_fails


def image_set(stack, names=None):
    images = torch.from_numpy(np.asarray(stack, np.float32))[:, None]
    names = names or tuple("abcdefgh"[: len(images)])
    return ImageSet(images, names, tuple(range(len(images))))


# Image sets


def test_an_image_set_accepts_the_whole_of_zero_to_one():
    images = image_set([RAMP, 1 - RAMP / 2])
    assert len(images) == 2
    assert images.images.aminmax() == (0, 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "image b: expected finite values, got 1 NaN or infinite of 20: replace"),
        (math.inf, "image b: expected finite values, got 1 NaN or infinite of 20: replace"),
        (-0.25, r"image b: expected values in \[0, 1\], got -0.25 to 1: scale"),
        (1.5, r"image b: expected values in \[0, 1\], got 0.0\d* to 1.5: scale"),
    ],
)
def test_an_image_set_names_the_image_with_bad_values(value, message):
    stack = ramps(3)
    stack[1, 2, 2] = value
    with pytest.raises(UserError, match=message):
        image_set(stack)


def test_an_image_set_rejects_constant_images_and_repeated_names():
    stack = ramps(3)
    stack[2] = 0.5
    with pytest.raises(UserError, match=r"image c: expected structure, got the constant 0\.5"):
        image_set(stack)
    with pytest.raises(UserError, match="one image per name, got 2 named x"):
        image_set(ramps(3), ("x", "y", "x"))


# Folders and files


def test_a_stack_is_read_with_names_and_seeds(tmp_path):
    np.save(tmp_path / "images.npy", ramps(4))
    images = read_images(tmp_path / "images.npy")
    np.testing.assert_array_equal(images.images[:, 0].numpy(), ramps(4))
    assert images.names == ("images[0]", "images[1]", "images[2]", "images[3]")
    assert images.seeds == (0, 1, 2, 3)
    assert read_images(str(tmp_path / "images.npy"), 2).names == images.names[:2]


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4"])
def test_other_floating_point_types_and_memory_orders_are_converted(tmp_path, dtype):
    np.save(tmp_path / "one.npy", np.asfortranarray(RAMP).astype(dtype))
    images = read_images(tmp_path / "one.npy")
    assert images.names == ("one",)
    assert images.images.dtype == torch.float32
    np.testing.assert_array_equal(images.images[0, 0], RAMP.astype(dtype).astype(np.float32))


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    stack = ramps(5)
    np.save(tmp_path / "b.npy", stack[1:4])
    np.save(tmp_path / "a.NPY.npy", stack[0])
    Image.fromarray((stack[4] * 128).astype(np.uint8)).save(tmp_path / "c.PNG")
    (tmp_path / "README.md").write_text("not an image")
    (tmp_path / "folder.npy").mkdir()
    images = read_images(tmp_path)
    assert images.names == ("a.NPY", "b[0]", "b[1]", "b[2]", "c")
    assert images.seeds == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(images.images[:4, 0], stack[:4])


def test_png_values_are_scaled_by_their_bit_depth(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    deep[0, 1] = 1
    Image.fromarray(deep).save(tmp_path / "b.png")
    images = read_images(tmp_path).images[:, 0].numpy()
    np.testing.assert_allclose(images[0], grey / 255, rtol=1e-7)
    np.testing.assert_allclose(images[1], deep / 65535, rtol=1e-7)
    assert images[:, -1, -1].tolist() == [1, 1]


def test_nothing_beyond_the_count_is_read(tmp_path):
    stack = ramps(3)
    stack[2] = math.nan
    np.save(tmp_path / "a.npy", stack)
    (tmp_path / "b.npy").write_bytes(b"broken")
    assert read_images(tmp_path, 2).names == ("a[0]", "a[1]")
    reading_fails(tmp_path / "a.npy", "image a[2]", "finite", count=3)
    reading_fails(tmp_path, "a .npy file of images", "b.npy", count=4)


def test_missing_and_empty_places(tmp_path):
    reading_fails(tmp_path / "none", "none, which does not exist: mend the path")
    reading_fails(tmp_path, "expected files in", "(.h5, .hdf5, .nii, .nii.gz, .np", "got none: put")
    (tmp_path / "image.jpg").write_bytes(b"")
    (tmp_path / ".npy").write_bytes(b"")
    reading_fails(tmp_path, "expected files in", "got none: put some there")
    reading_fails(tmp_path / "image.jpg", "expected a file of images (.h5", "image.jpg: convert it")


def test_counts_out_of_range(tmp_path):
    np.save(tmp_path / "a.npy", ramps(3))
    reading_fails(tmp_path, "expected 4 images in", "got 3: lower the count", count=4)
    reading_fails(tmp_path, "a count of at least 1, got 0", count=0)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x04\x00{}{}", b"\x93NUMPY\x01\x00\x02\x00{("],
)
def test_broken_array_files(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    reading_fails(tmp_path, "expected a .npy file of images at", "a.npy, got: ")


def test_truncated_pickled_and_zipped_arrays(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, ramps(2))
    path.write_bytes(path.read_bytes()[:-1])
    reading_fails(path, "expected a .npy file of images at", "a.npy, got: ")
    np.save(path, np.array([RAMP, None], object), allow_pickle=True)
    reading_fails(path, f"in {path}, got Python objects or text, which are not read: convert them")
    with path.open("wb") as file:
        np.savez(file, images=RAMP)
    reading_fails(path, "expected a .npy file of images at", "a.npy, got: ")


@pytest.mark.parametrize("shape", [(20,), (1, 1, 4, 5), ()])
def test_arrays_that_are_no_stack_of_images(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    reading_fails(tmp_path, "(H, W) or (N, H, W)", f"got shape {shape}: reshape them")


@pytest.mark.parametrize("shape", [(0, 4, 5), (4, 0)])
def test_arrays_without_numbers(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    reading_fails(tmp_path, "expected numbers in", f"got none, shape {shape}: leave it out")


def test_arrays_of_other_numbers(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([[-1000, 24], [0, 3000]], np.int16))
    reading_fails(path, "image a: ", "got int16 from -1000 to 3000: give data.range=[LOW,HIGH]")
    for dtype in ("bool", "c8", "U3"):
        np.save(path, RAMP.astype(dtype))
        reading_fails(path, f"in {path}, got {np.dtype(dtype)}: convert them")


def test_bad_values_name_their_image(tmp_path):
    path = tmp_path / "stack.npy"
    for value, part in (
        (np.nan, "expected finite values"),
        (1e300, "got 1 of 20 outside, from 0.0234375 to 1e+300: give data.range=[LOW,HIGH]"),
        (-1e-3, "got 1 of 20 outside, from -0.001 to 1: "),
        (255.0, "to 255: give data.range=[LOW,HIGH], the values that become 0 and 1"),
    ):
        stack = ramps(3).astype(np.float64)
        stack[2, 1, 1] = value
        np.save(path, stack)
        reading_fails(path, "image stack[2]: ", part)


def test_mixed_sizes_and_repeated_names(tmp_path):
    np.save(tmp_path / "a.npy", ramps(2))
    np.save(tmp_path / "b.npy", RAMP.T)
    reading_fails(tmp_path, "images of one size, got 4x5 (a[0]) and 5x4 (b): crop or resample")
    (tmp_path / "a.npy").unlink()
    Image.fromarray((RAMP.T * 255).astype(np.uint8)).save(tmp_path / "b.png")
    reading_fails(tmp_path, "one image per name, got 2 named b")


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "RGBA"])
def test_png_files_that_are_not_greyscale(tmp_path, mode):
    Image.fromarray((RAMP * 255).astype(np.uint8)).convert(mode).save(tmp_path / "a.png")
    reading_fails(tmp_path, "8 or 16 bit greyscale PNG at", f"mode {mode}: convert it")


def test_broken_png_files(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:40], whole[:50] + b"xxxx" + whole[54:]):
        path.write_bytes(content)
        reading_fails(path, "expected a readable PNG at", "a.png, got: ")
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(path, format="BMP")
    reading_fails(path, "expected a readable PNG at", "a.png, got: ")


def test_files_without_permission(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", RAMP)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("numpy.lib.format.open_memmap", denied)
        reading_fails(tmp_path, "expected a .npy file of images", "Permission denied")
    monkeypatch.setattr("pathlib.Path.iterdir", denied)
    reading_fails(tmp_path, "expected readable images at", "Permission denied")


# Samples


def test_the_ct_slice_shows_hounsfield_units_above_air_by_their_maximum():
    """Against the file's bytes: its last 32768 are the pixels; slope 1, intercept -1024."""
    content = (files("pydicom.data") / "test_files" / "CT_small.dcm").read_bytes()
    marker = content.rindex(b"\xe0\x7f\x10\x00OW\x00\x00\x00\x80\x00\x00") + 12
    stored = np.frombuffer(content[marker : marker + 32768], "<i2").reshape(128, 128)
    images = ct_slice()
    assert images.names == ("CT_small",)
    assert images.seeds == (CT_SLICE_SEED,)
    assert (stored.min(), stored.max()) == (128, 2191)
    expected = (np.maximum(stored - 1024.0, -1000) + 1000) / 2167
    np.testing.assert_array_equal(images.images[0, 0], expected.astype(np.float32))
    assert images.images.min().item() == pytest.approx(104 / 2167)
    assert images.images.max().item() == 1


def test_stored_values_are_rescaled_and_clipped_at_air(monkeypatch):
    stored = SimpleNamespace(
        pixel_array=np.array([[0, 500], [1125, 3000]], np.int16),
        RescaleSlope="0.5",
        RescaleIntercept="-1250",
    )
    monkeypatch.setattr("pydicom.dcmread", lambda _: stored)
    assert ct_slice().images.tolist() == [[[[0, 0], [0.25, 1]]]]


@pytest.mark.parametrize("count", [1, 4, 8])
def test_the_demonstration_begins_with_test_phantoms(count):
    images = demo_images(count, seed=3)
    np.testing.assert_array_equal(images.images, phantoms(range(count), 3, "test"))
    assert images.names == tuple(f"ellipses[{i}]" for i in range(count))
    assert images.seeds == tuple(range(count))


@pytest.mark.parametrize("count", [9, 11])
def test_the_demonstration_ends_with_the_ct_slice(count):
    images = demo_images(count)
    np.testing.assert_array_equal(images.images[:-1], phantoms(range(count - 1), 0, "test"))
    np.testing.assert_array_equal(images.images[-1:], ct_slice().images)
    assert images.names[-2:] == (f"ellipses[{count - 2}]", "CT_small")
    assert images.seeds == (*range(count - 1), CT_SLICE_SEED)


def test_the_demonstration_needs_an_image():
    with pytest.raises(UserError, match="at least 1 image, got 0"):
        demo_images(0)


def test_missing_sample_files_are_reported(monkeypatch):
    monkeypatch.setattr("gnclightning.data.samples.get_testdata_file", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"CT_small\.dcm in the pydicom package, got none"):
        ct_slice()


# Data modules
