"""Reconstruction from Python: a sinogram in, images with their trace and certificate out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike, fspath
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.arguments import (
    check_geometry,
    check_settings,
    geometry_settings,
    in_arguments,
    naming_arguments,
    stacked,
)
from gnclightning.build_reconstruction import build_device, effective_config, prepare
from gnclightning.build_scan import check_coverage, check_noise, in_units_of_images
from gnclightning.config import ReconstructConfig, load_reconstruct_config
from gnclightning.config.images import SinogramDataConfig
from gnclightning.data.sinograms import SinogramSet
from gnclightning.diagnostics import Inspection
from gnclightning.operators import PlanarGeometry
from gnclightning.reconstruction import certification
from gnclightning.reconstruction.notebook import NotebookBar
from gnclightning.reconstruction.records import BatchResult, MethodResult, TraceRow, mean_name
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.starts import RESIDUAL, STD
from gnclightning.solvers import Certificate
from gnclightning.tensors import full_float32

ArrayT = TypeVar("ArrayT", NDArray[Any], Tensor)

Method = Literal["preconditioned", "gradient_like", "gnc_flow", "gradient_descent"]


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
        inspection: what the prior is like at the last iterates, tensors (images,): whether its
            score is a gradient; None for an energy, unless certificate.level=full.
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
    inspection: Inspection | None
    status: list[str]
    config: ReconstructConfig

    @property
    def verdict(self) -> str:
        """What the certificate says, in one sentence."""
        return certification.verdict(self.certificate, self.inspection)


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
    stack = stacked(sinogram)
    check_geometry(geometry)
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
    check_settings(settings)
    names = tuple(str(number) for number in range(len(stack)))
    measured = SinogramSet(stack[:, None], names, tuple(range(len(names))))
    with naming_arguments():
        config = load_reconstruct_config(None, [*(f"{k}={v}" for k, v in given.items()), *settings])
        if loud := check_noise(config):
            warnings.warn(in_arguments(loud), stacklevel=2)
        config = replace(config, geometry=geometry_settings(geometry))
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
        inspection=certification.inspections(results).get(name),
        status=[row.status for part in found for row in part.metrics],
        config=config,
    )
