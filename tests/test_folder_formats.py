"""Own images of each format: values, mapping to [0, 1], laziness, and what is refused."""

import os
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from gnclightning.data.folder import read_images
from gnclightning.data.intensity import IntensityMapping
from gnclightning.errors import UserError
from own_images import (
    EVERY_STACK,
    RAMP,
    ramps,
    reading_fails,
    values,
    write,
    write_nifti,
    write_tiff,
)

HOUNSFIELD = IntensityMapping([-1000, 3000])


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
