"""Settings of what is reconstructed: images that are measured, or measured sinograms."""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.folder import FolderConfig
from gnclightning.config.ldct import LDCTConfig
from gnclightning.config.sections import FieldError, Section, bounded


@dataclass(kw_only=True)
class DataConfig(Section):
    """Images that are measured and reconstructed."""

    name: str
    """Where the images come from."""


@dataclass(kw_only=True)
class DemoDataConfig(DataConfig):
    """Held-out phantoms and one real CT slice, 128 x 128."""

    name: str = "demo"
    count: int = bounded(9, ">= 1")
    """Images; from 9 on the last is the real CT slice, all others are phantoms."""


@dataclass(kw_only=True)
class EllipsesDataConfig(DataConfig):
    """ELLIPSES phantoms that training never sees."""

    name: str = "ellipses"
    count: int = bounded(8, ">= 1")
    """Images."""
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""
    split: Literal["test", "validation"] = "test"
    """The set that the phantoms are drawn from."""
    start: int = bounded(0, ">= 0")
    """Index of the first phantom within the set."""
    file: str | None = None
    """A file of `gnc-data ellipses` that holds them, whose checksum is verified; null: they are
    generated."""


@dataclass(kw_only=True)
class UnseenDataConfig(DataConfig):
    """Images unlike the phantoms: Shepp-Logan, real CT slices, rectangles and texts."""

    name: str = "unseen"
    count: int = bounded(16, ">= 1")
    """Images: the Shepp-Logan phantom, three CT slices, then rectangles and texts in turn."""
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""


@dataclass(kw_only=True)
class FolderDataConfig(FolderConfig, DataConfig):
    """Images in own files, mapped to [0,1] as for training."""

    count: int | None = bounded(None, ">= 1")
    """Images, the first ones; null: all."""


@dataclass(kw_only=True)
class LDCTDataConfig(LDCTConfig, DataConfig):
    """CT series in DICOM files, preprocessed as for training; give the same settings as there."""

    split: Literal["test", "validation", "train"] = "test"
    """The patients whose slices are reconstructed."""
    start: int = bounded(0, ">= 0")
    """Number of the first slice; they are sorted by patient, series and position."""
    count: int | None = bounded(8, ">= 1")
    """Slices; null: all from data.start on."""


@dataclass(kw_only=True)
class SinogramDataConfig(DataConfig):
    """Measured sinograms, whose ground truth is not known; geometry and noise describe them."""

    name: str = "sinogram"
    path: str
    """A file, or a folder of files, of sinograms (angles, detectors) or stacks of them, of the same
    kinds as with data.name=folder."""
    key: str | None = None
    """Name of the array in each .npz or HDF5 file; null: the only one of 2 or 3 dimensions."""
    count: int | None = bounded(None, ">= 1")
    """Sinograms, the first ones; null: all."""
    white: float = bounded(1.0, "> 0")
    """Value of the image, such as attenuation per geometry.unit, that becomes 1."""
    water: float | None = bounded(None, "> 0")
    """Attenuation of water per geometry.unit, in place of data.white, with a prior in HU."""
    flat: str | None = None
    """What the detector counts without object, so that counts are read and -log is taken: a number,
    a file or folder, or the name of an array in the files of data.path; (frames, detectors), one
    for all sinograms or one for each; null: line integrals are read."""
    dark: str | None = None
    """What it counts without beam, likewise; null: 0."""
    least_transmission: float = bounded(1e-4, "> 0, < 1")
    """Transmission, (counts - dark) / (flat - dark), that lower ones are raised to."""
    truth: str | None = None
    """The images, in the unit of data.white, for PSNR and SSIM: a file or folder, or the name of an
    array in the files of data.path; null: not known."""
    attributes: bool = True
    """Whether to read what the files say of the geometry."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.white != 1 and self.water is not None:
            raise FieldError(self, "water", "expected data.white or data.water, got both")
        if self.dark is not None and self.flat is None:
            raise FieldError(self, "dark", "expected data.flat beside it, got null")
