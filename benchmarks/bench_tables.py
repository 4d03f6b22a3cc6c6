"""Tables of docs/benchmarks.md from what `bench.py` has kept."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_rows import Rows, number, of, per_image, rate, ratio, seconds
from kept import RESULTS, header, load, row

PAGE = Path("docs/benchmarks.md")
QUALITY = 33.2
"""The published PSNR in dB, to which iterations and time are counted."""
NAMES = ("bench-cpu-1", "bench-cpu-2", "bench-cuda")
OTHERS = ("ASTRA linear", "ASTRA line", "ASTRA strip", "scikit-image", "deepinv")


def sections() -> dict[str, list[str]]:
    """The lines of each section whose result is kept."""
    known = {name: load(name) for name in NAMES if (RESULTS / f"{name}.json").is_file()}
    return {name: section(result) for name, result in known.items() if result}


def section(result: dict[str, Any]) -> list[str]:
    """All tables of one run."""
    rows: Rows = result["rows"]
    low, high = min(result["load"]), max(result["load"])
    lines = [
        f"`{result['reproduce']}`, {result['hardware']}, {result['date']}, load average {low:.1f} "
        f"to {high:.1f} (1 is one busy core), medians of {result['passes']} passes.",
    ]
    makers: list[Callable[[Rows], list[str]]] = [projector, building, solver, network, others]
    for make in makers:
        if made := make(rows):
            lines += ["", *made]
    lines += quality(result)
    if failed := result["failed"]:
        lines += ["", f"Failed, and therefore in no table: {', '.join(failed)}."]
    return lines


def projector(rows: Rows) -> list[str]:
    """Everyone's projections beside the time in which memory can be read."""
    native = of(rows, "batched", who="native")
    if not native:
        return []
    read = next((rate(entry, "bytes") for entry in of(rows, "stream")), None)
    lines = ["Projector, 60 angles, milliseconds per image."]
    if read:
        lines[0] += (
            f" Memory is read at {read / 1e9:.1f} GB/s, which bounds a single image's product from "
            "below: with the whole matrix (8 bytes per weight), and with what the native operator "
            "holds for one direction."
        )
    lines += [
        "",
        *header(
            [
                *("pixels", "batch", "", "native", "whole matrix, PyTorch", *OTHERS),
                *("ASTRA linear / native", "bound, whole matrix", "native / bound"),
                *("bound, held", "native / bound"),
            ]
        ),
    ]
    for entry in native:
        size, batch, way = entry["size"], entry["batch"], entry["way"]
        whole = seconds(rows, "batched", who="whole matrix", size=size, batch=batch, way=way)
        single = {who: seconds(rows, "one_image", who=who, size=size, way=way) for who in OTHERS}
        built = of(rows, "build", size=size)
        known = built and read and batch == 1
        bounds = [built[0][key] / 2 / read if known else None for key in ("whole", "bytes")]
        own = statistics.median(entry["seconds"])
        lines.append(
            row(
                [
                    *(str(size), str(batch), way, per_image(entry["seconds"], batch)),
                    per_image(whole, batch),
                    *(per_image(found) for found in single.values()),
                    number(ratio(single["ASTRA linear"], entry["seconds"], batch)),
                    *(
                        number(value)
                        for bound in bounds
                        for value in (bound and 1e3 * bound, bound and own / bound)
                    ),
                ]
            )
        )
    missing = [who for who in OTHERS if seconds(rows, "one_image", who=who) is None]
    if missing:
        lines += ["", f"Not measured, as they could not be installed here: {', '.join(missing)}."]
    return lines


def building(rows: Rows) -> list[str]:
    """Time to build the operator, and what it holds."""
    lines = header(["pixels", "built in, s", "held, MB", "whole matrices, MB"])
    found = of(rows, "build")
    for entry in found:
        held, whole = (f"{entry[key] / 1e6:.1f}" for key in ("bytes", "whole"))
        built = number(statistics.median(entry["seconds"]))
        lines.append(row([str(entry["size"]), built, held, whole]))
    return lines if found else []


def solver(rows: Rows) -> list[str]:
    """Algorithm 1, our evaluations beside the published ones."""
    lines = [
        "Algorithm 1 with the published evaluation pattern (`benchmarks/published.py`) and with "
        "ours, same network, same iterates:",
        "",
        *header(
            [
                *("batch", "", "s / image and iteration", "scores / iteration"),
                *("energies alone / iteration", "ours is faster by"),
            ]
        ),
    ]
    found = per_iteration(rows)
    ours = {entry["batch"]: entry["seconds"] for entry in found if entry["who"] == "ours"}
    for entry in found:
        faster = ratio(entry["seconds"], ours.get(entry["batch"]))
        lines.append(
            row(
                [
                    *(str(entry["batch"]), entry["who"]),
                    number(statistics.median(entry["seconds"])),
                    *(number(entry[key]) for key in ("gradients", "energies")),
                    "" if entry["who"] == "ours" else number(faster),
                ]
            )
        )
    return lines if found else []


