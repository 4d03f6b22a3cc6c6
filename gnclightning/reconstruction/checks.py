"""What must hold of a prior before it is used on images."""

from collections.abc import Mapping, Sequence

import torch

from gnclightning.errors import UserError
from gnclightning.priors import (
    PIXEL_SIZES,
    RANGE,
    NetworkPrior,
    PriorMetadata,
)
from gnclightning.sde import SDE

_DATA_RANGE = (0.0, 1.0)

_AIR, _NEARLY_AIR = -1000.0, 30.0
"""In HU; files say -1000 to -1024 where there is nothing."""

_PIXEL_TOLERANCE = 1.05
"""Smaller differences of pixel sizes do not matter to a prior."""


def check_prior(
    prior: NetworkPrior, metadata: PriorMetadata, path: str, shape: tuple[int, int]
) -> None:
    """Raise `UserError` unless the prior was trained on images such as these.

    Args:
        prior: the prior.
        metadata: its description.
        path: how the user names it.
        shape: rows and columns of the images, whose values are in [0,1].

    Raises:
        UserError: it expects images of another size, range or number of channels.
    """
    check_size(metadata, path, shape)
    channels = prior.network.config.image_channels
    if channels != 1:
        raise UserError(
            f"expected a prior of images with one channel, got {path} for {channels}: "
            "name other weights with prior.path"
        )
    prior.network.check_size(shape)
    if metadata.intensity_range != _DATA_RANGE:
        low, high = metadata.intensity_range
        raise UserError(
            f"expected a prior of images in [0, 1], as the images of a run are, got {path} for "
            f"[{low:g}, {high:g}]: train on images scaled to [0, 1]"
        )


def check_size(
    metadata: PriorMetadata,
    path: str,
    found: tuple[int, int],
    remedy: str = "resample the images, or name weights for this size with prior.path",
) -> None:
    """Raise `UserError` if images are of another size than in training.

    Args:
        metadata: the description of the prior.
        path: how the user names it.
        found: rows and columns of the images.
        remedy: what to do about it.
    """
    height, width = metadata.image_shape
    if found != (height, width):
        raise UserError(
            f"expected images of {height}x{width} pixels, the size that prior.path={path} was "
            f"trained on, got {found[0]}x{found[1]}: {remedy}"
        )


def check_mapping(
    metadata: PriorMetadata, path: str, given: Sequence[float] | None, settings: str
) -> None:
    """Raise `UserError` if images are mapped to [0, 1] in another way than in training.

    A prior of images whose values between two ends became 0 to 1 asks for the same ends, or for
    [0, 1], which says that the images have been mapped already.

    Args:
        metadata: the description of the prior.
        path: how the user names it.
        given: the values that become 0 and 1; None if the files say it.
        settings: what the user gives them with.
    """
    trained = metadata.training.get(RANGE)
    if trained is None or (given is not None and list(given) in (list(trained), [0.0, 1.0])):
        return
    raise UserError(
        f"expected images mapped with {settings}={_written(trained)}, as prior.path={path} was "
        f"trained with, got {_written(given)}: give the same, or data.name=folder data.range=[0,1] "
        "for files that have been mapped so already"
    )


def check_zero(metadata: PriorMetadata, path: str) -> None:
    """Raise `UserError` if the prior's 0 stands for something that attenuates.

    Line integrals tell an image up to a factor, not up to an offset. Of the values that became 0 in
    training, 0 itself and those about -1000 HU, which is air, stand for no attenuation.
    """
    trained = metadata.training.get(RANGE)
    if trained is None or trained[0] == 0 or abs(trained[0] - _AIR) <= _NEARLY_AIR:
        return
    raise UserError(
        "expected a prior whose 0 stands for no attenuation, as line integrals need, got "
        f"prior.path={path}, which was trained with {trained[0]:.15g} as 0: train with 0, or -1000 "
        "HU, as the lower end of the range"
    )


def check_pixel_size(metadata: PriorMetadata, path: str, size: float, unit: str) -> None:
    """Raise `UserError` if pixels are of another size than in training, as far as both are known.

    Args:
        metadata: the description of the prior.
        path: how the user names it.
        size: of the pixels of the run.
        unit: of `size`.
    """
    low, high = metadata.training.get(PIXEL_SIZES, (metadata.pixel_size, metadata.pixel_size))
    known = "pixel" not in (unit, metadata.length_unit)
    if known and unit != metadata.length_unit:
        raise UserError(
            f"expected lengths in {metadata.length_unit}, as prior.path={path} was trained with, "
            f"got geometry.unit={unit}: give geometry.unit={metadata.length_unit} and all lengths "
            "of the geometry in it; geometry.unit=pixel says that they are not known"
        )
    if known and not low / _PIXEL_TOLERANCE <= size <= high * _PIXEL_TOLERANCE:
        raise UserError(
            f"expected pixels of {low:g} to {high:g} {unit}, as prior.path={path} was trained on, "
            f"got geometry.pixel_size={size:g}: resample the images, or give the size that they "
            "have; geometry.unit=pixel says that it is not known"
        )


def _written(ends: Sequence[float] | None) -> str:
    return "null" if ends is None else f"[{','.join(f'{value:.15g}' for value in ends)}]"


def check_times(sde: SDE, path: str, times: Mapping[str, float]) -> None:
    """Raise `UserError` unless a float32 network can be evaluated at these times, by setting."""
    for name, t in times.items():
        noise = float(sde.noise_to_signal(torch.tensor([t], dtype=torch.float32)))
        if not 0 < noise < float("inf"):
            raise UserError(
                f"expected a time at which the SDE of {path}, {sde}, has a noise level above 0 "
                f"and below infinity, got {noise:g} at {name}={t:g}: choose another time"
            )
