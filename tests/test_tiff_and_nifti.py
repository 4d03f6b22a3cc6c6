"""Own images in TIFF and NIfTI files: pages, signs, axes, stored scales."""

import sys

import numpy as np
import pytest
from PIL import Image

from gnclightning.data.folder import read_images
from gnclightning.data.intensity import IntensityMapping
from own_images import (
    RAMP,
    ramps,
    reading_fails,
    values,
    write_nifti,
    write_tiff,
)


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
