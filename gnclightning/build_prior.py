"""From a `TrainConfig` to a prior to train, with what it starts and learns from, and its label."""

from dataclasses import asdict, replace
from operator import le
from typing import Any

from gnclightning.config import TrainConfig
from gnclightning.config.train import (
    EllipsesTrainDataConfig,
    EnergyPriorConfig,
    FolderTrainDataConfig,
    VEConfig,
    VPConfig,
)
from gnclightning.errors import UserError
from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import (
    RANGE,
    Form,
    NetworkEnergy,
    NetworkPrior,
    NetworkScore,
    PriorMetadata,
    from_pretrained,
)
from gnclightning.sde import SDE, VESDE, VPSDE
from gnclightning.training.data import ImageDataModule
from gnclightning.training.ldct import LDCTDataModule


def build_sde(config: TrainConfig) -> SDE:
    """The forward diffusion."""
    match config.sde:
        case VPConfig(beta_min=low, beta_max=high):
            return VPSDE(low, high)
        case VEConfig(sigma_min=low, sigma_max=high):
            return VESDE(low, high)
    raise AssertionError(config.sde)


def build_prior(config: TrainConfig) -> NetworkPrior:
    """A fresh prior, or one with the weights of `config.init`."""
    n = config.network
    network = UNet(UNetConfig(**vars(n)))
    kind = NetworkEnergy if isinstance(config.prior, EnergyPriorConfig) else NetworkScore
    prior = kind(build_sde(config), network, Form(config.prior.form))
    if config.init is not None:
        _warm_start(prior, config.init)
    return prior


def _warm_start(prior: NetworkPrior, path: str) -> None:
    """Copy the weights of another prior of the same diffusion and network.

    The network may have more blocks than that of `path`: fresh ones are the identity, so that the
    deeper network starts with the same values.
    """
    source, _ = from_pretrained(path)
    wanted, found = prior.network.config, source.network.config
    if len(found.blocks) == len(wanted.blocks) and all(map(le, found.blocks, wanted.blocks)):
        found = replace(found, blocks=wanted.blocks)
    pairs = {
        "network": (wanted.to_dict(), found.to_dict()),
        "sde": (prior.sde.to_dict(), source.sde.to_dict()),
        "prior.form": (prior.form.value, source.form.value),
    }
    for name, (wanted, found) in pairs.items():
        if wanted != found:
            if isinstance(wanted, dict):
                wanted, found = _differing(wanted, found), _differing(found, wanted)
            raise UserError(
                f"init={path} has another {name}: expected {wanted}, got {found}; "
                f"set {name} to what the weights were trained with"
            )
    prior.network.load_state_dict(prior.network.state_dict() | source.network.state_dict())


def _differing(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if others.get(name) != value}


def build_teacher(config: TrainConfig, data: ImageDataModule) -> NetworkPrior | None:
    """The prior whose score is learnt, if any.

    Raises:
        UserError: it has another diffusion, or was trained on images of another size, or mapped to
            [0, 1] in another way.
    """
    if config.teacher is None:
        return None
    teacher, metadata = from_pretrained(config.teacher)
    sde = build_sde(config)
    pairs = {
        "sde": (sde.to_dict(), teacher.sde.to_dict()),
        "image size": (tuple(data.image_shape), metadata.image_shape),
        "range of values": (
            build_metadata(config, data).training.get(RANGE),
            metadata.training.get(RANGE),
        ),
    }
    for name, (wanted, found) in pairs.items():
        if wanted != found:
            raise UserError(
                f"teacher={config.teacher} has another {name}: expected {wanted}, got {found}; "
                "name weights that were trained likewise"
            )
    return teacher


def build_metadata(config: TrainConfig, data: ImageDataModule) -> PriorMetadata:
    """The description that travels with the weights."""
    metadata = PriorMetadata(
        image_shape=data.image_shape,
        # Ellipses of all positions and orientations alike; of others nothing is known.
        symmetric=isinstance(config.data, EllipsesTrainDataConfig),
        training={
            "data": config.data.name,
            "parametrisation": config.prior.parametrisation,
            "initialised_from": _origin(config.init),
            "teacher": _origin(config.teacher),
            "times": asdict(config.time_sampling),
            "precision": config.trainer.precision,
        },
    )
    if isinstance(config.data, FolderTrainDataConfig):
        return _describe_folder(metadata, config.data)
    if isinstance(data, LDCTDataModule):
        return data.describe(metadata)
    return metadata


def _describe_folder(metadata: PriorMetadata, data: FolderTrainDataConfig) -> PriorMetadata:
    """Add the units, and the values of the files that became 0 and 1 if these were given."""
    unit = data.intensity_unit
    if data.range is not None:
        low, high = data.range
        unit = f"fraction of the range from {low:g} to {high:g} ({unit})"
    return replace(
        metadata,
        pixel_size=data.pixel_size,
        length_unit=data.unit,
        intensity_unit=unit,
        training={**metadata.training, RANGE: data.range},
    )


def _origin(path: str | None) -> object:
    """How weights that training started or learnt from were trained."""
    return None if path is None else from_pretrained(path)[1].training
