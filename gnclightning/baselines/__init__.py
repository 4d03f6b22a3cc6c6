"""Ways to reconstruct to compare with: classical ones, and others with the same prior."""

from gnclightning.baselines.denoiser import Denoiser
from gnclightning.baselines.gradient_methods import nonmonotone_apg
from gnclightning.baselines.langevin import langevin
from gnclightning.baselines.least_squares import regularised_solve, tikhonov
from gnclightning.baselines.plug_and_play import plug_and_play
from gnclightning.baselines.results import Reconstructed
from gnclightning.baselines.sampling import dds, diffpir, dps
from gnclightning.baselines.total_variation import (
    TotalVariationResult,
    total_variation,
    tv_weight,
)

__all__ = [
    "Denoiser",
    "Reconstructed",
    "TotalVariationResult",
    "dds",
    "diffpir",
    "dps",
    "langevin",
    "nonmonotone_apg",
    "plug_and_play",
    "regularised_solve",
    "tikhonov",
    "total_variation",
    "tv_weight",
]
