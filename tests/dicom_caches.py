"""Small caches of synthetic slices."""

from gnclightning.data.dicom.cache import open_cache
from gnclightning.data.dicom.dataset import CachedSlices
from gnclightning.data.dicom.preprocessing import Preprocessing

SMALL = Preprocessing(size=8)


def opened(tmp_path, process=SMALL, **arguments):
    return open_cache(tmp_path / "ct", tmp_path / "cache", process, **{"workers": 0, **arguments})


def images(cache):
    return CachedSlices(cache, range(len(cache.slices))).stack()[:, 0].numpy()
