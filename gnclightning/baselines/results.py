"""What a baseline returns."""

from typing import NamedTuple

from torch import Tensor


class Reconstructed(NamedTuple):
    """Reconstructions and what they cost.

    Attributes:
        image: (B, C, H, W).
        network_evaluations: forward-and-backward passes of the prior, of each image; a gradient
            through such a pass counts as another.
        operator_evaluations: applications of A and A* together, of each image.
    """

    image: Tensor
    network_evaluations: int
    operator_evaluations: int
