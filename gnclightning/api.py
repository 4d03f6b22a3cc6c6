"""Reconstruction from Python: a sinogram in, images with their trace and certificate out."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike, fspath
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.build_reconstruction import build_device, effective_config, prepare
from gnclightning.build_scan import check_coverage, check_noise, in_units_of_images
from gnclightning.config import ReconstructConfig, load_reconstruct_config
from gnclightning.config.baselines import Baseline
from gnclightning.config.geometry import GeometryConfig
from gnclightning.config.images import SinogramDataConfig
from gnclightning.data.sinograms import SinogramSet
from gnclightning.errors import UserError
from gnclightning.operators import FanBeam2D, PlanarGeometry
from gnclightning.reconstruction import certification
from gnclightning.reconstruction.notebook import NotebookBar
from gnclightning.reconstruction.records import BatchResult, MethodResult, TraceRow, mean_name
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.starts import RESIDUAL, STD
from gnclightning.solvers import Certificate
from gnclightning.tensors import full_float32

ArrayT = TypeVar("ArrayT", NDArray[Any], Tensor)

Method = Literal["preconditioned", "gradient_like", "gnc_flow", "gradient_descent"]

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
    *get_args(Baseline),
)
"""Settings of run folders, and of reconstructions that are not made here."""


@dataclass(frozen=True, eq=False)
class Reconstruction(Generic[ArrayT]):
    """What `reconstruct` returns.

    Arrays are float32, of the kind that the sinogram was (NumPy, or PyTorch on its device), and
    have a leading dimension if it had one. Image values are in units of `white`.

    Attributes:
        image: the reconstruction, ([images,] rows, columns).
        fbp: filtered back-projection, likewise.
        mean: with several starts the mean of what they gave, likewise; else None.
        std: the standard deviation of what they gave, likewise; else None.
        residual: A mean - y, in units of the sinogram, ([images,] angles, detectors); else None.
        noise: standard deviation of the noise in units of the sinogram, (images,) float64.
        trace: a row per image and iteration; `pandas.DataFrame(found.trace)` makes a table of it.
        certificate: what the run proves about itself, tensors (images,); see docs/theory.md.
        status: why the run of each image ended.
        config: all settings, with what the data decided.
    """

    image: ArrayT
    fbp: ArrayT
    mean: ArrayT | None
    std: ArrayT | None
    residual: ArrayT | None
    noise: NDArray[np.float64]
    trace: list[TraceRow]
    certificate: Certificate
    status: list[str]
    config: ReconstructConfig

    @property
    def verdict(self) -> str:
        """What the certificate says, in one sentence."""
        return certification.verdict(self.certificate)


def reconstruct(
    sinogram: ArrayT,
    geometry: PlanarGeometry,
    prior: str | PathLike[str] = "ellipses-128",
    method: Method = "preconditioned",
    *,
    noise: float | None = None,
    white: float = 1.0,
    starts: int = 1,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 8,
    progress: bool = False,
    settings: Sequence[str] = (),
) -> Reconstruction[ArrayT]:
    """Reconstruct images from measured sinograms, as `gnc-reconstruct data.name=sinogram` does.

    Args:
        sinogram: line integrals, (angles, detectors) or (images, angles, detectors), real.
        geometry: where they were measured, a `ParallelBeam2D` or `FanBeam2D`; its image has the
            size that the prior was trained on.
        prior: name of shipped weights, or a file or folder of weights.
        method: the solver.
        noise: standard deviation of the noise as a part of the mean absolute value of a sinogram;
            None estimates it.
        white: value of the image, such as attenuation per `geometry.unit`, that becomes 1.
        starts: random starts of each image; from 2 on with mean, standard deviation and residual.
        seed: seed of the random starts.
        device: "cpu", "cuda" or "auto": that of a tensor on a GPU, else a GPU if there is one.
        batch_size: images, or starts of images, that are computed together.
        progress: whether to show a progress bar.
        settings: further settings, as on the command line: `["solver.steps=20"]`.

    Raises:
        UserError: an argument, or how they fit each other; one line says what was expected.
        OSError: the weights cannot be read.
    """
    stack = _stack(sinogram)
    _check_geometry(geometry)
    if narrow := check_coverage(geometry):
        warnings.warn(narrow, stacklevel=2)
    given = {
        "data.name": "sinogram",
        "data.path": "array",
        "data.white": white,
        "prior.path": fspath(prior),
        "solver.name": method,
        "noise.relative": "null" if noise is None else noise,
        "starts": starts,
        "seed": seed,
        "device": device,
        "batch_size": batch_size,
        "methods": "[]",
        "logger.mode": "disabled",
    }
    _check_settings(settings)
    names = tuple(str(number) for number in range(len(stack)))
    measured = SinogramSet(stack[:, None], names, tuple(range(len(names))))
    with _in_terms_of_arguments():
        config = load_reconstruct_config(None, [*(f"{k}={v}" for k, v in given.items()), *settings])
        if loud := check_noise(config):
            warnings.warn(_in_arguments(loud), stacklevel=2)
        config = replace(config, geometry=_described(geometry))
        config, source = in_units_of_images(config, measured)
        on = _device(sinogram, device)
        ready = prepare(config, source, on, geometry)
    assert isinstance(config.data, SinogramDataConfig)
    unit = config.data.white * geometry.pixel_size
    results = _Results()
    observers: list[Observer] = [results]
    if progress:
        observers.append(NotebookBar(len(names), ready.config.solver.steps))
    with full_float32():
        batches = ready.measurements.batches(ready.config.images_at_once)
        operator = ready.measurements.operator
        run(batches, operator, ready.methods, observers, limit=ready.limit)
    effective = effective_config(ready.config, geometry, on)
    return _assemble(results.finished, sinogram, unit, effective)


class _Results(Observer):
    """Keeps what is finished."""

    def __init__(self):
        self.finished: list[BatchResult] = []

    def batch_finished(self, result: BatchResult) -> None:
        self.finished.append(result)


def _stack(sinogram: object) -> Tensor:
    """Sinograms (images, angles, detectors), float32, on the CPU."""
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


def _check_geometry(geometry: object) -> None:
    if not isinstance(geometry, PlanarGeometry):
        raise UserError(
            "geometry: expected a gnclightning.ParallelBeam2D or FanBeam2D, got "
            f"{type(geometry).__name__}: make one with for_image or from_dict"
        )


def _described(geometry: PlanarGeometry) -> GeometryConfig:
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
def _in_terms_of_arguments() -> Iterator[None]:
    """Let errors name arguments in place of the settings that these became."""
    try:
        yield
    except UserError as error:
        raise UserError(_in_arguments(str(error))) from error


def _in_arguments(message: str) -> str:
    pattern = "|".join(map(re.escape, _NAMES))
    return re.sub(rf"\b({pattern})\b", lambda found: _NAMES[found[0]], message)


def _check_settings(settings: Sequence[str]) -> None:
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


def _device(sinogram: object, name: str) -> torch.device:
    if name == "auto" and isinstance(sinogram, Tensor) and sinogram.device.type != "cpu":
        return sinogram.device
    return build_device(name)


def _assemble(
    results: Sequence[BatchResult], sinogram: ArrayT, unit: float, config: ReconstructConfig
) -> Reconstruction[ArrayT]:
    """Join the batches, in the form of the sinogram."""
    name = config.solver.name
    methods = [{m.method: m for m in result.methods} for result in results]
    found = [each[name] for each in methods]
    means = [each[mean_name(name)] for each in methods if mean_name(name) in each]

    def formed(parts: Sequence[Tensor]) -> Any:
        whole = torch.cat(list(parts)).squeeze(1)
        if np.ndim(sinogram) == 2:  # of lists, too
            whole = whole[0]
        return whole.to(sinogram.device) if isinstance(sinogram, Tensor) else whole.numpy()

    def of_mean(choose: Any) -> Any:
        return formed([choose(part) for part in means]) if means else None

    def residual(part: MethodResult) -> Tensor:
        return unit * part.maps[RESIDUAL]

    return Reconstruction(
        image=formed([part.x for part in found]),
        fbp=formed([result.batch.direct for result in results]),
        mean=of_mean(lambda part: part.x),
        std=of_mean(lambda part: part.maps[STD]),
        residual=of_mean(residual),
        noise=unit * torch.cat([result.batch.sigma_y for result in results]).numpy(),
        trace=list(chain.from_iterable(part.trace for part in found)),
        certificate=certification.by_method(results)[name],
        status=[row.status for part in found for row in part.metrics],
        config=config,
    )
