"""Own images of each format: values, mapping to [0, 1], laziness, and what is refused."""

import os
import sys
import zipfile
from contextlib import suppress

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from gnclightning.data.folder import read_images
from gnclightning.data.intensity import IntensityMapping
from gnclightning.errors import UserError
from own_images import RAMP, ramps, reading_fails, write_hdf5

HOUNSFIELD = IntensityMapping([-1000, 3000])


def write_tiff(path, pages, **options):
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others, **options)


def write_nifti(path, volume, slope=None, intercept=None):
    nibabel = pytest.importorskip("nibabel", reason="NIfTI files need the extra nifti")
    image = nibabel.Nifti1Image(volume, np.diag([-2, 3, 1, 1]))
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)


def write(path, stack):
    """Write images (N, H, W) to `path` in the format of its name."""
    kind = path.name.partition(".")[2]
    if kind == "npy":
        np.save(path, stack)
    elif kind == "npz":
        np.savez_compressed(path, images=stack)
    elif kind in ("h5", "hdf5"):
        write_hdf5(path, images=stack)
    elif kind in ("tif", "tiff"):
        write_tiff(path, stack)
    else:
        write_nifti(path, np.moveaxis(stack, 0, -1))


def values(path, **options) -> np.ndarray:
    """What is read, (N, H, W)."""
    return read_images(path, **options).images[:, 0].numpy()


EVERY_STACK = ["npy", "npz", "h5", "hdf5", "tif", "tiff", "nii", "nii.gz"]


