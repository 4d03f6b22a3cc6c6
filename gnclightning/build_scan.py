"""Settings of a scan that files, the prior or estimates know: geometry, units, centre, noise."""

from dataclasses import replace
from math import isclose, radians

from torch import Tensor

from gnclightning.config import ReconstructConfig
from gnclightning.config.geometry import GeometryConfig
from gnclightning.config.images import SinogramDataConfig
from gnclightning.data.images import ImageSet
from gnclightning.data.scan_geometry import ScanGeometry, shown
from gnclightning.data.sinograms import SinogramSet
from gnclightning.errors import UserError
from gnclightning.operators import (
    PlanarGeometry,
    RotationCentre,
    estimate_noise,
    mean_one,
    rotation_centre,
)
from gnclightning.priors import RANGE, PriorMetadata, from_pretrained

_SAME = 1e-6
"""Relative difference of two numbers that mean the same."""
_LEAST_COVERAGE = 0.5
"""Part of the image's diameter; a detector that sees less has another unit of length."""


_SCALARS = (
    "beam",
    "source_distance",
    "detector_distance",
    "detector_count",
    "detector_spacing",
    "detector_offset",
    "pixel_size",
    "unit",
)
"""Settings of the geometry that files may state; they decide what angles mean."""


def in_units_of_images(
    config: ReconstructConfig, source: ImageSet | SinogramSet
) -> tuple[ReconstructConfig, ImageSet | SinogramSet]:
    """What a run starts from: measured sinograms as those of images in [0, 1], lengths in pixels.

    Returns:
        The settings with what files and prior know of the scan, and the sinograms; both as they are
        where images are simulated.
    """
    if isinstance(source, ImageSet):
        return config, source
    config = with_scan(config, source)
    assert isinstance(config.data, SinogramDataConfig)
    if config.data.water is not None:
        config = with_white(config, from_pretrained(config.prior.path)[1])
        assert isinstance(config.data, SinogramDataConfig)
    white = config.data.white
    return config, source.divided_by(white * config.geometry.lengths[0], white)


def with_scan(config: ReconstructConfig, source: ImageSet | SinogramSet) -> ReconstructConfig:
    """The settings with the geometry that the files state where they say nothing themselves.

    Raises:
        UserError: both say something, and not the same; or lengths have a unit, but the pixels no
            size.
    """
    if isinstance(source, ImageSet):
        return config
    geometry = _merged(config.geometry, source.geometry, _place(config))
    if geometry.unit not in (None, "pixel") and geometry.pixel_size is None:
        raise UserError(
            f"expected geometry.pixel_size, the width of a pixel of the image, beside lengths in "
            f"{geometry.unit}, got none: give geometry.pixel_size=VALUE"
        )
    return replace(config, geometry=geometry.filled())


def _merged(config: GeometryConfig, stated: ScanGeometry, place: str) -> GeometryConfig:
    changes: dict[str, object] = {}
    for name in _SCALARS:
        if name == "detector_offset" and config.find_offset:
            continue
        ours, theirs = getattr(config, name), getattr(stated, name)
        if ours is None:
            changes[name] = theirs
        elif theirs is not None and not _same(ours, theirs):
            raise _contradiction(name, ours, theirs, place)
    config = replace(config, **changes)
    ours = config.given_degrees
    if ours is None and stated.degrees is not None:
        return replace(config, degrees=list(stated.degrees))
    if ours is not None and stated.degrees is not None:
        alike = len(ours) == len(stated.degrees) and all(map(_same, ours, stated.degrees))
        if not alike:
            raise _contradiction("degrees", ours, stated.degrees, place)
    return config


def _same(ours: float | str, theirs: float | str) -> bool:
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    return isclose(ours, theirs, rel_tol=_SAME, abs_tol=_SAME)


