"""`rates.h5`, from which an interrupted run goes on, and `summary.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gnclightning.errors import UserError
from gnclightning.experiments.toy2d.critical_points import Minima
from gnclightning.experiments.toy2d.methods import PAPER, study_counts
from gnclightning.experiments.toy2d.rates import QUANTITIES, Rates
from gnclightning.files import write_hdf5, write_json

RATES, SUMMARY = "rates.h5", "summary.json"


@dataclass
class Results:
    """What is known, by method and t_max.

    Attributes:
        starts: along each side of the square.
        steps: iterations.
        rates: finished runs.
    """

    starts: int
    steps: int
    rates: dict[str, dict[float, Rates]] = field(default_factory=dict)

    def add(self, method: str, t_max: float, rates: Rates) -> None:
        """Keep the rates of a run."""
        self.rates.setdefault(method, {})[t_max] = rates

    def missing(self, method: str, t_max: Sequence[float]) -> list[float]:
        """Those values of t_max with which a method has not been run yet."""
        return [value for value in t_max if value not in self.rates.get(method, {})]

    def of(self, method: str, t_max: Sequence[float]) -> list[Rates]:
        """The rates of a method at these values."""
        return [self.rates[method][value] for value in t_max]

    def save(self, folder: Path) -> None:
        """Write `rates.h5`."""
        arrays: dict[str, Any] = {}
        for method, found in self.rates.items():
            t_max = sorted(found)
            arrays[f"{method}/t_max"] = np.array(t_max)
            curves = np.stack([found[value].curves for value in t_max])
            arrays |= {f"{method}/{name}": curves[:, i] for i, name in enumerate(QUANTITIES)}
            arrays[f"{method}/reached"] = np.stack([found[value].reached for value in t_max])
        attributes = {"starts": self.starts, "steps": self.steps}
        write_hdf5(folder / RATES, arrays, dict.fromkeys(arrays, "1"), attributes)


def load(folder: Path, starts: int, steps: int) -> Results:
    """The results that a folder holds; none if it has no file of them.

    Raises:
        UserError: they are of a run of another size.
    """
    results = Results(starts, steps)
    path = folder / RATES
    if not path.is_file():
        return results
    with h5py.File(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        before = {name: int(attributes[name]) for name in ("starts", "steps")}
        if before != {"starts": starts, "steps": steps}:
            raise UserError(
                f"expected results of toy2d.starts={starts} toy2d.steps={steps} in {folder}, got "
                f"{before['starts']} and {before['steps']}: give overwrite=true to begin anew, or "
                "choose another folder with output=FOLDER"
            )
        for method, group in file.items():
            curves = np.stack([group[name][()] for name in QUANTITIES], axis=1)
            rows = zip(group["t_max"][()].tolist(), curves, group["reached"][()], strict=True)
            for t_max, curve, reached in rows:
                results.add(method, t_max, Rates(curve, reached))
    return results


def summarise(
    results: Results, t_max: Sequence[float], minima: Minima, seconds: float
) -> dict[str, Any]:
    """Rates after the last iteration and the minima, for `summary.json`.

    Args:
        results: of the whole run.
        t_max: the values asked for.
        minima: of f.
        seconds: that this run took, less than the work where it went on from another.
    """
    summary: dict[str, Any] = {}
    for method in PAPER:
        last = [rates.curves[:, -1].tolist() for rates in results.of(method, t_max)]
        columns = dict(zip(QUANTITIES, map(list, zip(*last, strict=True)), strict=True))
        summary[method] = {"t_max": list(t_max), **columns}
    return summary | {
        "global_minimum": minima.points[0].tolist(),
        "local_minima": minima.points.tolist(),
        "values_at_minima": minima.values.tolist(),
        "starts": results.starts**2,
        "iterations": results.steps,
        "seconds": seconds,
    }


def summarise_study(results: Results, t_max: float) -> dict[str, Any]:
    """Rates of the study's methods after the last iteration."""

    def last(method: str) -> dict[str, float]:
        (rates,) = results.of(method, [t_max])
        return dict(zip(QUANTITIES, rates.curves[:, -1].tolist(), strict=True))

    counts = study_counts(results.steps)
    return {
        "t_max": t_max,
        "descent_from": counts,
        "condition_after_k": [last(f"descent_from_{k}") for k in counts],
        "algorithm_1_until_k": [last(f"alg1_until_{k}") for k in counts],
        "preconditioned": last("preconditioned"),
        "nonmonotone": last("nonmonotone"),
    }


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`."""
    write_json(folder / SUMMARY, summary)
