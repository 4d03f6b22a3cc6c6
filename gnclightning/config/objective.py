"""Settings of the noise, and of the weight alpha of the regulariser that follows it."""

from dataclasses import dataclass, field
from typing import Literal

from gnclightning.config.common import SEEDS
from gnclightning.config.sections import FieldError, Section, bounded, within

DEFAULT_NOISE = 0.1
"""Relative level of simulated noise, as in Section 4.2 of arXiv 2404.18699."""


@dataclass(kw_only=True)
class NoiseConfig(Section):
    """Gaussian measurement noise: that which is added, or with data.name=sinogram is there."""

    relative: float | None = bounded(None, ">= 0, <= 1000000")
    """Standard deviation as a part of the mean absolute value of each sinogram; null: 0.1, or with
    data.name=sinogram estimated from the sinograms."""
    absolute: float | None = bounded(None, f">= 0, <= {10**12}")
    """Standard deviation in sinogram units; replaces noise.relative unless null."""
    weights: Literal["uniform", "transmission"] = "uniform"
    """uniform: as large everywhere, weighting all rays alike; transmission: of photons that are
    counted, with the variance inverse to what came through, by which rays are weighted (mean 1; the
    level is that of weight 1). Needs data.name=sinogram."""
    seed: int | None = bounded(None, SEEDS)
    """Seed of the noise; null: derived from seed."""

    @property
    def level(self) -> float | None:
        """The level in force: zero means that the measurements are exact, None is not known yet."""
        return self.relative if self.absolute is None else self.absolute


@dataclass(kw_only=True)
class AlphaConfig(Section):
    """Weight alpha of the regulariser."""

    rule: Literal["auto", "discrepancy", "constant", "noise_scale"] = "auto"
    """auto: from the noise level; discrepancy: as auto, then times a factor for each image such
    that |Ax-y| = tau sigma_y sqrt(m) for m measurements; constant: alpha; noise_scale: alpha nu_t /
    gamma_t."""
    value: float | None = bounded(None, "> 0")
    """constant, noise_scale: alpha (required); auto, discrepancy: factor of the squared noise
    level, null: 0.5; maximum a posteriori estimation asks for 1."""
    tau: float = bounded(1.0, "> 0")
    """discrepancy: |Ax-y| in units of the noise; x is the last iterate."""
    tolerance: float = bounded(0.01, "> 0, < 1")
    """discrepancy: relative, of |Ax-y|."""
    tries: int = bounded(20, ">= 1")
    """discrepancy: weights tried at most; each goes on from the last iterate, at t_min, with a
    quarter of solver.steps, at least 10."""
    sweep: list[float] = field(default_factory=list[float], metadata=within("> 0"))
    """Other values, such as [0.1,0.2,1,2], that the solver reconstructs with besides: results of
    their own, and PSNR and |Ax-y| over the weight in figures/alpha.png."""
    gain: float | None = bounded(None, ">= 0")
    """auto: how fast alpha grows with the smoothing: what is added to the squared noise level, in
    units of nu_t^2 times the mean diagonal entry of A*A; null: 1 with solver.name=preconditioned,
    5 with the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value is None and not self.from_noise:
            raise FieldError(self, "value", f"expected a number with rule={self.rule}, got null")
        if self.sweep and self.rule == "discrepancy":
            message = "expected none with rule=discrepancy, which finds a weight for each image"
            raise FieldError(self, "sweep", f"{message}, got {self.sweep}")
        if len({self.weight, *self.sweep}) <= len(self.sweep):
            message = f"expected values other than alpha.value={self.weight} and each other"
            raise FieldError(self, "sweep", f"{message}, got {self.sweep}")

    @property
    def from_noise(self) -> bool:
        """Whether the weight follows the noise level."""
        return self.rule in ("auto", "discrepancy")

    @property
    def weight(self) -> float:
        """`value`, or for rules that follow the noise its default, best on validation phantoms."""
        return 0.5 if self.value is None else self.value
