"""The schema of the methods to compare the solver with; docs/baselines.md says what each is.

docs/baselines.md says where the defaults come from; better ones are searched for by
`python -m gnclightning.experiments.tune`.
"""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.sections import Section, bounded

Baseline = Literal[
    "fbp",
    "tv",
    "tikhonov",
    "plug_and_play",
    "diffpir",
    "dds",
    "dps",
    "nmapg",
    "gradient_descent",
]

Compared = Literal["direct", Baseline, "langevin"]
"""What a run can compare the solver with; direct: the problem's own direct reconstruction;
langevin: a sample of the posterior, which no setting is tuned to bring nearer to the truth."""


@dataclass(kw_only=True)
class FBPConfig(Section):
    """Filtered back-projection."""

    filter: Literal["ramp", "hann", "shepp-logan"] = "hann"
    """Filter, here and where start=fbp."""


@dataclass(kw_only=True)
class TVConfig(Section):
    """Total variation, the method to compare with."""

    weight: float | None = bounded(None, "> 0")
    """Weight of the total variation, lengths in pixels; null: from the noise level."""
    factor: float = bounded(1.0, "> 0")
    """Factor of the weight that follows the noise level, where tv.weight=null."""
    iterations: int = bounded(400, ">= 1")
    """Iterations of the primal-dual method."""


@dataclass(kw_only=True)
class TikhonovConfig(Section):
    """Tikhonov regularisation by conjugate gradients."""

    weight: float = bounded(150.0, "> 0")
    """Weight of 1/2 |x|^2, in units of the squared noise level of each sinogram."""
    steps: int = bounded(50, ">= 1")
    """Conjugate-gradient steps."""


@dataclass(kw_only=True)
class PlugAndPlayConfig(Section):
    """Half-quadratic splitting with the prior as a denoiser (arXiv 2008.13751)."""

    steps: int = bounded(12, ">= 1")
    """Noise levels, falling evenly in their logarithm."""
    sigma_max: float = bounded(2.4, "> 0")
    """Standard deviation of the first noise level, for images in [0,1]."""
    sigma_min: float = bounded(0.06, "> 0")
    """Standard deviation of the last noise level."""
    weight: float = bounded(0.18, "> 0")
    """lambda of the data step: how much the denoised image counts."""
    cg_steps: int = bounded(5, ">= 1")
    """Conjugate-gradient steps of each data step."""
    averaged: int = bounded(3, ">= 1")
    """The result is the mean of so many denoised images, the last ones. Each sees the image flipped
    or turned otherwise where the prior's metadata say that these are as likely."""


@dataclass(kw_only=True)
class DiffPIRConfig(Section):
    """Half-quadratic splitting along the reverse diffusion (arXiv 2305.08995)."""

    steps: int = bounded(40, ">= 1")
    """Noise levels, falling evenly in their logarithm from 100 to 0.01."""
    weight: float = bounded(0.5, "> 0")
    """lambda of the data step: how much the denoised image counts."""
    renoise: float = bounded(1.0, ">= 0, <= 1")
    """zeta, the part of fresh noise in what is added again."""
    cg_steps: int = bounded(10, ">= 1")
    """Conjugate-gradient steps of each data step."""


@dataclass(kw_only=True)
class DDSConfig(Section):
    """Reverse diffusion with a few conjugate-gradient steps on the data (arXiv 2303.05754)."""

    steps: int = bounded(40, ">= 1")
    """Noise levels, falling evenly in their logarithm from 100 to 0.01."""
    weight: float = bounded(0.1, "> 0")
    """gamma, weight of the data, in units of one over the mean diagonal entry of A*A."""
    renoise: float = bounded(1.0, ">= 0, <= 1")
    """eta^2, the part of fresh noise in what is added again."""
    cg_steps: int = bounded(5, ">= 1")
    """Conjugate-gradient steps of each data step."""


@dataclass(kw_only=True)
class DPSConfig(Section):
    """Diffusion posterior sampling (arXiv 2209.14687); its gradients go through the prior."""

    steps: int = bounded(100, ">= 1")
    """Noise levels, falling evenly in their logarithm from 100 to 0.01; two evaluations each."""
    weight: float = bounded(3.0, "> 0")
    """zeta, step along the gradient of |A D(x) - y|, divided by |A|."""


@dataclass(kw_only=True)
class LangevinConfig(Section):
    """Samples of the posterior by annealed Langevin dynamics (arXiv 2108.01368), preconditioned."""

    steps: int = bounded(60, ">= 2")
    """Noise levels, falling evenly in their logarithm; the error falls as one over their number."""
    sigma_max: float = bounded(0.5, "> 0")
    """Standard deviation of the first noise level, for images in [0,1]."""
    sigma_min: float = bounded(0.01, "> 0")
    """Standard deviation of the last noise level."""
    cg_steps: int = bounded(10, ">= 1")
    """Conjugate-gradient steps of each step."""


@dataclass(kw_only=True)
class OnObjectiveConfig(Section):
    """Gradient descent on the solver's f, with Armijo's rule and Barzilai-Borwein steps."""

    steps: int = bounded(300, ">= 1")
    """Iterations."""
    t_min: float | None = bounded(None, "> 0, <= 1")
    """Time of f; null: that of the solver."""


@dataclass(kw_only=True)
class NmAPGConfig(OnObjectiveConfig):
    """Nonmonotone accelerated gradient descent on the solver's f (Li and Lin, NeurIPS 2015)."""

    steps: int = bounded(150, ">= 1")
    step_size: float = bounded(1e-3, "> 0")
    """First trial of the first backtracking."""