class TestEveryFormat:
    @pytest.mark.parametrize("kind", EVERY_STACK)
    def test_stacks_of_floating_point_numbers(self, tmp_path, kind):
        path = tmp_path / f"scan.{kind}"
        write(path, ramps(3))
        images = read_images(path)
        np.testing.assert_array_equal(images.images[:, 0], ramps(3))
        assert images.images.dtype == torch.float32
        assert images.names == ("scan[0]", "scan[1]", "scan[2]")
        assert images.seeds == (0, 1, 2)
        assert read_images(path, 2).names == images.names[:2]
        reading_fails(path, "expected 4 images in", "got 3: lower the count", count=4)

    @pytest.mark.parametrize("kind", EVERY_STACK)
    def test_integers_with_a_stated_range(self, tmp_path, kind):
        stored = np.array([[[-1000, 0, 3000], [250, 1, -999]]], np.int16)
        path = tmp_path / f"scan.{kind}"
        write(path, np.concatenate([stored, stored]))
        expected = (stored[0].astype(float) + 1000) / 4000
        read = values(path, mapping=HOUNSFIELD)
        np.testing.assert_array_equal(read, np.float32([expected, expected]))
        assert (read[0, 0, 0], read[0, 0, 2]) == (0, 1)

    @pytest.mark.parametrize("kind", EVERY_STACK)
    def test_a_count_reads_no_more(self, tmp_path, kind):
        stack = ramps(3)
        stack[2] = np.nan
        write(tmp_path / f"a.{kind}", stack)
        (tmp_path / f"b.{kind}").write_bytes(b"broken")
        assert read_images(tmp_path, 2).names == ("a[0]", "a[1]")
        reading_fails(tmp_path / f"a.{kind}", "image a[2]: expected finite values, got 20 NaN")
        reading_fails(tmp_path, f"b.{kind}, got: ", count=4)

    @pytest.mark.parametrize("kind", ["npy", "npz", "h5", "tif", "nii"])
    def test_single_images_have_no_number(self, tmp_path, kind):
        if kind == "tif":
            write_tiff(tmp_path / "one.tif", [RAMP])
        elif kind == "nii":
            write_nifti(tmp_path / "one.nii", RAMP)
        else:
            write(tmp_path / f"one.{kind}", RAMP)
        images = read_images(tmp_path)
        assert images.names == ("one",)
        np.testing.assert_array_equal(images.images[0, 0], RAMP)

    @pytest.mark.parametrize("kind", EVERY_STACK)
    def test_damaged_files(self, tmp_path, kind):
        """Cut, and with bytes overwritten: images or one of the errors that become a line."""
        path = tmp_path / f"scan.{kind}"
        write(path, ramps(3))
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        cut = [whole[:length] for length in (0, 1, 10, len(whole) // 3, len(whole) // 2)]
        for content in [b"text", *cut]:
            path.write_bytes(content)
            reading_fails(path, f"scan.{kind}, got")
        for position in rng.integers(0, len(whole), 60):
            content = bytearray(whole)
            content[position : position + 4] = rng.bytes(4)
            path.write_bytes(content)
            # A size that is far too large is a MemoryError, which the programs say in one line.
            with suppress(UserError, MemoryError):
                read_images(path)

    @pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nii"])
    def test_what_is_no_stack_of_real_numbers(self, tmp_path, kind):
        path = tmp_path / f"a.{kind}"
        for array in [np.zeros((2, 4, 5, 3)), np.zeros(20)]:
            write_nifti(path, array) if kind == "nii" else write(path, array)
            reading_fails(path, "(H, W) or (", str(path), str(array.shape)[:3])
        complex_numbers = ramps(2).astype(np.complex64)
        write(path, complex_numbers)
        reading_fails(path, "expected real numbers in", str(path), "got complex64: convert them")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    @pytest.mark.parametrize("kind", EVERY_STACK)
    def test_files_that_may_not_be_read(self, tmp_path, kind):
        path = tmp_path / f"a.{kind}"
        write(path, ramps(2))
        path.chmod(0)
        reading_fails(tmp_path, f"a.{kind}, got: ", "ermission denied")

    def test_names_that_are_no_text(self, tmp_path):
        """Bytes that are not UTF-8 are spelled out, so that tables can be written."""
        array = np.random.default_rng(0).random((4, 5))
        with open(os.fsencode(tmp_path) + b"/caf\xe9.npy", "wb") as file:
            np.save(file, array)
        assert read_images(tmp_path).names == ("caf\\xe9",)

    def test_folders_of_many_formats(self, tmp_path):
        for name, image in zip(("a.h5", "b.npz", "c.npy"), ramps(3), strict=True):
            write(tmp_path / name, image)
        write_tiff(tmp_path / "d.TIF", ramps(4)[3:])
        images = read_images(tmp_path)
        assert images.names == ("a", "b", "c", "d")
        np.testing.assert_array_equal(images.images[:, 0], ramps(4))
        write(tmp_path / "e.h5", RAMP.T)
        reading_fails(tmp_path, "images of one size, got 4x5 (a) and 5x4 (e): crop or resample")


class TestMapping:
    def test_values_outside_are_counted_or_clipped(self, tmp_path):
        path = tmp_path / "a.npy"
        np.save(path, np.array([[-1024, 0, 3071], [-1000, 3000, -1001]], np.int16))
        parts = (
            "image a: expected values in [-1000, 3000], got 3 of 6 outside, from -1024 to 3071: ",
            "widen data.range, or clip with data.clip=true",
        )
        reading_fails(path, *parts, mapping=HOUNSFIELD)
        clipped = values(path, mapping=IntensityMapping([-1000, 3000], clip=True))
        assert clipped.tolist() == [[[0, 0.25, 1], [0, 1, 0]]]

    def test_floating_point_numbers_can_be_clipped_to_zero_and_one(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[-0.5, 0.25], [0.75, 1.5]]))
        assert values(tmp_path, mapping=IntensityMapping(clip=True)).tolist() == [
            [[0, 0.25], [0.75, 1]]
        ]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_clipping_hides_no_broken_values(self, tmp_path, value):
        np.save(tmp_path / "a.npy", np.array([[value, 0.25], [0.75, 1.5]]))
        mapping = IntensityMapping(clip=True)
        reading_fails(tmp_path, "image a: expected finite values, got 1 NaN", mapping=mapping)

    def test_a_range_is_about_the_stored_values_of_pictures_too(self, tmp_path):
        Image.fromarray(np.array([[0, 1024], [2048, 4096]], np.uint16)).save(tmp_path / "a.png")
        read = values(tmp_path, mapping=IntensityMapping([0, 4096]))
        assert read.tolist() == [[[0, 0.25], [0.5, 1]]]

    @pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
    def test_pictures_say_themselves_what_white_is(self, tmp_path, dtype, white):
        stored = np.array([[0, white], [1, 2]], dtype)
        Image.fromarray(stored).save(tmp_path / "a.png")
        write_tiff(tmp_path / "b.tif", [stored])
        read = values(tmp_path)
        np.testing.assert_array_equal(read[0], np.float32(stored.astype(float) / white))
        np.testing.assert_array_equal(read[1], read[0])

    @pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nii"])
    def test_other_integers_need_a_range(self, tmp_path, kind):
        write(tmp_path / f"a.{kind}", (ramps(2) * 255).astype(np.uint8))
        parts = ("image a[0]: ", "got uint8 from 1 to 255: give data.range=[LOW,HIGH]")
        reading_fails(tmp_path, *parts)

    def test_integers_beyond_the_range_of_float32(self, tmp_path):
        low = 2**40
        np.save(tmp_path / "a.npy", np.array([[low, low + 1], [low + 2, low + 4]]))
        read = values(tmp_path, mapping=IntensityMapping([low, low + 4]))
        assert read.tolist() == [[[0, 0.25], [0.5, 1]]]


