"""Priors: scores and energies of the diffused image distribution."""

from gnclightning.priors.base import EnergyPrior, Prior, ScaledPrior
from gnclightning.priors.gaussian_mixture import GaussianMixture
from gnclightning.priors.network import Form, NetworkEnergy, NetworkPrior, NetworkScore
from gnclightning.priors.storage import (
    PIXEL_SIZES,
    RANGE,
    PriorMetadata,
    load_prior,
    save_prior,
    shipped_priors,
)

__all__ = [
    "PIXEL_SIZES",
    "RANGE",
    "EnergyPrior",
    "Form",
    "GaussianMixture",
    "NetworkEnergy",
    "NetworkPrior",
    "NetworkScore",
    "Prior",
    "PriorMetadata",
    "ScaledPrior",
    "load_prior",
    "save_prior",
    "shipped_priors",
]
