"""Values of f over iterations, for logarithmic axes."""

import numpy as np
from numpy.typing import NDArray


def positive(curves: NDArray[np.float64], text: str) -> tuple[NDArray[np.float64], str]:
    """The curves, and what their axis says.

    f that is integrated from a score is known up to a constant, and falls below zero. It is then
    shown above the least value of each image, as what there is to see is how far it still fell.

    Args:
        curves: of f, one for each image (N, iterations), NaN where there is none.
        text: what the axis says of f.
    """
    if not (curves <= 0).any():
        return curves, text
    least = np.nanmin(np.where(np.isnan(curves).all(1, keepdims=True), 0, curves), axis=1)
    return curves - least[:, None], f"{text} above its least"