class TestNamedArrays:
    @pytest.mark.parametrize("kind", ["npz", "h5"])
    def test_the_only_stack_needs_no_key(self, tmp_path, kind):
        path = tmp_path / f"a.{kind}"
        contents = {"patients": np.arange(3), "slope": np.float64(1), "images": ramps(2)}
        np.savez(path, **contents) if kind == "npz" else write_hdf5(path, **contents)
        np.testing.assert_array_equal(values(path), ramps(2))
        np.testing.assert_array_equal(values(path, key="images"), ramps(2))
        reading_fails(path, f"arrays (H, W) or (N, H, W) in patients of {path}", key="patients")

    @pytest.mark.parametrize("kind", ["npz", "h5"])
    def test_one_of_several_is_named(self, tmp_path, kind):
        path = tmp_path / f"a.{kind}"
        contents = {"images": ramps(2), "masks": 1 - ramps(2)[0]}
        np.savez(path, **contents) if kind == "npz" else write_hdf5(path, **contents)
        np.testing.assert_array_equal(values(path, key="masks")[0], 1 - ramps(2)[0])
        found = f"in {path}, got images (2, 4, 5), masks (4, 5): "
        reading_fails(path, "expected one array", found + "choose one with data.key=NAME")
        for key, remedy in (("image", "did you mean images?"), ("x", "choose one of these with")):
            reading_fails(path, f"expected an array named {key} {found}{remedy}", key=key)

    def test_groups_of_hdf5(self, tmp_path):
        path = tmp_path / "a.h5"
        write_hdf5(path, test__images=ramps(2), train__images=ramps(3))
        assert len(read_images(path, key="train/images")) == 3
        reading_fails(path, "got test/images (2, 4, 5), train/images (3, 4, 5): choose one")

    def test_long_lists_are_cut(self, tmp_path):
        np.savez(tmp_path / "a.npz", **{f"slice{n:02}": RAMP for n in range(14)})
        reading_fails(tmp_path, "slice09 (4, 5), 4 more: choose one with data.key=NAME")

    @pytest.mark.parametrize("kind", ["npz", "h5"])
    def test_files_without_images(self, tmp_path, kind):
        path = tmp_path / f"a.{kind}"
        for contents, found in ({}, "no arrays"), ({"ages": np.arange(3)}, "ages (3,)"):
            np.savez(path, **contents) if kind == "npz" else write_hdf5(path, **contents)
            reading_fails(path, f"in {path}, got {found}: put images into it")
        reading_fails(path, "expected an array named images", f"in {path}, got ages", key="images")

    def test_arrays_of_hdf5_that_hold_no_numbers(self, tmp_path):
        path = tmp_path / "a.h5"
        write_hdf5(path, text=np.array([[b"a", b"b"]]), empty=h5py.Empty("f4"))
        reading_fails(path, f"expected real numbers in text of {path}, got |S1", key="text")
        reading_fails(path, f"in empty of {path}, got shape (): reshape them", key="empty")
        write_hdf5(path, text=np.array([["a", "b"]], object))
        reading_fails(path, f"in text of {path}, got Python objects or text, which are not read")

    def test_archives_of_python_objects_are_not_unpickled(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=np.array([[RAMP, None]], object), allow_pickle=True)
        reading_fails(tmp_path, "in images of", "got Python objects or text, which are not read")

    def test_zip_files_that_are_no_archives_of_arrays(self, tmp_path):
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "no array")
        reading_fails(path, f"in {path}, got no arrays: put images into it")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", "no array")
        reading_fails(path, f"expected a .npz file of images at {path}, got: ")
        np.save(tmp_path / "b.npy", RAMP)
        path.write_bytes((tmp_path / "b.npy").read_bytes())
        reading_fails(path, f"a .npz file of images at {path}, got: File is not a zip file")

    def test_structured_arrays(self, tmp_path):
        for name in ("x", "µ"):
            np.savez(tmp_path / "a.npz", images=np.zeros((4, 5), [(name, "f4")]))
            reading_fails(tmp_path, "a.npz", "expected")

    def test_keys_where_nothing_has_a_name(self, tmp_path):
        write(tmp_path / "a.h5", ramps(2))
        np.save(tmp_path / "b.npy", RAMP)
        parts = ("named arrays (.npz, .h5, .hdf5) for data.key=images, got", "b.npy: leave")
        reading_fails(tmp_path, *parts, key="images")
        reading_fails(tmp_path / "b.npy", *parts, key="images")
        assert len(read_images(tmp_path / "a.h5", key="images")) == 2


