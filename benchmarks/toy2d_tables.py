"""The tables of the 2D experiment in docs/results.md, from its kept summary."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kept import header, row

NAMES = ("global_minimum_rate", "stationary_rate", "strict_stationary_rate")
WORDS = ("global minimum", "stationary", "strictly")
METHODS = {"alg1": "Algorithm 1", "alg2": "Algorithm 2"}
SHOWN = (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2.5, 4, 6, 10)
"""Values of t_max whose nearest neighbours have a row."""
BAND = 0.75


def toy2d_tables(found: Mapping[str, Any]) -> list[str]:
    """Rates over t_max, best ones, and those of the study, as lines of Markdown."""
    values = found["alg1"]["t_max"]
    lines = [
        "",
        f"The 2D experiment, {found['starts']} starts, {found['iterations']} iterations, "
        f"{len(values)} values of t_max, of which a few (`{found['reproduce']}`):",
        "",
        *header(["t_max", *(f"{text}: {word}" for text in METHODS.values() for word in WORDS)]),
    ]
    for wanted in SHOWN:
        i = min(range(len(values)), key=lambda k: abs(math.log(values[k] / wanted)))
        rates = [found[method][name][i] for method in METHODS for name in NAMES]
        lines.append(_row(f"{values[i]:.3g}", rates))
    for method, text in METHODS.items():
        lines += ["", _best(text, values, found[method][NAMES[0]])]
    return lines + _study(found["study"])


def _best(text: str, values: Sequence[float], rates: Sequence[float]) -> str:
    best = max(range(len(rates)), key=rates.__getitem__)
    line = (
        f"{text} reaches the global minimum from at most {rates[best]:.3f} of the starts, at "
        f"t_max = {values[best]:.3g}"
    )
    band = [t for t, rate in zip(values, rates, strict=True) if rate >= BAND]
    if band:
        line += f", and from {BAND:g} or more for t_max from {band[0]:.3g} to {band[-1]:.3g}"
    return line + "."


def _study(study: Mapping[str, Any]) -> list[str]:
    heads = [f"Armijo throughout: {word}" for word in WORDS]
    heads += [f"Algorithm 1 until K: {word}" for word in WORDS]
    lines = [
        "",
        f"The descent condition after K iterations, t_max = {study['t_max']:g} (same command):",
        "",
        *header(["K", *heads]),
    ]
    columns = (study["descent_from"], study["condition_after_k"], study["algorithm_1_until_k"])
    for k, armijo, switched in zip(*columns, strict=True):
        lines.append(_row(str(k), [rates[name] for rates in (armijo, switched) for name in NAMES]))
    lines += ["", *header(["from the same starts", *WORDS])]
    for method in ("preconditioned", "nonmonotone"):
        lines.append(_row(method, [study[method][name] for name in NAMES]))
    return lines


def _row(first: str, rates: Sequence[float]) -> str:
    return row([first, *(f"{rate:.3f}" for rate in rates)])
