"""Settings of the measurement operator: what is measured of an image."""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.common import SEEDS
from gnclightning.config.sections import FieldError, Section, bounded


@dataclass(kw_only=True)
class OperatorConfig(Section):
    """What is measured of an image, always with an exact adjoint (docs/problems.md)."""

    name: str
    """Projections, the image itself (denoising), some of its pixels (inpainting), the image out of
    focus (deblurring), means over blocks (super-resolution), or some Fourier coefficients."""

    @property
    def direct(self) -> str:
        """Name of the direct reconstruction, without iterations and without a prior."""
        raise NotImplementedError

    @property
    def noise(self) -> float:
        """Standard deviation of the noise where none is given, in units of the image."""
        return 0.02


@dataclass(kw_only=True)
class ProjectionConfig(OperatorConfig):
    """Line integrals, along the rays of the section geometry."""

    name: str = "projection"
    backend: Literal["auto", "native", "astra", "torch_radon", "deepinv"] = "auto"
    """auto: native; astra: ASTRA's CPU kernels as a matrix, on any device; torch_radon: needs
    device=cuda; deepinv: needs bins as wide as pixels."""
    kernel: Literal["line", "linear", "strip"] = "linear"
    """astra: length of the ray in a pixel; Joseph's interpolation, as native; share of the strip
    between the bin's edges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel != "linear" and self.backend != "astra":
            message = f"expected operator.backend=astra beside {self.kernel}, got {self.backend}"
            raise FieldError(self, "kernel", message)

    @property
    def resolved(self) -> Literal["native", "astra", "torch_radon", "deepinv"]:
        """What auto stands for, or the backend asked for."""
        return "native" if self.backend == "auto" else self.backend

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "fbp"


@dataclass(kw_only=True)
class IdentityConfig(OperatorConfig):
    """The image itself: denoising."""

    name: str = "identity"

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "noisy"

    @property
    def noise(self) -> float:
        """See `OperatorConfig`."""
        return 0.1


@dataclass(kw_only=True)
class MaskConfig(OperatorConfig):
    """Some of the pixels, drawn at random: inpainting."""

    name: str = "mask"
    share: float = bounded(0.3, "> 0, <= 1")
    """Part of the pixels that is known."""
    seed: int = bounded(0, SEEDS)
    """Seed of which ones."""

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "zero_filled"


@dataclass(kw_only=True)
class BlurConfig(OperatorConfig):
    """The image convolved with a kernel: deblurring."""

    name: str = "blur"
    kernel: Literal["gaussian", "uniform"] = "gaussian"
    """Shape of the kernel."""
    width: float = bounded(2.0, "> 0, <= 1000")
    """gaussian: standard deviation in pixels; uniform: edge in pixels, an odd number."""
    boundary: Literal["zero", "periodic"] = "zero"
    """What lies beyond the edges: nothing (convolved directly, for small kernels), or the image
    again (by FFT)."""

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "blurred"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel == "uniform" and self.width % 2 != 1:
            raise FieldError(
                self, "width", f"expected an odd number with kernel=uniform, got {self.width:g}"
            )


@dataclass(kw_only=True)
class SuperResolutionConfig(OperatorConfig):
    """Means over blocks of pixels: super-resolution."""

    name: str = "super_resolution"
    factor: int = bounded(4, ">= 2, <= 1000")
    """Edge of a block in pixels, which divides the edges of the image."""

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "bicubic"


@dataclass(kw_only=True)
class FourierConfig(OperatorConfig):
    """Some columns of Fourier coefficients, as accelerated magnetic resonance measures them."""

    name: str = "fourier"
    acceleration: float = bounded(4.0, ">= 1")
    """One over the part of the columns that is measured."""
    centre: float = bounded(0.08, ">= 0, <= 1")
    """Part of all columns, those of the lowest frequencies, that is measured in any case; the
    others are drawn at random."""
    seed: int = bounded(0, SEEDS)
    """Seed of which ones."""

    @property
    def direct(self) -> str:
        """See `OperatorConfig`."""
        return "zero_filled"
