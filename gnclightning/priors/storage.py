"""Saving and loading network priors: safetensors with their description in the header.

Nothing here unpickles. A file describes itself completely, so `load_prior` needs only its path.
"""

import json
from dataclasses import asdict, dataclass, field
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
from gnclightning.priors.network import Form, NetworkEnergy, NetworkPrior, NetworkScore
from gnclightning.sde import from_dict

FORMAT = 1
KEY = "gnclightning"
KINDS = {kind.parametrisation: kind for kind in (NetworkScore, NetworkEnergy)}
SUFFIX = ".safetensors"
RANGE, PIXEL_SIZES = "range", "pixel_size_range"
"""Where a description of training has the values that became 0 and 1, and the pixels' sizes."""


@dataclass(frozen=True)
class PriorMetadata:
    """What a user must know of a prior before reconstructing with it.

    Attributes:
        image_shape: (H, W) of the training images.
        intensity_range: smallest and largest image value in training.
        intensity_unit: what one unit of image value is.
        pixel_size: side of a pixel, in `length_unit`.
        length_unit: unit of lengths.
        symmetric: whether flipped and turned images are as likely as the images themselves.
        training: free description: data, images seen, seconds, hardware, EMA decay.
        version: version of gnclightning that wrote the file.
    """

    image_shape: tuple[int, int]
    intensity_range: tuple[float, float] = (0.0, 1.0)
    intensity_unit: str = "fraction of the maximum"
    pixel_size: float = 1.0
    length_unit: str = "pixel"
    symmetric: bool = False
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    version: str = __version__

    def __post_init__(self) -> None:
        """Refuse what a damaged or edited file may say; raises `ValueError`."""
        for name in ("image_shape", "intensity_range"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name}: expected two numbers, got {getattr(self, name)}")


def save_prior(prior: NetworkPrior, metadata: PriorMetadata, path: Path) -> None:
    """Write weights and description to `path`, atomically (a reader never sees half a file)."""
    header = {
        "format": FORMAT,
        "parametrisation": prior.parametrisation,
        "form": prior.form.value,
        "sde": prior.sde.to_dict(),
        "network": prior.network.config.to_dict(),
        "metadata": asdict(metadata),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in prior.network.state_dict().items()}
    # Bytes written here, not by safetensors: its files are readable by their owner only.
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights, metadata={KEY: json.dumps(header)}))


def load_prior(path: str | Path) -> tuple[NetworkPrior, PriorMetadata]:
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
    return {file.stem: file for file in sorted(folder.glob(f"*{SUFFIX}"))}


def resolve(path: str | Path) -> Path:
    """The weights file that `path` names; see `load_prior`."""
    shipped = shipped_priors()
    if str(path) in shipped:
        return shipped[str(path)]
    candidate = Path(path)
    if candidate.is_dir():
        files = sorted(candidate.glob(f"*{SUFFIX}"))
        if len(files) != 1:
            raise UserError(
                f"expected one {SUFFIX} file in {candidate}, found {len(files)}; "
                "name the file itself with prior.path"
            )
        return files[0]
    if not candidate.is_file():
        raise UserError(
            f"no prior at {str(path)!r}; expected a {SUFFIX} file, a folder with one, or a "
            f"shipped name ({', '.join(shipped) or 'none shipped'})"
        )
    return candidate


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
