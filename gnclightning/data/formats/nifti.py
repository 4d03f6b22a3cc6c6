"""NIfTI files, read by nibabel where that is installed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gnclightning.data.formats.stored import StoredImage, check_array, reading
from gnclightning.errors import UserError


def read_nifti(file: Path) -> Iterator[StoredImage]:
    """Images of a volume (H, W) or (H, W, N), each read when it is due.

    Axes are those of the file, whatever its affine says: row r, column c of slice n is element
    (r, c, n). Values are those that the header's slope and intercept give.

    Raises:
        UserError: nibabel is not installed, the file is damaged, or holds something else.
    """
    try:
        import nibabel
        from nibabel.imageglobals import logger
    except ImportError as error:
        raise UserError(
            f"expected nibabel, which reads {file}: pip install 'gnclightning[nifti]'"
        ) from error
    with reading(file, "a readable NIfTI file"):
        file.open("rb").close()  # nibabel does not say why it cannot
        with _silenced(logger):  # its remarks on headers
            # Kept open, a compressed file is unpacked once, not from its start for each slice.
            volume = nibabel.load(file, keep_file_open=True)
        if not isinstance(volume, nibabel.Nifti1Pair):
            raise TypeError(f"a {type(volume).__name__}")
        dtype = np.dtype(volume.get_data_dtype())
        check_array(str(file), volume.shape, dtype, axes="(H, W) or (H, W, N)")
        if len(volume.shape) == 2:
            yield StoredImage(np.asarray(volume.dataobj))
        else:
            for number in range(volume.shape[2]):
                yield StoredImage(np.asarray(volume.dataobj[..., number]), number)


@contextmanager
def _silenced(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
