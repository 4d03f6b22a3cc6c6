"""Reconstructions of DICOM series as NIfTI volumes, which nibabel writes where it is installed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from gnclightning.data.dicom.preprocessing import Preprocessing
from gnclightning.data.dicom.records import Slice
from gnclightning.extras import import_extra

_REMEDY = "pip install 'gnclightning[nifti]', or leave output_nifti out"
_UNEVEN = 0.01
"""Of the distance of slices, that positions may be off those of evenly spaced ones."""
_RAS = np.diag([-1.0, -1.0, 1.0])
"""From DICOM's axes, which grow to the left and back, to NIfTI's, to the right and front."""


def check_nibabel() -> None:
    """Raise `UserError` unless volumes can be written."""
    import_extra("nibabel", _REMEDY)


def write_volumes(
    folder: Path,
    root: Path,
    sources: Sequence[Slice],
    images: NDArray[np.float32],
    process: Preprocessing,
) -> list[Path]:
    """Write images as volumes (rows, columns, slices) in HU, one for each source series.

    The affine follows from the positions of the slices. Where these are not known or not evenly
    spaced, it holds the sizes of voxels alone, and its code is 0, "unknown".

    Args:
        folder: existing, for the files `series_1.nii.gz`, `series_2.nii.gz`, ...
        root: folder of the source files.
        sources: the slices that the images are reconstructions of, by position.
        images: (N, size, size), in the units of `process`.
        process: what made images of the slices; inverted to give HU.

    Returns:
        The files.

    Raises:
        UserError: nibabel is not installed.
        OSError: a source file cannot be read any more, or a new one not written.
    """
    nibabel = import_extra("nibabel", _REMEDY)
    written: list[Path] = []
    for number, series in enumerate(dict.fromkeys(s.series for s in sources), start=1):
        mine = [n for n, s in enumerate(sources) if s.series == series]
        hounsfield = process.to_hounsfield(np.moveaxis(images[mine], 0, -1))
        affine = _affine([sources[n] for n in mine], root, hounsfield.shape[0])
        known = affine is not None
        if affine is None:
            affine = _sizes(sources[mine[0]], hounsfield.shape[0])
        volume = nibabel.Nifti1Image(hounsfield.astype(np.float32), affine)
        volume.set_sform(affine, code=int(known))
        volume.set_qform(affine, code=int(known))
        volume.header.set_xyzt_units(xyz="mm")
        written.append(folder / f"series_{number}.nii.gz")
        nibabel.save(volume, written[-1])
    return written


def _sizes(source: Slice, size: int) -> NDArray[np.float64]:
    edge = source.pixel_size * source.size / size
    return np.diag([edge, edge, source.thickness or 1.0, 1.0])


def _affine(sources: Sequence[Slice], root: Path, size: int) -> NDArray[np.float64] | None:
    """From (row, column, slice) to mm; None where positions are unknown or uneven."""
    headers = [pydicom.dcmread(root / s.file, stop_before_pixels=True) for s in sources]
    if not all(h.get("ImagePositionPatient") and h.get("ImageOrientationPatient") for h in headers):
        return None
    corners = np.array([h.ImagePositionPatient for h in headers], dtype=np.float64)
    columns, rows = np.array(headers[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    if len(sources) == 1:
        step = np.cross(columns, rows) * (sources[0].thickness or 1.0)
    else:
        step = (corners[-1] - corners[0]) / (len(sources) - 1)
    even = corners[0] + np.arange(len(sources))[:, None] * step
    if np.linalg.norm(corners - even, axis=1).max() > _UNEVEN * np.linalg.norm(step):
        return None
    # Pixels of another size in the same square: its edges stay, the first centre moves.
    before = sources[0].pixel_size
    edge = before * sources[0].size / size
    first = corners[0] + (edge - before) / 2 * (rows + columns)
    affine = np.eye(4)
    affine[:3] = _RAS @ np.stack([edge * rows, edge * columns, step, first], axis=1)
    return affine
