"""What arXiv 2404.18699 reports of its experiments with CT images (Tables 1 and 2)."""

from collections.abc import Mapping
from typing import NamedTuple

from gnclightning.config import ReconstructConfig
from gnclightning.config.geometry import GeometryConfig
from gnclightning.config.images import EllipsesDataConfig, LDCTDataConfig


class Published(NamedTuple):
    """PSNR in dB and SSIM, and their standard deviations over starts where those are reported."""

    psnr: float
    ssim: float
    psnr_std: float | None = None
    ssim_std: float | None = None


STARTS = {
    "ellipses": {
        "gradient_descent": Published(28.96, 0.771, 0.43, 0.019),
        "gnc_flow": Published(32.93, 0.933, 0.10, 0.001),
    },
    "ldct": {
        "gradient_descent": Published(35.89, 0.899, 0.032, 0.032),
        "gnc_flow": Published(37.33, 0.913, 0.028, 0.0004),
    },
}
"""Table 1, by images and solver."""
STEPS = {
    "ellipses": {"constant": Published(30.82, 0.742), "adaptive": Published(33.21, 0.935)},
    "ldct": {"constant": Published(32.93, 0.748), "adaptive": Published(37.08, 0.896)},
}
"""Table 2, by images and step."""

_MEASURED = {"ellipses": (128, 0.1), "ldct": (256, 0.05)}
"""Size of the images and relative noise; the geometry is the default, 60 parallel projections."""


def comparable(
    published: Mapping[str, Mapping[str, Published]], config: ReconstructConfig
) -> Mapping[str, Published]:
    """The numbers of a table for the images of a run, none if it measures others or otherwise."""
    data = config.data
    if not isinstance(data, EllipsesDataConfig | LDCTDataConfig):
        return {}
    noise = None if config.noise.absolute is not None else config.noise.relative
    same = (data.size, noise) == _MEASURED[data.name]
    return published[data.name] if same and config.geometry == GeometryConfig().filled() else {}
