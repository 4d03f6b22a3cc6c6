"""Linear measurement operators, their geometry, filtered back-projection and noise."""

from gnclightning.operators.algebra import Composition, Scaled, Stack, Sum
from gnclightning.operators.base import LinearOperator
from gnclightning.operators.blur import Blur, PeriodicBlur, gaussian_kernel
from gnclightning.operators.checks import dot_test, mean_gain, operator_norm
from gnclightning.operators.downsampling import Downsampling
from gnclightning.operators.fan_beam import FanBeam2D, geometry_from_dict
from gnclightning.operators.fbp import FilterName, fbp
from gnclightning.operators.fourier import UndersampledFourier
from gnclightning.operators.geometry import ParallelBeam2D, PlanarGeometry
from gnclightning.operators.identity import Identity
from gnclightning.operators.image_problems import direct_reconstruction, image_operator
from gnclightning.operators.mask import Mask
from gnclightning.operators.matrix import Matrix
from gnclightning.operators.noise import add_noise, estimate_noise
from gnclightning.operators.projector import Projector
from gnclightning.operators.radon import Radon
from gnclightning.operators.rotation import RotationCentre, rotation_centre
from gnclightning.operators.weighted import Weighted, mean_one, weighted

__all__ = [
    "Blur",
    "Composition",
    "Downsampling",
    "FanBeam2D",
    "FilterName",
    "Identity",
    "LinearOperator",
    "Mask",
    "Matrix",
    "ParallelBeam2D",
    "PeriodicBlur",
    "PlanarGeometry",
    "Projector",
    "Radon",
    "RotationCentre",
    "Scaled",
    "Stack",
    "Sum",
    "UndersampledFourier",
    "Weighted",
    "add_noise",
    "direct_reconstruction",
    "dot_test",
    "estimate_noise",
    "fbp",
    "gaussian_kernel",
    "geometry_from_dict",
    "image_operator",
    "mean_gain",
    "mean_one",
    "operator_norm",
    "rotation_centre",
    "weighted",
]
