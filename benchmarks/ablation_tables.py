"""Tables and the figure of `prior_ablation.py`, from its kept results."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from kept import header, row


def tables(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table per group, as lines of Markdown."""
    return [line for result in results for line in _table(result)]


def _table(result: Mapping[str, Any]) -> list[str]:
    arms: Mapping[str, Any] = result["arms"]
    ends = {name: arm["curve"][-1] for name, arm in arms.items()}
    best = max(ends, key=lambda name: statistics.mean(ends[name]["gnc"]["psnr"]))
    first = next(iter(ends.values()))
    lines = [
        f"**{result['group']}** (`{result['reproduce']}`; {result['hardware']}; {result['date']}); "
        f"{len(first['gnc']['psnr'])} validation phantoms, for which total variation has "
        f"{_quality(first['tv'])}:",
        "",
    ]
    trained = first["seconds"] is not None
    columns = ["million parameters", "images seen", "processor min", "arms at a time"]
    curve = next(iter(arms.values()))["curve"]
    heads = [f"{p['seconds'] / 60:.3g} min" for p in curve] if trained else ["PSNR, dB / SSIM"]
    lines += header(["arm", *(columns if trained else []), *heads, "difference to the best, dB"])
    for name, arm in arms.items():
        end = ends[name]
        about = _training(arm["curve"]) if trained else []
        cells = [_quality(point["gnc"]) for point in arm["curve"]]
        lines.append(row([name, *about, *cells, _difference(end, ends[best], name == best)]))
    return [*lines, ""]


def _training(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """Size and work at the end, and how many arms shared the processor in the legs."""
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


def _difference(end: Mapping[str, Any], best: Mapping[str, Any], same: bool) -> str:
    """Mean over the phantoms, which are the same, and its standard error."""
    if same:
        return ""
    pairs = zip(end["gnc"]["psnr"], best["gnc"]["psnr"], strict=True)
    each = [mine - other for mine, other in pairs]
    return f"{statistics.mean(each):+.2f} ± {statistics.stdev(each) / len(each) ** 0.5:.2f}"


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """PSNR over the minutes of training, a panel per group that was trained."""
    trained = [
        result
        for result in results
        if all(arm["curve"][0]["seconds"] is not None for arm in result["arms"].values())
    ]
    if not trained:
        return
    figure, axes = plt.subplots(
        1, len(trained), figsize=(4.5 * len(trained), 3.6), squeeze=False, layout="constrained"
    )
    for ax, result in zip(axes[0], trained, strict=True):
        for name, arm in result["arms"].items():
            minutes = [point["seconds"] / 60 for point in arm["curve"]]
            psnr = [statistics.mean(point["gnc"]["psnr"]) for point in arm["curve"]]
            ax.plot(minutes, psnr, marker="o", markersize=3, label=name)
        tv = statistics.mean(next(iter(result["arms"].values()))["curve"][-1]["tv"]["psnr"])
        ax.axhline(tv, color="grey", linestyle=":", label="total variation")
        ax.set(title=result["group"], xlabel="minutes of training", ylabel="PSNR, dB")
        ax.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