class TestTIFF:
    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
    def test_compressed_pages(self, tmp_path, compression):
        pages = (ramps(3) * 65535).astype(np.uint16)
        write_tiff(tmp_path / "a.tif", pages, compression=compression)
        expected = np.float32(pages.astype(float) / 65535)
        np.testing.assert_array_equal(values(tmp_path), expected)

    @pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
    def test_integers_of_any_sign(self, tmp_path, dtype):
        """Pillow reads signed bytes as unsigned, and unsigned words as signed."""
        info = np.iinfo(dtype)
        pixels = np.array([[info.min, 1], [2, info.max]], dtype)
        self.write_raw(tmp_path / "a.tif", pixels)
        reading_fails(tmp_path, f"from {info.min} to {info.max}: give data.range=[LOW,HIGH]")
        read = values(tmp_path, mapping=IntensityMapping([info.min, info.max]))
        expected = (pixels.astype(float) - info.min) / (float(info.max) - info.min)
        np.testing.assert_array_equal(read[0], np.float32(expected))

    @staticmethod
    def write_raw(path, pixels, photometric=1):
        """An uncompressed little-endian file, written by hand."""
        sample_format = {"u": 1, "i": 2}[pixels.dtype.kind]
        (height, width), bits = pixels.shape, 8 * pixels.dtype.itemsize
        tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 200}
        tags |= {277: 1, 278: height, 279: pixels.nbytes, 339: sample_format}
        words = [np.array([42], "<u2"), np.array([8], "<u4"), np.array([len(tags)], "<u2")]
        for tag, value in sorted(tags.items()):
            words += [np.array([tag, 4], "<u2"), np.array([1, value], "<u4")]
        header = b"II" + b"".join(word.tobytes() for word in words) + bytes(4)
        path.write_bytes(header.ljust(200, b"\0") + pixels.tobytes())

    def test_big_endian_pages(self, tmp_path):
        pixels = np.array([[0, 256], [1, 65535]], ">u2")
        Image.fromarray(pixels).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(values(tmp_path)[0], np.float32(pixels / 65535))

    @pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "RGBA", "CMYK"])
    def test_colour_and_masks(self, tmp_path, mode):
        Image.fromarray((RAMP * 255).astype(np.uint8)).convert(mode).save(tmp_path / "a.tif")
        reading_fails(tmp_path, "a greyscale TIFF of 8, 16 or 32 bits at", f"mode {mode}: convert")

    def test_a_page_in_colour(self, tmp_path):
        pages = [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)]
        pages[0][0, 0] = 1
        write_tiff(tmp_path / "a.tif", pages)
        assert len(read_images(tmp_path, 1)) == 1
        reading_fails(tmp_path, "a greyscale TIFF", "mode RGB: convert it")

    def test_negatives(self, tmp_path):
        pixels = np.array([[0, 1], [2, 65535]], np.uint16)
        self.write_raw(tmp_path / "a.tif", pixels, photometric=0)
        reading_fails(tmp_path, "whose 0 is black at", "WhiteIsZero", "invert its values")

    def test_pages_of_different_sizes(self, tmp_path):
        write_tiff(tmp_path / "a.tif", [RAMP, RAMP.T])
        reading_fails(tmp_path, "images of one size, got 4x5 (a[0]) and 5x4 (a[1])")


