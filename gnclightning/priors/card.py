"""What a folder of weights says about itself to people: a model card in Hugging Face's layout.

Everything in it is read from the weights' own description, so that the two cannot differ.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from gnclightning.priors.metadata import VALIDATION, PriorMetadata
from gnclightning.priors.network import Form, NetworkEnergy, NetworkPrior

LIBRARY = "gnclightning"
_ORIGINS = {"initialised_from": "start", "teacher": "teacher"}
_ENERGIES = {
    Form.PAPER: "1/2 |h(x, t)|^2 of the noise prediction h of a network",
    Form.SCALED: "1/2 |h(x, t)|^2 of nu_t^(1/2) times the noise prediction h of a network",
    Form.GRADIENT_STEP: "1/2 |(x - gamma_t D(x, t)) / nu_t|^2 of a denoiser D",
}


def model_card(prior: NetworkPrior, metadata: PriorMetadata, license: str) -> str:
    """The text of `README.md`: YAML front matter, then Markdown.

    Args:
        prior: the prior.
        metadata: its description.
        license: of the weights, one of Hugging Face's identifiers.
    """
    is_energy = isinstance(prior, NetworkEnergy)
    front = {
        "license": license,
        "library_name": LIBRARY,
        "pipeline_tag": "image-to-image",
        "tags": [
            "computed-tomography",
            "inverse-problems",
            "diffusion",
            "energy-based-model" if is_energy else "score-based-model",
        ],
    }
    height, width = metadata.image_shape
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# Diffusion prior, {height} x {width}, {prior.parametrisation}",
        _purpose(is_energy),
        _table(("", ""), _facts(prior, metadata)),
        "## Training",
        _table(*_training(metadata.training)),
        "## Metrics",
        _metrics(metadata.training.get(VALIDATION)),
        "## Use",
        _use(is_energy),
        "## Limits",
        _limits(metadata, is_energy),
    ]
    return "\n\n".join(sections) + "\n"


def is_card(text: str) -> bool:
    """Whether a text is a model card of this package."""
    return text.startswith("---\n") and f"\nlibrary_name: {LIBRARY}\n" in text


def _purpose(is_energy: bool) -> str:
    if is_energy:
        return (
            "An energy of CT images whose negative gradient is the score of images with noise. It\n"
            "regularises reconstructions from sparse and noisy sinograms, by the solvers of\n"
            "gnclightning, which certify their convergence (arXiv 2404.18699)."
        )
    return (
        "The score of CT images with noise, for gnclightning (arXiv 2404.18699). It regularises\n"
        "reconstructions, by solvers that integrate it; an energy starts from it or learns from it."
    )


def _facts(prior: NetworkPrior, metadata: PriorMetadata) -> Iterator[tuple[str, str]]:
    height, width = metadata.image_shape
    low, high = metadata.intensity_range
    network = prior.network
    yield "image", f"{height} x {width} pixels of {metadata.pixel_size:g} {metadata.length_unit}"
    yield "values", f"{low:g} to {high:g}, {metadata.intensity_unit}"
    yield "SDE", f"{type(prior.sde).__name__}: {_shown(prior.sde.to_dict())}"
    yield (
        ("energy", f"`{prior.form.value}`: {_ENERGIES[prior.form]}")
        if isinstance(prior, NetworkEnergy)
        else ("score", f"-h(x, t) / nu_t of a noise prediction h (`{prior.form.value}`)")
    )
    yield "network", f"U-Net: {_shown(network.config.to_dict())}"
    yield "parameters", str(sum(p.numel() for p in network.parameters()))
    yield (
        "flips and turns",
        "as likely as the images themselves" if metadata.symmetric else "nothing known",
    )
    yield "written by", f"{LIBRARY} {metadata.version}"


def _training(training: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """A column for these weights, behind one for each that they started or learnt from."""
    phases = list(_phases(training, "these weights"))[::-1]
    left_out = {*_ORIGINS, VALIDATION}
    keys = dict.fromkeys(key for _, phase in phases for key in phase if key not in left_out)
    head = ("", *(f"{number}. {title}" for number, (title, _) in enumerate(phases, 1)))
    rows = (
        (key.replace("_", " "), *(_shown(phase.get(key, "")) for _, phase in phases))
        for key in keys
    )
    return head, rows


def _phases(training: Mapping[str, Any], title: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """From the last to the first, each before what it came from."""
    yield title, training
    for key, origin in _ORIGINS.items():
        if training.get(key):
            yield from _phases(training[key], origin)


def _metrics(validation: Mapping[str, Any] | None) -> str:
    if not validation:
        return "None was measured while these weights were trained."
    rows = ((key.replace("_", " "), _shown(value)) for key, value in validation.items())
    return (
        "Means over validation images, which training did not see, reconstructed from simulated\n"
        f"parallel beams:\n\n{_table(('', ''), rows)}"
    )


def _use(is_energy: bool) -> str:
    lines = [
        "import gnclightning",
        "",
        'prior, metadata = gnclightning.from_pretrained("FOLDER")  # the one with this file',
    ]
    if is_energy:
        lines.append("energy, score = prior.energy_and_score(x, t)  # (B, 1, rows, columns), (B,)")
    else:
        lines.append("score = prior.score(x, t)  # (B, 1, rows, columns), (B,)")
    lines.append('found = gnclightning.reconstruct(sinogram, geometry, prior="FOLDER")')
    return "\n".join(["```python", *lines, "```"])


def _limits(metadata: PriorMetadata, is_energy: bool) -> str:
    height, width = metadata.image_shape
    low, high = metadata.intensity_range
    limits = [
        f"Only images of {height} x {width} pixels, with values from {low:g} to {high:g} mapped "
        "as in training.",
        "Of images unlike those that it was trained on it may remove structure, or add some that "
        "is not there.",
        "For research, not for diagnosis.",
    ]
    if not is_energy:
        limits.append(
            "It has no energy: what a certificate says holds as far as the score is a gradient."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def _shown(value: object) -> str:
    """A value of a description in words; numbers as they are written there."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "none" if value is None else str(value)
