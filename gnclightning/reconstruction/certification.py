"""Certificates of a run, for `certificate.json` and for readers of the table."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from gnclightning.diagnostics import Inspection
from gnclightning.reconstruction.records import BatchResult, MethodResult
from gnclightning.solvers import Certificate

_OF_A_GRADIENT = 1e-3
"""Asymmetry of a score that float32 explains; that of an energy in float32 is some 1e-7."""

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


def inspections(results: Sequence[BatchResult]) -> dict[str, Inspection]:
    """The joined inspection of the prior of each method that was asked for one."""
    return _joined(results, lambda part: part.inspection)


def _joined(
    results: Sequence[BatchResult], choose: Callable[[MethodResult], T | None]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for parts in zip(*(result.methods for result in results), strict=True):
        chosen = [one for part in parts if (one := choose(part)) is not None]
        if chosen:
            found[parts[0].method] = join(chosen)
    return found


def verdicts(results: Sequence[BatchResult]) -> dict[str, str]:
    """What the certificate of each iterative method says."""
    looked = inspections(results)
    return {
        method: verdict(certificate, looked.get(method))
        for method, certificate in by_method(results).items()
    }


def report(results: Sequence[BatchResult]) -> dict[str, Any]:
    """The content of `certificate.json`: by method, a verdict and the numbers of each image."""
    names = [name for result in results for name in result.batch.names]
    looked = inspections(results)
    found, said = dict[str, Any](), verdicts(results)
    for method, certificate in by_method(results).items():
        rows = [{"image": name} for name in names]
        for part in (certificate, looked.get(method)):
            rows = [row | more for row, more in zip(rows, _rows(part, len(rows)), strict=True)]
        found[method] = {"verdict": said[method], "images": rows}
    return found


def verdict(certificate: Certificate, inspection: Inspection | None = None) -> str:
    """What the certificate says, in one sentence.

    Args:
        certificate: of all images.
        inspection: of the prior, at their last iterates.
    """
    return _steps(certificate) + _integrals(certificate, inspection)


def _steps(certificate: Certificate) -> str:
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


def _integrals(certificate: Certificate, inspection: Inspection | None) -> str:
    """What is to be known of f where it was integrated from a score."""
    if bool(certificate.integration_error.isnan().all()):
        return ""
    error = float(certificate.integration_error.nan_to_num().max())
    text = f"; f was integrated from the score, each change to within {100 * error:.2g} %"
    if inspection is None:
        return text
    asymmetry = float(inspection.asymmetry.max())
    if asymmetry <= _OF_A_GRADIENT:
        return f"{text}, and the score looks like a gradient (asymmetry {asymmetry:.1g})"
    return (
        f"{text}, but the score is no gradient (asymmetry {asymmetry:.2g}): such values depend on "
        "the path, and there need be no f that the steps descend on"
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
