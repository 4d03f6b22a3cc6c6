"""Linear measurement operators, their geometry, filtered back-projection and noise."""

from gnclightning.operators.base import LinearOperator
from gnclightning.operators.checks import dot_test, mean_gain, operator_norm
from gnclightning.operators.fbp import FilterName, fbp
from gnclightning.operators.geometry import ParallelBeam2D
from gnclightning.operators.identity import Identity
from gnclightning.operators.mask import Mask
from gnclightning.operators.matrix import Matrix
from gnclightning.operators.noise import add_noise, estimate_noise
from gnclightning.operators.radon import Radon
from gnclightning.operators.rotation import RotationCentre, rotation_centre
from gnclightning.operators.weighted import Weighted, mean_one, weighted

__all__ = [
    "FilterName",
    "Identity",
    "LinearOperator",
    "Mask",
    "Matrix",
    "ParallelBeam2D",
    "Radon",
    "RotationCentre",
    "Weighted",
    "add_noise",
    "dot_test",
    "estimate_noise",
    "fbp",
    "mean_gain",
    "mean_one",
    "operator_norm",
    "rotation_centre",
    "weighted",
]