def per_iteration(rows: Rows) -> Rows:
    """What an image's iteration costs: a longer run less a shorter one, in each pass."""
    found: Rows = []
    for long in of(rows, "algorithm_1"):
        who, batch = long["who"], long["batch"]
        for short in of(rows, "algorithm_1", who=who, batch=batch):
            count = batch * (long["steps"] - short["steps"])
            if count > 0:
                entry = {key: (long[key] - short[key]) / count for key in ("gradients", "energies")}
                pairs = zip(long["seconds"], short["seconds"], strict=True)
                entry["seconds"] = [(a - b) / count for a, b in pairs]
                found.append({"who": who, "batch": batch, **entry})
    return found


def network(rows: Rows) -> list[str]:
    """The network and its derivatives, and the share of what the machine can compute."""
    peaks = {entry["precision"]: rate(entry, "operations") for entry in of(rows, "peak")}
    lines = ["Network (shipped, 128x128, channels last)"]
    if peaks:
        lines[0] += "; peak is a product of 2048x2048 matrices: " + ", ".join(
            f"{peak / 1e9:.0f} GFLOP/s in {name}" for name, peak in peaks.items()
        )
    lines[0] += "."
    columns = ["", "batch", "precision", "ms / image", "GFLOP / image", "share of peak"]
    lines += ["", *header(columns)]
    found = of(rows, "network")
    for entry in found:
        batch, peak = entry["batch"], peaks.get(entry["precision"])
        share = rate(entry, "operations") / peak if peak else None
        lines.append(
            row(
                [
                    *(entry["what"], str(batch), entry["precision"]),
                    per_image(entry["seconds"], batch),
                    number(entry["operations"] / batch / 1e9),
                    number(share, ".0%").replace("%", " %"),
                ]
            )
        )
    return lines if found else []


def others(rows: Rows) -> list[str]:
    """Training, data, the 2D experiment."""
    lines: list[str] = []
    for entry in rows:
        found = statistics.median(entry["seconds"])
        if entry["test"] == "training_step":
            rate = f"{entry['images'] / found:.3g} images / s"
            lines.append(row([f"training step, {entry['kind']}, bfloat16, batch 8", rate]))
        elif entry["test"] == "phantoms":
            lines.append(row(["phantoms, generated", f"{entry['images'] / found:.3g} images / s"]))
        elif entry["test"] == "toy2d":
            cost = 1e9 * found / entry["iterations"] / entry["starts"]
            lines.append(
                row([f"2D experiment, {entry['method']}", f"{cost:.3g} ns / iteration and start"])
            )
        elif entry["test"] == "many_angles":
            text = f"{1e3 * found:.3g} ms, {entry['bytes'] / 1e6:.0f} MB held"
            lines.append(row(["A*A of an image, 512x512, 720 angles", text]))
    return [*header(["", "measured"]), *lines] if lines else []


def reached(found: Rows) -> str:
    """How many iterations the published quality takes, and whether that is known."""
    steps, target = found[-1]["steps"], f"{QUALITY} dB"
    if found[-1]["psnr"] < QUALITY:
        return f"{target} are not reached."
    if len(found) == 1:
        return f"The first row is above {target} already: the time to {target} is at most that."
    return f"{steps} iterations reach {target}."


def quality(result: dict[str, Any]) -> list[str]:
    """Iterations, time and memory to the published quality; the largest operator."""
    lines: list[str] = []
    if found := result.get("quality"):
        lines += [
            "",
            "Quality over iterations (`preconditioned`, 16 test phantoms in one batch, wall time):",
            "",
            *header(["iterations", "PSNR, dB", "SSIM", "s / image"]),
        ]
        for entry in found:
            values = [f"{entry['psnr']:.2f}", f"{entry['ssim']:.3f}", f"{entry['seconds']:.2f}"]
            lines.append(row([str(entry["steps"]), *values]))
        lines += ["", reached(found)]
    if found := result.get("throughput"):
        rate = found["images_per_minute"]
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["shares"].items())
        lines += [
            "",
            f"With so many iterations in batches of 16: {rate:.1f} images per minute, "
            f"{60 / rate:.2f} s per image in processor time ({shares}), "
            f"{found['peak_memory_mb']} MB at the peak.",
        ]
    if found := result.get("large"):
        lines += [
            "",
            f"512x512 pixels, 720 angles: built in {found['build']:.1f} s, "
            f"{found['peak_memory'] / 1e9:.2f} GB at the peak of building, projecting and "
            f"back-projecting, {found['idle_memory'] / 1e9:.2f} GB of it before.",
        ]
    return lines
