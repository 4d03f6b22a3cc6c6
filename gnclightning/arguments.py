"""Arguments of `reconstruct` from Python: checked, turned into settings, and named in messages."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from gnclightning.config.baselines import Compared
from gnclightning.config.geometry import GeometryConfig
from gnclightning.errors import UserError
from gnclightning.operators import FanBeam2D, PlanarGeometry

_ARGUMENTS = {
    "prior.path": "prior",
    "solver.name": "method",
    "noise.relative": "noise",
    "data.white": "white",
    "starts": "starts",
    "seed": "seed",
    "device": "device",
    "batch_size": "batch_size",
    "progress": "progress",
    "data": "sinogram",
    "geometry": "geometry",
}
"""Settings, or groups of them, that are arguments here."""
_NAMES = {
    **{key: name for key, name in _ARGUMENTS.items() if "." in key},
    "geometry.angles or geometry.degrees": "geometry.angles",
}
"""What messages name, as the caller of `reconstruct` knows it."""
_OF_FILES = (
    "output",
    "overwrite",
    "logger",
    "methods",
    "output_dicom",
    "output_nifti",
    "alpha.sweep",
    *get_args(Compared),
)
"""Settings of run folders, and of reconstructions that are not made here."""


def stacked(sinogram: object) -> Tensor:
    """Sinograms (images, angles, detectors), float32, on the CPU.

    Raises:
        UserError: not real numbers (angles, detectors) or (images, angles, detectors).
    """
    if isinstance(sinogram, Tensor):
        array = sinogram.detach().cpu().numpy()
    else:
        try:
            array = np.asarray(sinogram)
        except ValueError as error:
            raise UserError(f"sinogram: expected an array, got: {error}") from error
    if array.dtype.kind not in "fiu":
        raise UserError(
            f"sinogram: expected an array of real numbers, got one of {array.dtype}: "
            "give line integrals as floating-point numbers"
        )
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UserError(
            "sinogram: expected the shape (angles, detectors) or (images, angles, detectors), got "
            f"{array.shape}: reshape it"
        )
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(array, dtype=np.float32)).reshape(-1, *array.shape[-2:])


def check_geometry(geometry: object) -> None:
    """Raise `UserError` unless it is a geometry."""
    if not isinstance(geometry, PlanarGeometry):
        raise UserError(
            "geometry: expected a gnclightning.ParallelBeam2D or FanBeam2D, got "
            f"{type(geometry).__name__}: make one with for_image or from_dict"
        )


def geometry_settings(geometry: PlanarGeometry) -> GeometryConfig:
    """The settings of a geometry."""
    fan = isinstance(geometry, FanBeam2D)
    return GeometryConfig(
        beam="fan" if fan else "parallel",
        source_distance=geometry.source_distance if fan else None,
        detector_distance=geometry.detector_distance if fan else None,
        angles=len(geometry.angles),
        degrees=np.rad2deg(geometry.angles).tolist(),
        detector_count=geometry.detector_count,
        detector_spacing=geometry.detector_spacing,
        detector_offset=geometry.detector_offset,
        pixel_size=geometry.pixel_size,
        unit=geometry.unit,
    )


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Let errors name arguments in place of the settings that these became."""
    try:
        yield
    except UserError as error:
        raise UserError(in_arguments(str(error))) from error


def in_arguments(message: str) -> str:
    """A message with the names of arguments in place of those of settings."""
    pattern = "|".join(map(re.escape, _NAMES))
    return re.sub(rf"\b({pattern})\b", lambda found: _NAMES[found[0]], message)


def check_settings(settings: Sequence[str]) -> None:
    """Raise `UserError` for settings that are arguments, or that concern run folders."""
    if isinstance(settings, str):
        raise UserError(
            f"settings: expected a list of key=value, got {settings!r}: give [{settings!r}]"
        )
    for setting in settings:
        key = setting.partition("=")[0].strip()
        for name in (key, key.partition(".")[0]):
            if name in _ARGUMENTS:
                raise UserError(
                    f"settings: expected none of the arguments, got {setting}: give "
                    f"{_ARGUMENTS[name]} as an argument of reconstruct"
                )
            if name in _OF_FILES:
                raise UserError(
                    f"settings: expected settings of the reconstruction, got {setting}, which "
                    "concerns run folders: leave it out, or use gnc-reconstruct"
                )
