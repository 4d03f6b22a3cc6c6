"""The tables: all methods side by side, curves, and other conditions."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from gnclightning.experiments.arms.results import Result
from gnclightning.experiments.comparison.images import (
    Duel,
    Entry,
    Trust,
    duel,
    gain,
    mean_and_error,
    trust,
)
from gnclightning.experiments.comparison.plan import (
    CONDITION_METHODS,
    CONDITIONS,
    CURVES,
    DEFAULT,
    FLOW,
    GRADIENT_LIKE,
    LONG,
    SHORT,
    SOLVER,
    UNSEEN,
)
from gnclightning.experiments.tables import Table, number, signed
from gnclightning.reconstruction.records import label

Results = Mapping[str, Result]

_MAIN = (
    *((DEFAULT, name) for name in ("fbp", "tikhonov", "tv", "plug_and_play")),
    *((LONG, name) for name in ("diffpir", "dds")),
    *((FLOW, name) for name in ("dps", "nmapg")),
    *((GRADIENT_LIKE, "gradient_descent"), (FLOW, "gnc_flow")),
    *((GRADIENT_LIKE, "gradient_like"), (SHORT, SOLVER), (DEFAULT, SOLVER)),
)
"""Arm and method of each row."""


def entry(results: Results, arm: str, method: str) -> Entry:
    """A method of an arm; the arm's title stands for its solver."""
    result = results[arm]
    title = result.arm.title if method == result.solver else label(method)
    return Entry(title, result, method)


def main_table(results: Results) -> Table:
    """All methods at 60 angles and 10 % noise."""
    reference = entry(results, DEFAULT, SOLVER)
    rows: list[list[str]] = []
    for arm, method in _MAIN:
        one = entry(results, arm, method)
        itself = (arm, method) == (DEFAULT, SOLVER)
        certified = method == one.result.solver
        trusts = list(trust(one.result).values()) if certified else []
        rows.append(
            [
                one.title,
                str(len(one.rows)),
                number(one.mean("psnr"), 2),
                number(one.mean("ssim"), 3),
                "" if itself else signed(*gain(reference, one)),
                number(one.mean("network_evaluations"), 0),
                number(one.mean("operator_evaluations"), 0),
                number(one.mean("cpu_seconds"), 2),
                _gradient_like(trusts) if trusts else "",
                number(fmean(t.residual for t in trusts), 3) if trusts else "",
            ]
        )
    columns = [
        *("method", "images", "PSNR, dB", "SSIM", "GNC above it, dB"),
        *("network evaluations", "A and A*", "processor s / image"),
        *("gradient-like", "residual"),
    ]
    return Table("All methods, 60 angles, 10 % noise", columns, rows)


class CurvePoint(NamedTuple):
    """A method with some number of steps; means over images."""

    steps: int
    network_evaluations: float
    cpu_seconds: float
    psnr: float


def curves(results: Results) -> dict[str, list[CurvePoint]]:
    """The points of each method, by increasing steps, over those images that all arms have."""
    images = list(entry(results, FLOW, "gnc_flow").rows)
    points = [*_MAIN, (LONG, SOLVER)]
    points += [(arm, method) for arm in CURVES if arm in results for method in CURVES[arm]]
    found: dict[str, dict[int, CurvePoint]] = {}
    for arm, method in points:
        one = entry(results, arm, method)
        title = _TITLES.get(method, label(method))
        steps = round(one.mean("iterations", images))
        values = [one.mean(column, images) for column in CurvePoint._fields[1:]]
        found.setdefault(title, {})[steps] = CurvePoint(steps, *values)
    return {title: [of[n] for n in sorted(of)] for title, of in found.items()}


_TITLES = {SOLVER: "GNC", "gnc_flow": "GNC, Algorithm 1", "gradient_like": "GNC, Algorithm 2"}


def curve_table(curves: Mapping[str, Sequence[CurvePoint]]) -> Table:
    """The numbers of the figure."""
    rows = [
        [title, str(steps), number(evaluations, 0), number(seconds, 2), number(psnr, 2)]
        for title, points in curves.items()
        for steps, evaluations, seconds, psnr in points
    ]
    columns = ["method", "steps", "network evaluations", "processor s / image", "PSNR, dB"]
    return Table("PSNR over processor time, the images that all methods have", columns, rows)


def condition_duels(results: Results) -> dict[str, Duel]:
    """The solver against the others, by condition."""
    small = list(entry(results, FLOW, "gnc_flow").rows)
    base = [entry(results, DEFAULT, name) for name in ("fbp", "tv", "plug_and_play")]
    base += [entry(results, LONG, "diffpir"), entry(results, DEFAULT, SOLVER)]
    found = {"60 angles, 10 % noise": duel(base, trust(results[DEFAULT]), small)}
    for arm, (title, _) in CONDITIONS.items():
        entries = _entries(results, arm)
        found[title] = duel(entries, trust(results[arm]), list(entries[-1].rows))
    entries, trusts = _entries(results, UNSEEN), trust(results[UNSEEN])
    kinds: dict[str, list[str]] = {}
    for name in entries[-1].rows:
        kinds.setdefault(name.partition("[")[0], []).append(name)
    for kind, images in kinds.items():
        found[_KINDS[kind]] = duel(entries, trusts, images)
    return found


_KINDS = {
    "shepp_logan": "Shepp-Logan",
    "ct": "real CT slices",
    "rectangles": "rectangles",
    "text": "texts",
}


def _entries(results: Results, arm: str) -> list[Entry]:
    found = [entry(results, arm, name) for name in CONDITION_METHODS]
    return [*found, Entry("GNC", results[arm], SOLVER)]


def condition_table(duels: Mapping[str, Duel]) -> Table:
    """Where the solver wins and loses, and whether it says so itself."""
    titles = list(next(iter(duels.values())).psnr)
    rows: list[list[str]] = []
    for title, one in duels.items():
        lost, won = one.warned(lambda g: g < 0), one.warned(lambda g: g >= 0)
        rows.append(
            [
                title,
                str(len(one.gains)),
                *(number(fmean(values), 2) for values in one.psnr.values()),
                signed(*mean_and_error(one.gains)),
                one.best,
                str(lost[1]),
                _gradient_like(one.trusts),
                number(fmean(t.residual for t in one.trusts), 3),
                f"{lost[0]} of {lost[1]}",
                f"{won[0]} of {won[1]}",
            ]
        )
    columns = [
        *("", "images", *(f"{title}, dB" for title in titles)),
        *("GNC above the best other, dB", "which", "GNC loses on"),
        *("gradient-like", "residual", "warned where it loses", "warned elsewhere"),
    ]
    return Table("Other conditions and other images", columns, rows)


def _gradient_like(trusts: Sequence[Trust]) -> str:
    return f"{sum(t.gradient_like for t in trusts)} of {len(trusts)}"
