"""What travels with the weights of a prior."""

from dataclasses import dataclass, field
from typing import Any

from gnclightning import __version__

RANGE, PIXEL_SIZES = "range", "pixel_size_range"
"""Where a description of training has the values that became 0 and 1, and the pixels' sizes."""
VALIDATION = "validation"
"""Where it has how well reconstructions of validation images went, and of which."""


@dataclass(frozen=True)
class PriorMetadata:
    """What a user must know of a prior before reconstructing with it.

    Attributes:
        image_shape: (H, W) of the training images.
        intensity_range: smallest and largest image value in training.
        intensity_unit: what one unit of image value is.
        pixel_size: side of a pixel, in `length_unit`.
        length_unit: unit of lengths.
        symmetric: whether flipped and turned images are as likely as the images themselves.
        training: free description: data, images seen, seconds, hardware, EMA decay.
        version: version of gnclightning that wrote the file.
    """

    image_shape: tuple[int, int]
    intensity_range: tuple[float, float] = (0.0, 1.0)
    intensity_unit: str = "fraction of the maximum"
    pixel_size: float = 1.0
    length_unit: str = "pixel"
    symmetric: bool = False
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    version: str = __version__

    def __post_init__(self) -> None:
        """Refuse what a damaged or edited file may say; raises `ValueError`."""
        for name in ("image_shape", "intensity_range"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name}: expected two numbers, got {getattr(self, name)}")
