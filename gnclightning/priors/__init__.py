"""Priors: scores and energies of the diffused image distribution."""

from gnclightning.priors.base import EnergyPrior, Prior, ScaledEnergy, ScaledPrior
from gnclightning.priors.gaussian_mixture import GaussianMixture
from gnclightning.priors.metadata import PIXEL_SIZES, RANGE, VALIDATION, PriorMetadata
from gnclightning.priors.network import Form, NetworkEnergy, NetworkPrior, NetworkScore
from gnclightning.priors.storage import FILE, from_pretrained, save_pretrained, shipped_priors

__all__ = [
    "FILE",
    "PIXEL_SIZES",
    "RANGE",
    "VALIDATION",
    "EnergyPrior",
    "Form",
    "GaussianMixture",
    "NetworkEnergy",
    "NetworkPrior",
    "NetworkScore",
    "Prior",
    "PriorMetadata",
    "ScaledEnergy",
    "ScaledPrior",
    "from_pretrained",
    "save_pretrained",
    "shipped_priors",
]
