"""Measures what docs/results.md states, and writes its tables.

    python benchmarks/results.py run NAME ...   # one or more of the experiments; `all` for all
    python benchmarks/results.py table          # docs/results/*.json -> tables in docs/results.md

Each experiment runs the command line that its entry shows and keeps the summary in
docs/results/NAME.json, so a table can always be made anew from files, and each line reproduced.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import torch
from kept import keep, load, metrics, reconstruct, write_section
from toy2d_tables import toy2d_tables

from gnclightning.baselines import total_variation, tv_weight
from gnclightning.data.ellipses import phantoms
from gnclightning.experiments.toy2d.program import toy2d as toy2d_program
from gnclightning.metrics import psnr, ssim
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.reconstruction.measurement import Stream, image_seed

COMMANDS: dict[str, list[str]] = {
    "preconditioned": ["data.count=100"],
    "preconditioned_32": ["data.count=32", "methods=[]"],
    "gnc_flow": ["data.count=32", "solver.name=gnc_flow", "methods=[]"],
    "gradient_like": ["data.count=32", "solver.name=gradient_like", "methods=[]"],
    "gradient_descent": ["data.count=32", "solver.name=gradient_descent", "methods=[]"],
    "noise_20": ["data.count=16", "noise.relative=0.2"],
    "noise_5": ["data.count=16", "noise.relative=0.05"],
    "noise_1": ["data.count=16", "noise.relative=0.01"],
    "noise_0.1": ["data.count=16", "noise.relative=0.001"],
    "batch_1": ["data.count=4", "batch_size=1"],
    "batch_8": ["data.count=8", "batch_size=8"],
}
"""Settings of the runs that are a command line and nothing else."""

VALIDATION = ["data.split=validation", "data.count=8", "methods=[]"]
LEVELS = (0.2, 0.1, 0.05, 0.01, 0.001)
"""Relative noise levels at which the settings of the last step are compared."""
LAST_STEPS: dict[str, tuple[int | None, float]] = {
    "Tweedie's mean, t_min = 0.15 noise, at least 1e-3": (0, 0.15),
    "one step, t_min = 0.15 noise": (1, 0.15),
    "one step, t_min = 0.25 noise": (1, 0.25),
    "four steps, t_min = 0.25 noise": (4, 0.25),
    "eight steps, t_min = 0.25 noise": (8, 0.25),
    "steps by the noise, t_min = 0.25 noise (default)": (None, 0.25),
}
"""`solver.mean_steps`, None for its default, and t_min in units of the noise level."""
VARIED = (
    "alpha.gain=0.3",
    "alpha.gain=3",
    "alpha.value=0.35",
    "alpha.value=0.7",
    "solver.damping=1",
    "solver.damping=4",
    "solver.cg_steps=8",
    "solver.steps=20",
    "solver.steps=40",
    "solver.schedule=linear",
    "prior.evaluate_at=scaled",
)
"""Settings changed one at a time."""

STARTS, START_IMAGES = 10, 10
TV_BATCH = 20
TV_FACTORS = (0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0)


def run_command(name: str, settings: list[str]) -> dict[str, Any]:
    """Run a reconstruction in the folder of an experiment."""
    return reconstruct(settings, Path("runs/results") / name)


def starts() -> dict[str, Any]:
    """PSNR and SSIM of ten images from ten random starts each, same noise."""
    table: list[dict[str, list[float]]] = []
    for start in range(STARTS):
        settings = [f"data.count={START_IMAGES}", "methods=[]", f"start_seed={start}"]
        run_command("starts", settings)
        rows = metrics(Path("runs/results/starts"))
        table.append({key: [float(row[key]) for row in rows] for key in ("psnr", "ssim")})
    spread = {
        f"mean_std_{key}": statistics.mean(
            statistics.stdev(run[key][i] for run in table) for i in range(START_IMAGES)
        )
        for key in ("psnr", "ssim")
    }
    return {"starts": STARTS, "images": START_IMAGES, **spread}


def tuned_tv(count: int = 100) -> dict[str, Any]:
    """TV on the 100 test images, its weight factor tuned on these very images."""
    truth = torch.from_numpy(phantoms(range(count), 0, "test"))
    operator = Radon(ParallelBeam2D.for_image(128, 60))
    seeds = [image_seed(0, Stream.NOISE, i) for i in range(count)]
    y, sigma = add_noise(operator(truth), relative=0.1, seeds=seeds)
    scores: dict[str, dict[str, float]] = {}
    for factor in TV_FACTORS:
        weight = factor * tv_weight(sigma)
        parts = range(0, count, TV_BATCH)
        found = torch.cat(
            [
                total_variation(operator, y[i : i + TV_BATCH], weight[i : i + TV_BATCH]).image
                for i in parts
            ]
        )
        scores[str(factor)] = {
            "psnr": psnr(found, truth).mean().item(),
            "ssim": ssim(found, truth).mean().item(),
        }
    best = max(scores, key=lambda factor: scores[factor]["psnr"])
    return {"images": count, "factors": scores, "best_factor": best, **scores[best]}


def ct_slice() -> dict[str, Any]:
    """The real CT slice of the demonstration, which is like nothing the prior was trained on."""
    result = run_command("ct_slice", ["data.name=demo", "data.count=9"])
    rows = [row for row in metrics(Path("runs/results/ct_slice")) if row["image"] == "CT_small"]
    scores = {r["method"]: {key: float(r[key]) for key in ("psnr", "ssim")} for r in rows}
    return {"command": result["command"], "scores": scores}


def settings() -> dict[str, Any]:
    """Eight validation phantoms with other settings of the default method."""

    def quality(*changed: str) -> dict[str, float]:
        found = run_command("settings", [*VALIDATION, *changed])["methods"]["preconditioned"]
        return {key: found[key]["mean"] for key in ("psnr", "ssim")}

    last = {
        name: {
            str(level): quality(
                f"noise.relative={level}",
                f"solver.mean_steps={'null' if steps is None else steps}",
                f"solver.t_min={max(share * level, 1e-3):g}",
            )
            for level in LEVELS
        }
        for name, (steps, share) in LAST_STEPS.items()
    }
    return {"last_step": last, "varied": {text: quality(text) for text in VARIED}}


def toy2d() -> dict[str, Any]:
    """The 2D experiment at full size with its study; goes on where an interrupted run was."""
    output = Path("runs/results/toy2d")
    arguments = ["toy2d.study=true", f"output={output}"]
    if toy2d_program(arguments) != 0:
        raise SystemExit("toy2d failed")
    shutil.copy(output / "fig1.png", "docs/images/toy2d.png")
    shutil.copy(output / "study.png", "docs/images/toy2d-study.png")
    summary = json.loads((output / "summary.json").read_text())
    command = "python -m gnclightning.experiments.toy2d " + " ".join(arguments)
    return {"command": command, **summary}


EXTRA = {
    "toy2d": toy2d,
    "settings": settings,
    "tuned_tv": tuned_tv,
    "starts": starts,
    "ct_slice": ct_slice,
}


def run(names: list[str]) -> None:
    """Run experiments and keep their summaries."""
    for name in [*COMMANDS, *EXTRA] if names == ["all"] else names:
        result = EXTRA[name]() if name in EXTRA else run_command(name, COMMANDS[name])
        keep(name, result, f"python benchmarks/results.py run {name}")


def method_rows() -> list[str]:
    """A row for each method of each experiment."""
    lines = [
        "| method | images | PSNR, dB | SSIM | iterations | "
        "network evaluations / iteration, last step included | "
        "processor s / image | threads | command |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in COMMANDS:
        result = load(name)
        if result is None:
            continue
        for method, values in result["methods"].items():
            per_iteration = values.get("network_evaluations_per_iteration")
            lines.append(
                f"| {method} ({name}) | {result['images']} | {values['psnr']['mean']:.2f} | "
                f"{values['ssim']['mean']:.3f} | {values['iterations']['mean']:.0f} | "
                + (f"{per_iteration:.2f}" if per_iteration else "")
                + f" | {_time(values)} | {result['hardware'].split()[0]} | "
                f"`{result['reproduce']}` |"
            )
    return lines


def _time(values: dict[str, Any]) -> str:
    """Processor time of an image, or where it was not measured the time of the clock."""
    if values.get("cpu_seconds"):
        return f"{values['cpu_seconds']['mean']:.2f}"
    return f"{values['seconds']['mean']:.2f} (clock)"


def settings_tables() -> list[str]:
    """What other settings of the default method do, on validation phantoms."""
    found = load("settings")
    if found is None:
        return []

    def cell(quality: dict[str, float]) -> str:
        return f"{quality['psnr']:.2f} / {quality['ssim']:.3f}"

    heads = [f"{100 * level:g} % noise" for level in LEVELS]
    lines = [
        "",
        f"Settings, on eight validation phantoms (`{found['reproduce']}`), PSNR in dB / SSIM:",
        "",
        "| last step | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(LEVELS),
    ]
    for name, row in found["last_step"].items():
        lines.append(f"| {name} | " + " | ".join(cell(row[str(level)]) for level in LEVELS) + " |")
    lines += ["", "| changed, at 10 % noise | quality |", "| --- | --- |"]
    return lines + [f"| `{text}` | {cell(quality)} |" for text, quality in found["varied"].items()]


def table() -> None:
    """Write the generated part of docs/results.md."""
    lines = method_rows()
    if tv := load("tuned_tv"):
        lines += [
            "",
            f"TV with its weight tuned on these {tv['images']} images "
            f"({tv['best_factor']} times the default): {tv['psnr']:.2f} dB, SSIM {tv['ssim']:.3f} "
            f"(`{tv['reproduce']}`).",
        ]
        if gnc := load("preconditioned"):
            found = gnc["methods"]["preconditioned"]
            lines += [
                f"GNC is {found['psnr']['mean'] - tv['psnr']:+.2f} dB and "
                f"{found['ssim']['mean'] - tv['ssim']:+.3f} SSIM from it."
            ]
    if spread := load("starts"):
        lines += [
            "",
            f"Spread over {spread['starts']} random starts on {spread['images']} images: mean "
            f"standard deviation {spread['mean_std_psnr']:.3f} dB, SSIM "
            f"{spread['mean_std_ssim']:.4f} (`{spread['reproduce']}`).",
        ]
    if real := load("ct_slice"):
        scores = ", ".join(
            f"{method} {score['psnr']:.2f} dB / {score['ssim']:.3f}"
            for method, score in real["scores"].items()
        )
        lines += ["", f"The real CT slice: {scores} (`{real['reproduce']}`)."]
    lines += settings_tables()
    if toy := load("toy2d"):
        lines += toy2d_tables(toy)
    known = [r for n in [*COMMANDS, *EXTRA] if (r := load(n))]
    if known:
        dates = sorted(r["date"] for r in known)
        hardware = " or ".join(sorted({r["hardware"] for r in known}))
        lines += ["", f"Measured {dates[0]} to {dates[-1]} on {hardware}."]
    write_section("generated", lines)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("names", nargs="+", choices=[*COMMANDS, *EXTRA, "all"])
    commands.add_parser("table")
    arguments = parser.parse_args()
    run(arguments.names) if arguments.command == "run" else table()


if __name__ == "__main__":
    main()
