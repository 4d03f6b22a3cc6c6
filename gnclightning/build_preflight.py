"""What is said before a reconstruction, from the settings and what they were made into."""

from dataclasses import dataclass
from math import degrees

import torch

from gnclightning.build_scan import check_coverage, check_noise
from gnclightning.config import ReconstructConfig
from gnclightning.config.images import SinogramDataConfig
from gnclightning.data.images import ImageSet
from gnclightning.data.sinograms import SinogramSet
from gnclightning.operators import FanBeam2D, LinearOperator, PlanarGeometry, RotationCentre
from gnclightning.priors import PriorMetadata
from gnclightning.reconstruction.preflight import Preflight, Probe, check_fits, duration

_FEW_BINS = 0.5
"""How far estimates of the centre of rotation may lie apart, in bins."""
_SEVERAL, _TURN_IN_RADIANS = 3, 6.3
"""Angles within a few degrees are seldom meant, but a turn has as many radians."""


@dataclass(frozen=True)
class Run:
    """A run that is about to start.

    Attributes:
        given: the settings as they were given.
        config: the settings with what was filled in.
        source: images or sinograms.
        geometry: in the user's unit of length; None without projections.
        operator: A.
        metadata: of the prior.
        centre: the estimate of the centre of rotation, if it was asked for.
        probe: what a first image told.
    """

    given: ReconstructConfig
    config: ReconstructConfig
    source: ImageSet | SinogramSet
    geometry: PlanarGeometry | None
    operator: LinearOperator
    metadata: PriorMetadata
    centre: RotationCentre | None
    probe: Probe


def build_preflight(run: Run, output_bytes: int, device: torch.device) -> Preflight:
    """Rows, headline and warnings.

    Args:
        run: what is about to start.
        output_bytes: that the run folder takes, roughly.
        device: that computes.

    Raises:
        UserError: the detector is far too narrow, or a batch does not fit into memory.
    """
    probe, images, config = run.probe, len(run.source), run.config
    measured = _measured(run)
    batch = min(config.rows_at_once, images * config.starts)
    memory = check_fits(probe, batch, device)
    gradient = probe.gradient
    runs = images * (config.starts + len(config.alpha.sweep))
    # A step of the last denoising evaluates the network once.
    steps = config.solver.steps_towards_mean if config.solver.final_denoising else 0
    last = steps / probe.step_evaluations
    seconds = runs * (config.solver.steps + last) * probe.step_seconds
    together = "images" if config.starts == 1 else "starts"
    mismatch = max(float(gradient.fidelity.max()), float(gradient.regulariser.max()))
    rows = [
        *_scanned(run, measured),
        ("intensity", _intensity(run)),
        ("noise", _noise(run)),
        *_corrections(run),
        ("operator", f"norm {probe.norm:.4g}, dot test {probe.adjoint:.1e}"),
        (
            "gradient",
            f"data term {float(gradient.fidelity.max()):.1e}, regulariser "
            f"{float(gradient.regulariser.max()):.1e} from finite differences (relative)",
        ),
        ("memory", f"some {memory / 1e9:.2g} GB with {batch} {together} at a time"),
        ("time", f"about {duration(seconds)} for {config.solver.name}, from one image"),
        ("output", f"some {output_bytes / 1e6:,.0f} MB"),
    ]
    headline = (
        f"{measured}; |A| = {probe.norm:.4g}, dot test {probe.adjoint:.0e}, gradients within "
        f"{mismatch:.0e}; {memory / 1e9:.2g} GB, about {duration(seconds)}"
    )
    if run.centre is not None:
        headline += f"; centre of rotation {run.centre.offset:.2f} bins off the middle"
    return Preflight(rows, headline, _warnings(run))


def _measured(run: Run) -> str:
    """How many measurements of which size."""
    images, geometry = len(run.source), run.geometry
    if geometry is None:
        size = " x ".join(map(str, run.operator.range_shape))
        if (observed := run.operator.observed) is not None:
            size += f", {float(observed.double().mean()):.0%} of them known"
        return f"{images} simulated, {run.config.operator.name.replace('_', ' ')}, {size} values"
    kind = "measured" if isinstance(run.source, SinogramSet) else "simulated"
    return f"{images} {kind}, {len(geometry.angles)} angles x {geometry.detector_count} bins"


