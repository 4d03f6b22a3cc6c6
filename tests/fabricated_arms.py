"""Finished arms that nothing has run: made-up numbers, no two alike, so that mix-ups show."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np

from gnclightning.config import save
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.results import Result
from gnclightning.experiments.arms.settings import configure
from gnclightning.reconstruction.records import MetricsRow, TraceRow

IMAGES, SIZE, ITERATIONS = ("a", "b"), 12, 4
ENVIRONMENT = {"date": "2026-01-01", "hardware": "none", "device": "cpu", "threads": 1}


def made_up(*words: object) -> float:
    """A number in (0, 1) that the words decide."""
    return (crc32(repr(words).encode()) + 1) / (2**32 + 1)


class FabricatedLaboratory:
    """In place of `Laboratory`: what arms would leave, with the settings that they would have."""

    def __init__(self, folder: Path, given: Sequence[str] = (), defaults: Sequence[str] = ()):
        self.folder, self.given, self.defaults = folder, given, defaults

    def run(self, arms: Sequence[Arm], later: Sequence[Arm] = ()) -> list[Result]:
        configs = configure([*arms, *later], self.given, self.defaults)
        found = []
        for arm, config in zip(arms, configs, strict=False):
            folder = self.folder / arm.name
            folder.mkdir(parents=True, exist_ok=True)
            solver = config.solver.name
            if config.solver.t_min is None:
                time = config.solver.time_for(config.noise.relative)
                config = replace(config, solver=replace(config.solver, t_min=time))
            save(config, folder / "config.yaml")
            _write(folder, arm.name, [*config.methods, solver], solver)
            found.append(Result(arm, folder, config))
        return found


def _write(folder: Path, arm: str, methods: Sequence[str], solver: str) -> None:
    metrics = [
        MetricsRow(image, method, *_metrics(arm, method, image))
        for method in methods
        for image in IMAGES
    ]
    trace = [
        TraceRow(image, solver, n, *(made_up(arm, image, n, c) for c in TraceRow._fields[3:]))
        for image in IMAGES
        for n in range(ITERATIONS)
    ]
    for name, rows in (("metrics.csv", metrics), ("trace.csv", trace)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows[0]._fields)
            writer.writerows(rows)
    likes = [{"image": image, "gradient_like": True} for image in IMAGES]
    (folder / "certificate.json").write_text(json.dumps({solver: {"images": likes}}))
    (folder / "summary.json").write_text(
        json.dumps({"methods": methods, "environment": ENVIRONMENT})
    )
    with h5py.File(folder / "reconstructions.h5", "w") as file:
        for method in ("ground_truth", *methods):
            seed = int(2**32 * made_up(method)) if method == "ground_truth" else 0
            seed = seed or int(2**32 * made_up(arm, method))
            shape = (len(IMAGES), SIZE, SIZE)
            file[method] = np.random.default_rng(seed).random(shape, dtype=np.float32)
        file["sinogram"] = np.zeros((len(IMAGES), 1, 5, 7), np.float32)


def _metrics(arm: str, method: str, image: str) -> tuple[object, ...]:
    def value(column: str) -> float:
        return made_up(arm, method, image, column)

    network = 0 if method in ("fbp", "tikhonov", "tv") else 10 + int(90 * value("network"))
    return (
        *(30 + 5 * value("psnr"), value("ssim"), 3 + int(90 * value("iterations")), network),
        *(int(900 * value("operator")), value("seconds"), "ok", value("residual")),
        *(value("alpha"), value("cpu_seconds")),
    )
