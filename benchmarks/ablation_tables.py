"""Tables and the figure of `prior_ablation.py`, from its kept results."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from ablation_groups import NOTES
from kept import header, row


def tables(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table per group, as lines of Markdown."""
    return [line for result in results for line in _table(result)]


def _table(result: Mapping[str, Any]) -> list[str]:
    arms: Mapping[str, Any] = result["arms"]
    points = max((arm["curve"] for arm in arms.values()), key=len)
    whole = [arm["curve"][-1] for arm in arms.values() if not arm["diverged"]]
    best = max(whole, key=lambda end: statistics.mean(end["gnc"]["psnr"]), default=None)
    title = f"**{result['group']}** (`{result['reproduce']}`; {result['hardware']}; "
    title += f"{result['date']})"
    if points:
        first = points[0]
        title += (
            f"; {len(first['gnc']['psnr'])} validation phantoms, for which total variation has "
            f"{_quality(first['tv'])}"
        )
    lines = [f"{title}:", ""]
    trained = any(arm["train"] for arm in arms.values())
    columns = ["million parameters", "images seen", "processor min", "arms at a time"]
    heads = [f"{p['seconds'] / 60:.3g} min" for p in points] if trained else ["PSNR, dB / SSIM"]
    lines += header(["arm", *(columns if trained else []), *heads, "difference to the best, dB"])
    for name, arm in arms.items():
        curve = arm["curve"]
        about = _training(curve) if trained else []
        cells = [_quality(point["gnc"]) for point in curve]
        cells += [""] * (len(points) - len(curve))
        lines.append(row([name, *about, *cells, _end(arm, best)]))
    note = NOTES.get(result["group"])
    return [*lines, "", *([note, ""] if note else [])]


def _end(arm: Mapping[str, Any], best: Mapping[str, Any] | None) -> str:
    """How an arm ended: what it lacks to the best one, or that it diverged."""
    if lost := arm["diverged"]:
        return f"diverged before {lost['minutes']:.3g} min: {lost['reason']}"
    end = arm["curve"][-1]
    return "" if best is None or end is best else _difference(end, best)


def _training(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """Size and work at the end, and how many arms shared the processor in the legs."""
    if not curve:
        return [""] * 4
    end, at_a_time = curve[-1], [1 + point["neighbours"] for point in curve]
    least, most = min(at_a_time), max(at_a_time)
    return [
        f"{end['parameters'] / 1e6:.2f}",
        f"{end['images']}",
        f"{end['processor_seconds'] / 60:.3g}",
        f"{most}" if least == most else f"{least} to {most}",
    ]


def _quality(values: Mapping[str, Sequence[float]]) -> str:
    psnr, ssim = (statistics.mean(values[key]) for key in ("psnr", "ssim"))
    return f"{psnr:.2f} / {ssim:.3f}"


def _difference(end: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Mean over the phantoms, which are the same, and its standard error."""
    pairs = zip(end["gnc"]["psnr"], best["gnc"]["psnr"], strict=True)
    each = [mine - other for mine, other in pairs]
    return f"{statistics.mean(each):+.2f} ± {statistics.stdev(each) / len(each) ** 0.5:.2f}"


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """PSNR over the minutes of training, a panel per group that was trained."""
    trained = [
        result
        for result in results
        if any(arm["train"] and arm["curve"] for arm in result["arms"].values())
    ]
    if not trained:
        return
    figure, axes = plt.subplots(
        1, len(trained), figsize=(4.5 * len(trained), 3.6), squeeze=False, layout="constrained"
    )
    for ax, result in zip(axes[0], trained, strict=True):
        curves = {name: arm["curve"] for name, arm in result["arms"].items() if arm["curve"]}
        for name, curve in curves.items():
            minutes = [point["seconds"] / 60 for point in curve]
            psnr = [statistics.mean(point["gnc"]["psnr"]) for point in curve]
            ax.plot(minutes, psnr, marker="o", markersize=3, label=name)
        tv = statistics.mean(next(iter(curves.values()))[-1]["tv"]["psnr"])
        ax.axhline(tv, color="grey", linestyle=":", label="total variation")
        ax.set(title=result["group"], xlabel="minutes of training", ylabel="PSNR, dB")
        ax.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