def _contradiction(name: str, ours: object, theirs: object, place: str) -> UserError:
    settings = "geometry.angles, arc or degrees" if name == "degrees" else f"geometry.{name}"
    return UserError(
        f"expected {settings} as {place} states it, {shown(theirs)}, got {shown(ours)}: leave the "
        "setting out, or give data.attributes=false, which leaves all that files state out"
    )


def _place(config: ReconstructConfig) -> str:
    assert isinstance(config.data, SinogramDataConfig)
    return config.data.path


def with_white(config: ReconstructConfig, metadata: PriorMetadata) -> ReconstructConfig:
    """The settings with the value that becomes 1, of a prior in HU, from water's attenuation."""
    data = config.data
    if not isinstance(data, SinogramDataConfig) or data.water is None:
        return config
    ends = metadata.training.get(RANGE)
    if ends is None or "HU" not in metadata.intensity_unit:
        raise UserError(
            "expected a prior whose range is known in HU for data.water, got prior.path="
            f"{config.prior.path} in {metadata.intensity_unit}: give data.white=VALUE"
        )
    # mu = water (1 + HU / 1000), and HU = low + value (high - low) with low being air.
    white = float(f"{data.water * (ends[1] - ends[0]) / 1000:.12g}")
    return replace(config, data=replace(data, water=None, white=white))


def find_centre(config: ReconstructConfig, source: ImageSet | SinogramSet) -> RotationCentre | None:
    """The centre of rotation of measured sinograms, if it is asked for."""
    if isinstance(source, ImageSet) or not config.geometry.find_offset:
        return None
    degrees = config.geometry.given_degrees
    assert degrees is not None
    source.check_shape(len(degrees), config.geometry.detector_count)
    return rotation_centre(source.sinograms, [radians(angle) for angle in degrees])


def with_noise_level(
    config: ReconstructConfig, source: ImageSet | SinogramSet
) -> ReconstructConfig:
    """The settings with the noise level of measured sinograms, estimated if it is not given."""
    if isinstance(source, ImageSet) or config.noise.level is not None:
        return config
    levels = estimate_noise(source.sinograms, build_weights(config, source)) / source.magnitudes
    relative = float(f"{float(levels.median()):.6g}")
    if not relative > 0:
        raise UserError(
            "expected noise in the sinograms that can be estimated, got none: give its level with "
            "noise.relative=VALUE or noise.absolute=VALUE"
        )
    return replace(config, noise=replace(config.noise, relative=relative))


def check_noise(given: ReconstructConfig) -> str | None:
    """What to warn of if a noise level that was given looks like one in percent."""
    level = given.noise.relative
    if level is None or level <= 1 or given.noise.absolute is not None:
        return None
    return (
        f"noise.relative={level:g} is noise of {level:g} times the mean |y|: if {level:g} percent "
        f"are meant, give noise.relative={level / 100:g}"
    )


def build_weights(config: ReconstructConfig, source: SinogramSet) -> Tensor | None:
    """Weights of the rays, mean 1, like the sinograms; None if all are alike."""
    return None if config.noise.weights == "uniform" else mean_one(source.transmitted)


def check_coverage(geometry: PlanarGeometry) -> str | None:
    """What is wrong with a detector that is too narrow for the image, if it can be borne.

    Raises:
        UserError: the detector sees less than half of the image.
    """
    seen = geometry.coverage
    if seen >= 1 - _SAME:
        return None
    width = geometry.detector_count * geometry.detector_spacing
    size = min(geometry.image_shape) * geometry.pixel_size
    text = (
        f"a detector of {width:g} {geometry.unit}, its centre of rotation "
        f"{geometry.detector_offset:g} off the middle, sees {seen:.0%} of the diameter of an image "
        f"of {size:g} {geometry.unit}"
    )
    if seen < _LEAST_COVERAGE:
        raise UserError(
            f"expected a detector as wide as the image, got {text}: check the unit of "
            "geometry.detector_spacing, geometry.detector_offset and geometry.pixel_size"
        )
    return f"{text}: what lies outside is measured at some angles only"
