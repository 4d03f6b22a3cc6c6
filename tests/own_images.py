"""Images as users store them, in each format, and what reading them must say when it fails."""

import h5py
import numpy as np
import pytest
from PIL import Image

from gnclightning.data.folder import read_images
from gnclightning.errors import UserError

RAMP = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
EVERY_STACK = ["npy", "npz", "h5", "hdf5", "tif", "tiff", "nii", "nii.gz"]


def ramps(count):
    """Images (count, 4, 5) that differ from each other: the first pixel tells which it is."""
    stack = np.stack([RAMP] * count)
    stack[:, 0, 0] = (np.arange(count) + 1) / 128
    return stack


def reading_fails(path, *parts, **options):
    """Reading fails in one line that holds each of the parts."""
    with pytest.raises(UserError) as caught:
        read_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)


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