def _scanned(run: Run, measured: str) -> list[tuple[str, str]]:
    """Rows on measurements and images."""
    if run.geometry is None:
        rows, columns = run.operator.domain_shape
        return [("measurements", measured), ("images", f"{rows}x{columns} pixels")]
    return [
        ("sinograms", measured),
        ("geometry", _geometry(run.geometry)),
        ("images", _images(run.geometry, run.metadata)),
    ]


def _geometry(geometry: PlanarGeometry) -> str:
    angles = [degrees(angle) for angle in geometry.angles]
    offset = geometry.detector_offset
    fan = ""
    if isinstance(geometry, FanBeam2D):
        fan = (
            f"fan beam, source {geometry.source_distance:.4g} and detector "
            f"{geometry.detector_distance:.4g} {geometry.unit} from the centre; "
        )
    return (
        f"{fan}{min(angles):.4g} to {max(angles):.4g} degrees; bins of "
        f"{geometry.detector_spacing:.4g} {geometry.unit}, the detector "
        f"sees {geometry.coverage:.0%} of the image's diameter, "
        f"centre of rotation {offset:.4g} {geometry.unit} off its middle"
    )


def _images(geometry: PlanarGeometry, metadata: PriorMetadata) -> str:
    rows, columns = geometry.image_shape
    known = f"{metadata.pixel_size:g} {metadata.length_unit}"
    trained = "" if metadata.length_unit == "pixel" else f" (the prior's: {known})"
    return f"{rows}x{columns} pixels of {geometry.pixel_size:g} {geometry.unit}{trained}"


def _intensity(run: Run) -> str:
    text = f"0 to 1 is {run.metadata.intensity_unit}"
    data = run.config.data
    if isinstance(data, SinogramDataConfig):
        text += f"; 1 is {data.white:g} per {run.config.geometry.lengths[1]} (data.white)"
    brightest = run.probe.brightest.max()
    return f"{text}; brightest patch of the first direct reconstruction {brightest:.3g}"


def _noise(run: Run) -> str:
    noise = run.config.noise
    if noise.absolute is not None:
        text = f"standard deviation {noise.absolute:g}"
    else:
        text = f"{noise.relative:.3%} of the mean |y|"
    estimated = " (estimated)" if run.given.noise.level is None else ""
    weights = "" if noise.weights == "uniform" else ", rays weighted by what came through"
    return f"{text}{estimated}{weights}; t_min {run.config.solver.last_time:g}"


def _corrections(run: Run) -> list[tuple[str, str]]:
    """What was done to measured sinograms."""
    rows: list[tuple[str, str]] = []
    if isinstance(run.source, SinogramSet) and run.source.counts is not None:
        rows.append(
            (
                "pixels",
                f"{sum(run.source.dead)} dead (filled in), {sum(run.source.clipped)} clipped",
            )
        )
    if run.centre is not None:
        spread = f", sinograms differ by {run.centre.spread:.2f}" if len(run.source) > 1 else ""
        text = f"{run.centre.offset:.2f} bins off the middle, from {run.centre.method}{spread}"
        rows.append(("rotation", text))
    return rows


def _check_angles(geometry: PlanarGeometry) -> str | None:
    """What to warn of if angles look like radians that were taken for degrees."""
    extent = degrees(max(geometry.angles) - min(geometry.angles))
    if len(geometry.angles) < _SEVERAL or extent > _TURN_IN_RADIANS:
        return None
    return (
        f"all {len(geometry.angles)} angles lie within {extent:.3g} degrees: if they are in "
        "radians, say so with the attribute angle_unit=radian of the file, or give degrees"
    )


def _warnings(run: Run) -> list[str]:
    found: list[str | None] = [check_noise(run.given)]
    if isinstance(run.source, SinogramSet):
        if run.geometry is not None:
            found += [check_coverage(run.geometry), _check_angles(run.geometry)]
        done = {
            "dead pixels were filled in from their neighbours": sum(run.source.dead),
            "pixels were raised to data.least_transmission": sum(run.source.clipped),
        }
        found += [f"{count} {what}" for what, count in done.items() if count]
    if run.centre is not None and run.centre.spread > _FEW_BINS:
        found.append(
            f"estimates of the centre of rotation from single sinograms differ by "
            f"{run.centre.spread:.2f} bins: look at the first picture, or give "
            "geometry.detector_offset=VALUE"
        )
    return [warning for warning in found if warning] + run.probe.warnings()
