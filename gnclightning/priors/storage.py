"""Saving and loading network priors: safetensors with their description in the header.

Nothing here unpickles or downloads. A file describes itself completely, so that
`from_pretrained` needs only its path; the model card beside it repeats that for people.
"""

import json
import re
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gnclightning import __version__
from gnclightning.errors import UserError
from gnclightning.files import replacing
from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors.card import is_card, model_card
from gnclightning.priors.metadata import PriorMetadata
from gnclightning.priors.network import Form, NetworkEnergy, NetworkPrior, NetworkScore
from gnclightning.sde import from_dict

FORMAT = 1
KEY = "gnclightning"
KINDS = {kind.parametrisation: kind for kind in (NetworkScore, NetworkEnergy)}
SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
FILE, CARD = "prior.safetensors", "README.md"
"""What a folder of weights holds."""


def save_pretrained(
    prior: NetworkPrior, metadata: PriorMetadata, path: str | Path, license: str = "unknown"
) -> None:
    """Write weights and description, atomically (a reader never sees half a file).

    Args:
        prior: the prior.
        metadata: its description.
        path: a `.safetensors` file; or a folder, which gets `prior.safetensors` and a model card,
            `README.md`, in place of an earlier one: a `README.md` about something else stays.
        license: of the weights, for the model card; one of Hugging Face's identifiers.
    """
    path = Path(path)
    file = path if path.suffix == SUFFIX else path / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "parametrisation": prior.parametrisation,
        "form": prior.form.value,
        "sde": prior.sde.to_dict(),
        "network": prior.network.config.to_dict(),
        "metadata": asdict(metadata),
    }
    weights = {k: v.detach().cpu().contiguous() for k, v in prior.network.state_dict().items()}
    # Bytes written here, not by safetensors: its files are readable by their owner only.
    with replacing(file) as temporary:
        temporary.write_bytes(save(weights, metadata={KEY: json.dumps(header)}))
    card = path / CARD
    if file != path and (not card.exists() or is_card(card.read_text("utf-8", "replace"))):
        with replacing(card) as temporary:
            temporary.write_text(model_card(prior, metadata, license), encoding="utf-8")


def from_pretrained(path: str | Path) -> tuple[NetworkPrior, PriorMetadata]:
    """Load a prior, ready for inference (parameters frozen), and its description.

    Args:
        path: a `.safetensors` file, a folder that holds one, or the name of a shipped prior
            such as "ellipses-128".

    Raises:
        UserError: no such file, not a prior of this package, or weights of another network.
    """
    file = resolve(path)
    header, weights = _read(file)
    try:
        values = header["metadata"]
        for name in ("image_shape", "intensity_range"):
            values[name] = tuple(values[name])
        metadata = PriorMetadata(**values)
        network = UNet(UNetConfig(**header["network"]))
        kind, form = KINDS[header["parametrisation"]], Form(header["form"])
        prior = kind(from_dict(header["sde"]), network, form)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} describes a prior that this version cannot build ({error}); the file is "
            f"damaged, or of a later version than {__version__}"
        ) from error
    _check_weights(file, network, weights)
    network.load_state_dict(weights)
    return prior.requires_grad_(False).eval(), metadata


def shipped_priors() -> dict[str, Path]:
    """Names and files of the priors inside the package."""
    folder = Path(str(resources.files("gnclightning"))) / "weights"
    return {file.parent.name: file for file in sorted(folder.glob(f"*/{FILE}"))}


def resolve(path: str | Path) -> Path:
    """The weights file that `path` names; see `from_pretrained`."""
    shipped = shipped_priors()
    if str(path) in shipped:
        return shipped[str(path)]
    candidate = Path(path)
    if candidate.is_dir():
        return _only_file(candidate)
    if candidate.is_file():
        return candidate
    message = (
        f"no prior at {str(path)!r}; expected a {SUFFIX} file, a folder with one, or a shipped "
        f"name ({', '.join(shipped) or 'none shipped'})"
    )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not candidate.suffix:
        message += (
            "; nothing is downloaded: a repository of the Hugging Face Hub is fetched with "
            f"`hf download {path} --local-dir FOLDER`, then name FOLDER"
        )
    raise UserError(message)


def _only_file(folder: Path) -> Path:
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) == 1:
        return files[0]
    others = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    beside = (
        f" beside {', '.join(others)}, which may hold pickles and are not read" if others else ""
    )
    raise UserError(
        f"expected one {SUFFIX} file in {folder}, found {len(files)}{beside}; name the file itself"
    )


def _read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and weights of a prior file."""
    try:
        with safe_open(file, framework="pt") as handle:
            header = (handle.metadata() or {}).get(KEY)
            weights = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{file} is not a safetensors file ({error}); pickled checkpoints are never loaded, "
            "export a prior with gnc-train"
        ) from None
    if header is None:
        raise UserError(
            f"{file} holds no gnclightning prior (its header has no description); expected a "
            "file written by gnc-train"
        )
    try:
        values = json.loads(header)
    except json.JSONDecodeError as error:
        raise UserError(f"{file} has a damaged description ({error}); export it anew") from error
    if values.get("format") != FORMAT:
        raise UserError(
            f"{file} has format {values.get('format')}, this version reads format {FORMAT}; "
            "use the gnclightning version that wrote it"
        )
    return values, weights


def _check_weights(file: Path, network: UNet, weights: dict[str, torch.Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{file} does not fit the network that its header describes: {name} should be "
                f"{expected.get(name, 'absent')}, is {found.get(name, 'absent')}; "
                "the file is damaged or was edited, export it anew"
            )
    wrong = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if wrong:
        raise UserError(
            f"{file} holds NaN or infinite weights ({wrong[0]}); the training that wrote it "
            "diverged, use other weights"
        )
