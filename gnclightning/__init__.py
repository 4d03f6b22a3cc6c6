"""Diffusion priors and graduated non-convexity solvers with certified convergence for CT.

`reconstruct` does from Python what `gnc-reconstruct` does from the command line; PyTorch is
imported with the first name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnclightning.api import Reconstruction, reconstruct
    from gnclightning.errors import UserError
    from gnclightning.operators import FanBeam2D, ParallelBeam2D
    from gnclightning.priors import PriorMetadata, from_pretrained, save_pretrained

__version__ = "0.1.0"

__all__ = [
    "FanBeam2D",
    "ParallelBeam2D",
    "PriorMetadata",
    "Reconstruction",
    "UserError",
    "__version__",
    "from_pretrained",
    "reconstruct",
    "save_pretrained",
]

_PLACES = {
    "FanBeam2D": "gnclightning.operators",
    "ParallelBeam2D": "gnclightning.operators",
    "PriorMetadata": "gnclightning.priors",
    "Reconstruction": "gnclightning.api",
    "UserError": "gnclightning.errors",
    "from_pretrained": "gnclightning.priors",
    "reconstruct": "gnclightning.api",
    "save_pretrained": "gnclightning.priors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
