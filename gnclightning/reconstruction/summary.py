"""The content of `summary.json`."""

import datetime
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gnclightning import __version__
from gnclightning.reconstruction.certification import join
from gnclightning.reconstruction.records import BatchResult, MethodResult, MetricsRow
from gnclightning.solvers import Certificate

_AVERAGED = (
    *("psnr", "ssim", "seconds", "cpu_seconds"),
    *("iterations", "network_evaluations", "operator_evaluations"),
)


def summarise(
    results: Sequence[BatchResult], images: int, wall_seconds: float, device: torch.device
) -> dict[str, Any]:
    """Means, statuses and certificates of the finished batches.

    Args:
        results: finished batches, at least one.
        images: images of the whole run.
        wall_seconds: since this process began; of a run that was gone on with, not all of it.
        device: that it runs on.

    Returns:
        Plain numbers, texts, lists and dicts. Standard deviations are those of the images at hand
        (divided by their number, not one less).
    """
    finished = sum(len(result.batch.names) for result in results)
    together = list(zip(*(result.methods for result in results), strict=True))
    return {
        "finished": finished == images,
        "images": finished,
        "images_asked_for": images,
        "methods": {parts[0].method: _method(parts) for parts in together},
        "wall_seconds": wall_seconds,
        "environment": _environment(device),
    }


def _method(parts: Sequence[MethodResult]) -> dict[str, Any]:
    rows = [row for part in parts for row in part.metrics]
    summary: dict[str, Any] = {name: _mean_std(rows, name) for name in _AVERAGED}
    summary["statuses"] = dict(Counter(row.status for row in rows))
    certificates = [part.certificate for part in parts if part.certificate is not None]
    if certificates:
        certificate = join(certificates)
        iterations = sum(row.iterations for row in rows)
        networks = sum(row.network_evaluations for row in rows)
        summary["network_evaluations_per_iteration"] = networks / max(iterations, 1)
        summary["certificate"] = _certificate(certificate)
    return summary


def _mean_std(rows: Sequence[MetricsRow], name: str) -> dict[str, float]:
    values = np.array([getattr(row, name) for row in rows], dtype=np.float64)
    with np.errstate(invalid="ignore"):  # an infinite PSNR has no standard deviation
        return {"mean": float(values.mean()), "std": float(values.std())}


def _certificate(certificate: Certificate) -> dict[str, float | int]:
    """What the runs prove about themselves, see `solvers.Certificate`.

    Means of shares and of the relative stationarity; the worst bounds; the number of fallbacks and
    failed searches, and of the images whose run was monotone, or gradient-like.
    """
    return {
        "descent_share": float(certificate.descent_share.nanmean()),
        "descent_bound": float(certificate.descent_bound.min()),
        "length_bound": float(certificate.length_bound.max()),
        "fallbacks": int(certificate.fallbacks.sum()),
        "armijo_share": float(certificate.armijo_share.nanmean()),
        "relative_stationarity": float(certificate.relative_stationarity.mean()),
        "failures": int(certificate.failures.sum()),
        "monotone": int(certificate.monotone.sum()),
        "gradient_like": int(certificate.gradient_like.sum()),
    }


def _environment(device: torch.device) -> dict[str, str | int]:
    hardware = platform.machine()
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    return {
        "date": datetime.date.today().isoformat(),
        "gnclightning": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "system": platform.system(),
        "device": device.type,
        "hardware": hardware,
        "threads": torch.get_num_threads(),
    }
