"""From a `TuneConfig` to a run folder."""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console

from gnclightning.build_measurement import build_geometry, build_images, build_measurements
from gnclightning.build_reconstruction import build_baselines, build_prior
from gnclightning.config import load_reconstruct_config, save
from gnclightning.config.baselines import Baseline
from gnclightning.experiments.commands import command
from gnclightning.experiments.tune.config import TuneConfig
from gnclightning.experiments.tune.grids import Point, grids
from gnclightning.experiments.tune.search import search
from gnclightning.experiments.tune.storage import (
    POINTS,
    Score,
    Scores,
    load,
    write_tables,
)
from gnclightning.files import replacing
from gnclightning.operators import Radon
from gnclightning.reconstruction.folder import CONFIG, choose_folder, probe_folder
from gnclightning.reconstruction.records import BatchResult
from gnclightning.reconstruction.resuming import fingerprint
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.tensors import full_float32

_FILE_BYTES = 2**20
_QUICK_PHANTOMS = 2


def run_tuning(config: TuneConfig) -> None:
    """Try what was not tried yet; fill the run folder.

    Raises:
        UserError: the run folder, the prior or a setting cannot be used.
        OSError: a file cannot be read or written.
    """
    attempt, data = _build(config)
    scores = _open(config, data)
    console = Console(stderr=True)
    best: dict[str, Point] = {}
    for method, grid in grids(config.methods, config.quick).items():

        def quality(settings: Point, method: Baseline = method) -> float:
            score = scores.find(method, settings)
            if score is None:
                score = attempt(method, settings)
                scores.add(score)
                console.print(f"{score.psnr:.2f} dB  {score.text}", highlight=False, soft_wrap=True)
            return score.psnr

        best[method] = search(grid, quality)
        write_tables(scores.folder, scores.scores, best, command("tune", config))
    for method, settings in best.items():
        score = scores.find(method, settings)
        assert score is not None
        Console().print(f"{score.psnr:.2f} dB  {score.text}", highlight=False, soft_wrap=True)


def _build(
    config: TuneConfig,
) -> tuple[Callable[[Baseline, Point], Score], dict[str, object]]:
    """What tries a point, and what its numbers depend on."""
    common = _settings(config)
    base = load_reconstruct_config(None, common)
    images = build_images(base)
    prior, metadata = build_prior(base, images)
    geometry = build_geometry(base.geometry, images.shape, images)
    operator = Radon(geometry)
    with full_float32():
        (batch,) = build_measurements(base, images, operator).batches(len(images))

    def attempt(method: Baseline, settings: Point) -> Score:
        given = [f"{method}.{key}={value}" for key, value in settings.items()]
        full = load_reconstruct_config(None, [*common, f"methods=[{method}]", *given])
        collected = _Collector()
        with full_float32():
            methods = build_baselines(full, operator, prior, metadata)
            run([batch], operator, methods, [collected])
        return _score(method, settings, collected.results)

    inputs = fingerprint(prior, images.images, images.names)
    return attempt, {"settings": common, "inputs": inputs, "threads": torch.get_num_threads()}


class _Collector(Observer):
    """Keeps what is finished."""

    def __init__(self):
        self.results: list[BatchResult] = []

    def batch_finished(self, result: BatchResult) -> None:
        self.results.append(result)


def _settings(config: TuneConfig) -> list[str]:
    """Settings of a reconstruction that all points share."""
    count = min(config.phantoms, _QUICK_PHANTOMS) if config.quick else config.phantoms
    return [
        "data.name=ellipses",
        "data.split=validation",
        f"data.count={count}",
        f"data.size={config.size}",
        f"geometry.angles={config.angles}",
        f"noise.relative={config.noise}",
        f"seed={config.seed}",
        f"prior.path={config.prior.path}",
        f"prior.evaluate_at={config.prior.evaluate_at}",
        "logger.mode=disabled",
    ]


def _score(method: Baseline, settings: Point, results: Sequence[BatchResult]) -> Score:
    rows = [row for result in results for row in result.metrics]

    def mean(name: str) -> float:
        return fmean(getattr(row, name) for row in rows)

    psnr = mean("psnr")
    return Score(
        method,
        settings,
        psnr if isfinite(psnr) else float("-inf"),
        mean("ssim"),
        mean("network_evaluations"),
        mean("operator_evaluations"),
        mean("seconds"),
    )


def _open(config: TuneConfig, data: dict[str, object]) -> Scores:
    """The run folder, made if need be, and the scores that it holds."""
    folder = Path(config.output)
    resumed = (folder / POINTS).is_file() and not config.overwrite
    if not resumed:
        choose_folder(config.output, config.overwrite)
    scores = load(folder, data) if resumed else Scores(folder, data)
    probe_folder(folder, _FILE_BYTES)
    with replacing(folder / CONFIG) as temporary:
        save(config, temporary)
    return scores
