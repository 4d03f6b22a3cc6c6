"""Own images in archives and HDF5 files: which of their arrays is read."""

import zipfile

import h5py
import numpy as np
import pytest

from gnclightning.data.folder import read_images
from own_images import RAMP, ramps, reading_fails, values, write, write_hdf5


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
