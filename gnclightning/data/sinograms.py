"""Measured sinograms, and what is known beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gnclightning.data.images import check_finite, check_names, remaining
from gnclightning.data.scan_geometry import ScanGeometry
from gnclightning.errors import UserError


@dataclass(frozen=True, eq=False)
class SinogramSet:
    """Sinograms with their names, and what is known beside them.

    Attributes:
        sinograms: (N, 1, angles, detectors), float32.
        names: one per sinogram, unique.
        seeds: one integer per sinogram for its random start: its place in its source, whatever
            others there are left out.
        truth: the images that they are of, (N, 1, H, W), float32, if these are known.
        counts: how much came through, like `sinograms`, in any unit; see `Transmission`.
        geometry: what the files say of it.
        dead: pixels of each that were filled in.
        clipped: pixels of each that were raised to the least transmission.
        unit: line integrals, without dimension, are `sinograms` times this.

    Raises:
        UserError: a sinogram is not finite, or constant; the truth is not finite; or two share a
            name.
    """

    sinograms: Tensor
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    truth: Tensor | None = None
    counts: Tensor | None = None
    geometry: ScanGeometry = field(default_factory=ScanGeometry)
    dead: tuple[int, ...] = ()
    clipped: tuple[int, ...] = ()
    unit: float = 1.0

    def __post_init__(self):
        assert self.sinograms.ndim == 4
        assert len(self.sinograms) == len(self.names) == len(self.seeds) > 0
        check_names(self.names)
        for number, name in enumerate(self.names):
            check_sinogram(name, self.sinograms[number], part_of(self.truth, number))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def magnitudes(self) -> Tensor:
        """Mean absolute value of each sinogram, (N,) float64."""
        return self.sinograms.double().abs().mean((1, 2, 3))

    @property
    def detectors(self) -> int:
        """Detector bins."""
        return self.sinograms.shape[-1]

    @property
    def transmitted(self) -> Tensor:
        """`counts`; of line integrals y that were read, exp(-y)."""
        return torch.exp(-self.unit * self.sinograms) if self.counts is None else self.counts

    def divided_by(self, value: float, white: float = 1.0) -> "SinogramSet":
        """In other units, of images whose value `white` becomes 1."""
        return replace(
            self,
            sinograms=self.sinograms / value,
            truth=None if self.truth is None else self.truth / white,
            unit=self.unit * value,
        )

    def without(self, rejected: Mapping[str, str]) -> "SinogramSet":
        """Those that are not rejected; raises `UserError` if all are, see `remaining`."""
        kept = remaining(self.names, rejected)
        return replace(
            self,
            sinograms=self.sinograms[kept],
            names=tuple(self.names[k] for k in kept),
            seeds=tuple(self.seeds[k] for k in kept),
            truth=part_of(self.truth, kept),
            counts=part_of(self.counts, kept),
            dead=tuple(self.dead[k] for k in kept) if self.dead else (),
            clipped=tuple(self.clipped[k] for k in kept) if self.clipped else (),
        )

    def check_shape(self, angles: int, detectors: int | None) -> None:
        """Raise `UserError` unless there are so many angles and, if it is known, detector bins."""
        found = (self.sinograms.shape[-2], self.sinograms.shape[-1])
        if found == (angles, detectors or found[1]):
            return
        remedy = "give geometry.angles or geometry.degrees, geometry.detector_count and "
        remedy += "geometry.detector_spacing as they were measured"
        if found == (detectors or found[0], angles):
            remedy = "swap the axes, angles come first"
        bins = "any number of" if detectors is None else detectors
        raise UserError(
            f"sinogram {self.names[0]}: expected {angles} angles x {bins} detector bins, as "
            f"the geometry has, got {found[0]} x {found[1]}: {remedy}"
        )

    def check_images(self, shape: tuple[int, int]) -> None:
        """Raise `UserError` if the files speak of images of another shape than the prior's."""
        found = {"image_shape": self.geometry.image_shape}
        if self.truth is not None:
            found["the ground truth"] = (self.truth.shape[-2], self.truth.shape[-1])
        for what, size in found.items():
            if size not in (None, shape):
                raise UserError(
                    f"expected images of {shape[0]}x{shape[1]} pixels, as the prior has, got "
                    f"{size[0]}x{size[1]} from {what} beside the sinograms: name weights for this "
                    "size with prior.path, or give data.attributes=false and resample the truth"
                )


def check_sinogram(name: str, sinogram: Tensor, truth: Tensor | None) -> None:
    """Raise `UserError` for a sinogram (1, angles, detectors) that `SinogramSet` refuses."""
    check_finite(f"sinogram {name}", sinogram)
    low, high = (value.item() for value in sinogram.aminmax())
    if low == high:
        raise UserError(
            f"sinogram {name}: expected line integrals of an image, got the constant {low:g}: "
            "leave this sinogram out"
        )
    if truth is not None:
        check_finite(f"ground truth of {name}", truth)


def part_of(values: Tensor | None, index: int | Sequence[int]) -> Tensor | None:
    """One or some of the values, or None if there are none."""
    return None if values is None else values[index]
