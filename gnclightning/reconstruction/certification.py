"""Certificates of a run, for `certificate.json` and for readers of the table."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from gnclightning.reconstruction.records import BatchResult
from gnclightning.solvers import Certificate


def join(certificates: Sequence[Certificate]) -> Certificate:
    """The certificate of all images of several batches."""
    return Certificate(
        **{
            entry.name: torch.cat([getattr(part, entry.name).cpu() for part in certificates])
            for entry in fields(Certificate)
        }
    )


def by_method(results: Sequence[BatchResult]) -> dict[str, Certificate]:
    """The joined certificate of each iterative method."""
    together = zip(*(result.methods for result in results), strict=True)
    found: dict[str, Certificate] = {}
    for parts in together:
        certificates = [part.certificate for part in parts if part.certificate is not None]
        if certificates:
            found[parts[0].method] = join(certificates)
    return found


def report(results: Sequence[BatchResult]) -> dict[str, Any]:
    """The content of `certificate.json`: by method, a verdict and the numbers of each image."""
    names = [name for result in results for name in result.batch.names]
    return {
        method: {"verdict": verdict(certificate), "images": _rows(names, certificate)}
        for method, certificate in by_method(results).items()
    }


def verdict(certificate: Certificate) -> str:
    """What the certificate says, in one sentence."""
    runs = len(certificate.gradient_like)
    good = int(certificate.gradient_like.sum())
    fallen = float(certificate.relative_stationarity.max())
    stationary = f"|grad f| fell to {fallen:.2g} of its start or less"
    if good == runs:
        return (
            f"{good} of {runs} runs gradient-like: every direction descended, every step satisfied "
            f"Armijo's rule, no search failed; {stationary}"
        )
    return (
        f"{good} of {runs} runs gradient-like: directions descended in "
        f"{_percent(certificate.descent_share)} of the iterations, steps satisfied Armijo's rule "
        f"in {_percent(certificate.armijo_share)}, {int(certificate.failures.sum())} searches "
        f"failed; {stationary}"
    )


def _percent(share: Tensor) -> str:
    return f"{100 * float(share.nanmean()):.3g} %"


def _rows(names: Sequence[str], certificate: Certificate) -> list[dict[str, Any]]:
    keys = [entry.name for entry in fields(Certificate)]
    columns = [getattr(certificate, key).tolist() for key in keys]
    return [
        {"image": name, **dict(zip(keys, values, strict=True))}
        for name, *values in zip(names, *columns, strict=True)
    ]
