"""Certificates of a run, for `certificate.json` and for readers of the table."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from gnclightning.diagnostics import Inspection
from gnclightning.reconstruction.records import BatchResult, MethodResult
from gnclightning.solvers import Certificate

T = TypeVar("T", Certificate, Inspection)


def join(parts: Sequence[T]) -> T:
    """The certificate, or inspection, of all images of several batches."""
    kind = type(parts[0])
    columns = {
        entry.name: torch.cat([getattr(part, entry.name).cpu() for part in parts])
        for entry in fields(kind)
    }
    return kind(**columns)


def by_method(results: Sequence[BatchResult]) -> dict[str, Certificate]:
    """The joined certificate of each iterative method."""
    return _joined(results, lambda part: part.certificate)


def _joined(
    results: Sequence[BatchResult], choose: Callable[[MethodResult], T | None]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for parts in zip(*(result.methods for result in results), strict=True):
        chosen = [one for part in parts if (one := choose(part)) is not None]
        if chosen:
            found[parts[0].method] = join(chosen)
    return found


def report(results: Sequence[BatchResult]) -> dict[str, Any]:
    """The content of `certificate.json`: by method, a verdict and the numbers of each image."""
    names = [name for result in results for name in result.batch.names]
    inspections = _joined(results, lambda part: part.inspection)
    found: dict[str, Any] = {}
    for method, certificate in by_method(results).items():
        rows = [{"image": name} for name in names]
        for part in (certificate, inspections.get(method)):
            rows = [row | more for row, more in zip(rows, _rows(part, len(rows)), strict=True)]
        found[method] = {"verdict": verdict(certificate), "images": rows}
    return found


def verdict(certificate: Certificate) -> str:
    """What the certificate says, in one sentence."""
    runs = len(certificate.gradient_like)
    good = int(certificate.gradient_like.sum())
    fallen = float(certificate.relative_stationarity.max())
    stationary = f"|grad f| ended at {fallen:.2g} of its start or less"
    if good == runs:
        return (
            f"{good} of {runs} runs gradient-like: every direction descended, every step satisfied "
            f"Armijo's rule, no search failed; {stationary}"
        )
    steps = f"steps satisfied Armijo's rule in {_percent(certificate.armijo_share)}"
    if bool(certificate.armijo_sum.isnan().all()):
        steps = "steps followed no rule"
    return (
        f"{good} of {runs} runs gradient-like: directions descended in "
        f"{_percent(certificate.descent_share)} of the iterations, {steps}, "
        f"{int(certificate.failures.sum())} searches failed; {stationary}"
    )


def _percent(share: Tensor) -> str:
    return f"{100 * float(share.nanmean()):.3g} %"


def _rows(part: Certificate | Inspection | None, count: int) -> list[dict[str, Any]]:
    """The fields of each image; nothing where there is no inspection."""
    if part is None:
        return [{}] * count
    keys = [entry.name for entry in fields(part)]
    columns = [getattr(part, key).tolist() for key in keys]
    return [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