class TestNIfTI:
    def test_version_2(self, tmp_path):
        nibabel = pytest.importorskip("nibabel", reason="NIfTI files need the extra nifti")
        nibabel.save(nibabel.Nifti2Image(RAMP, np.eye(4)), tmp_path / "a.nii")
        np.testing.assert_array_equal(values(tmp_path)[0], RAMP)

    def test_other_files_of_that_name(self, tmp_path, capfd):
        path = tmp_path / "a.nii"
        write_nifti(path, np.moveaxis(ramps(2), 0, -1))
        content = bytearray(path.read_bytes())
        content[344:346] = b"xx"  # within the magic string, of which nibabel would print a remark
        path.write_bytes(content)
        reading_fails(path, "expected a readable NIfTI file at", "a.nii, got: ")
        assert capfd.readouterr().err == ""

    def test_row_and_column_are_the_first_two_axes_as_stored(self, tmp_path):
        """Whatever the affine says: that of `write_nifti` turns the first axis around."""
        volume = np.random.default_rng(0).random((4, 6, 3), np.float32)
        for name in ("a.nii", "b.nii.gz"):
            write_nifti(tmp_path / name, volume)
        read = read_images(tmp_path)
        assert read.names == tuple(f"{name}[{n}]" for name in "ab" for n in range(3))
        for number in range(6):
            np.testing.assert_array_equal(read.images[number, 0], volume[..., number % 3])

    def test_slope_and_intercept_are_applied_before_the_range(self, tmp_path):
        nibabel = pytest.importorskip("nibabel", reason="NIfTI files need the extra nifti")
        stored = np.arange(24, dtype=np.int16).reshape(4, 6, 1)
        path = tmp_path / "a.nii"
        image = nibabel.Nifti1Image(stored, np.eye(4))
        image.header.set_slope_inter(1, 0)
        nibabel.save(image, path)
        with path.open("r+b") as file:  # scl_slope and scl_inter of the header
            file.seek(112)
            file.write(np.float32([100, -1000]).tobytes())
        read = values(path, mapping=IntensityMapping([-1000, 1300]))
        np.testing.assert_allclose(read[0], stored[..., 0] / 23, rtol=1e-6)

    def test_nibabel_is_asked_for_where_it_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "nibabel", None)
        (tmp_path / "a.nii.gz").write_bytes(b"")
        reading_fails(
            tmp_path, "nibabel, which reads", "a.nii.gz: pip install 'gnclightning[nifti]'"
        )
