"""Judges the priors of `prior_ablation.py` by what they reconstruct."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from ablation_plan import Plan
from kept import command, metrics, reconstruct, reconstruction

import gnclightning
from gnclightning.priors import from_pretrained

TRAINING = ("seconds", "images", "processor_seconds", "neighbours")
"""What is kept of the training with the weights (`ablation_training.Leg.keep`)."""

PACKAGE = Path(gnclightning.__file__).parent


@cache
def source() -> str:
    """Digest of the package's code, which holds the defaults too."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(file.relative_to(PACKAGE)).encode() + file.read_bytes())
    return digest.hexdigest()


def judge(prior: str | Path, folder: Path, plan: Plan, settings: tuple[str, ...]) -> dict[str, Any]:
    """What reconstructions of validation phantoms are like.

    Kept in `folder`, and made again only for other weights, settings or code.
    """
    weights, metadata = from_pretrained(prior)
    arguments = [
        "data.split=validation",
        f"data.count={plan.images}",
        f"data.size={plan.size}",
        f"prior.path={prior}",
        "methods=[tv]",
        "progress=false",
        *plan.solve,
        *settings,
    ]
    digest = hashlib.sha256(repr((reconstruction(arguments, folder), source())).encode())
    for value in weights.state_dict().values():
        digest.update(value.numpy().tobytes())
    output = folder / f"judged-{digest.hexdigest()[:12]}"
    if not (output / "summary.json").is_file():
        reconstruct(arguments, output)
    quality = {
        method: {
            key: [float(row[key]) for row in metrics(output) if (row["method"] == "tv") == other]
            for key in ("psnr", "ssim")
        }
        for method, other in (("gnc", False), ("tv", True))
    }
    training = {key: metadata.training.get(f"arm_{key}") for key in TRAINING}
    parameters = sum(p.numel() for p in weights.parameters())
    made = command(reconstruction(arguments, output))
    return {**training, "parameters": parameters, "reconstruction": made, **quality}
