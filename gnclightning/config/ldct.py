"""What training and reconstruction say about CT series in DICOM files."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from gnclightning.config.common import SEEDS
from gnclightning.config.sections import FieldError, Section, bounded


@dataclass(kw_only=True)
class LDCTConfig(Section):
    """CT series in DICOM files, such as the LDCT-and-Projection-data collection of TCIA."""

    name: str = "ldct"
    path: str
    """Folder of the DICOM files, at any depth and of any layout."""
    cache: str = "data/cache"
    """Folder for converted images: made once for each choice of files and options."""
    conversion_workers: int | None = bounded(None, ">= 0")
    """Processes that convert; null: one per core."""
    series: str | None = "Full Dose"
    """Text in the folder or description of the series to use, if any has it; null: all series."""
    plane: Literal["axial", "coronal", "sagittal"] | None = "axial"
    """How the slices to use lie: the axis within 45 degrees of their normal; null: in any way."""
    size: int | None = bounded(256, ">= 3")
    """Height and width of an image, in pixels; null: as in the files."""
    antialias: bool = False
    """Whether bilinear resizing averages over all pixels that become one."""
    dequantise: bool = True
    """Whether noise, uniform in [0,1) HU, is added to the whole numbers of the files."""
    intensity: Literal["attenuation", "window"] = "attenuation"
    """What becomes [0,1]: attenuations up to that of 3071 HU, or a window; the rest is clipped."""
    window: list[float] = field(default_factory=lambda: [-1000.0, 1000.0])
    """intensity=window: HU of 0 and of 1."""
    seed: int = bounded(0, SEEDS)
    """Seed of the dequantisation, and of the patients drawn for a fraction."""
    test_patients: list[str] | None = None
    """PatientIDs, or their ends, that are kept for tests; null: C027 if there."""
    test_fraction: float | None = bounded(None, ">= 0, < 1")
    """Part of the patients that is kept for tests, in place of data.test_patients."""
    validation_patients: list[str] | None = None
    """PatientIDs, or their ends, kept for validation; null: data.validation_fraction."""
    validation_fraction: float = bounded(0.1, "> 0, < 1")
    """Part of the patients that is kept for validation, at least one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.window) != 2 or any(low >= high for low, high in pairwise(self.window)):
            raise FieldError(self, "window", f"expected [LOW,HIGH] in HU, got {self.window}")
        if self.test_patients is not None and self.test_fraction is not None:
            raise FieldError(self, "test_fraction", "expected null where test_patients are named")
