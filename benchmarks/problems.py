"""Runs what docs/problems.md and docs/operators.md show: pictures and tables.

    python benchmarks/problems.py run NAME ...   # one or more of them; `all` for all
    python benchmarks/problems.py table          # docs/results/problem_*.json -> the pages

Each is its file in configs/reconstruct, or the projections of another back end (docs/operators.md).
The picture is the run's own figure with fewer greys.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from kept import header, keep, load, row, write_section
from PIL import Image

from gnclightning import cli

FILES = {
    "fan_beam": "Fan beam",
    "denoising": "Denoising",
    "inpainting": "Inpainting",
    "deblurring": "Deblurring",
    "super_resolution": "Super-resolution",
    "fourier": "Fourier coefficients",
}
"""Names of files in configs/reconstruct, and what they are called."""
BACKENDS = {
    "native": "`operator.backend=native`",
    "astra": "`operator.backend=astra operator.kernel=strip`",
}
NAMES = [*FILES, *BACKENDS]
IMAGES = Path("docs/images")
_GREYS = 48


def run(name: str) -> None:
    """Reconstruct, keep the summary, and make the picture."""
    output = Path("runs/problems") / name
    given = ["--config", f"configs/reconstruct/{name}.yaml"]
    if name in BACKENDS:
        given = ["data.name=ellipses", "data.count=4", *BACKENDS[name].strip("`").split()]
    settings = [f"output={output}", "overwrite=true", "logger.mode=disabled"]
    if cli.reconstruct([*given, *settings]) != 0:
        raise SystemExit(f"the reconstruction in {output} failed")
    summary = json.loads((output / "summary.json").read_text())
    reproduce = f"python benchmarks/problems.py run {name}"
    command = {"command": f"python reconstruct.py {' '.join(given)}"}
    keep(f"problem_{name}", command | summary, reproduce)
    with Image.open(output / "figures" / "reconstructions.png") as figure:
        picture = figure.convert("L").quantize(_GREYS, dither=Image.Dither.NONE)
    picture.save(IMAGES / f"problem_{name}.png", optimize=True)


def table() -> None:
    """A line for each that was run."""
    found = {title: load(f"problem_{name}") for name, title in (FILES | BACKENDS).items()}
    lines = header(["problem", "direct", "TV", "GNC", "GNC, seconds", "gradient-like"])
    lines += [_line(title, result) for title, result in found.items() if result]
    write_section("problems", lines, Path("docs/problems.md"))


def _line(title: str, result: dict[str, Any]) -> str:
    methods = list(result["methods"].items())
    cells = [f"{m['psnr']['mean']:.2f} / {m['ssim']['mean']:.3f}" for _, m in methods]
    cells[0] += f" ({methods[0][0].replace('_', '-')})"
    last = methods[-1][1]
    good = f"{last['certificate']['gradient_like']} of {result['images']}"
    return row([title, *cells, f"{last['seconds']['mean']:.1f}", good])


def main() -> None:
    """Run problems, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["run", "table"])
    parser.add_argument("names", nargs="*", choices=[*NAMES, "all"], default="all")
    arguments = parser.parse_args()
    if arguments.task == "run":
        for name in NAMES if "all" in arguments.names else arguments.names:
            run(name)
    table()


if __name__ == "__main__":
    main()
