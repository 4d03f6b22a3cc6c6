"""What training and reconstruction say about images in the user's own files."""

from dataclasses import dataclass
from itertools import pairwise

from gnclightning.config.sections import FieldError, Section


@dataclass(kw_only=True)
class FolderConfig(Section):
    """Images in own files."""

    name: str = "folder"
    path: str
    """A file, or a folder of files, of single images or stacks: .npy, .npz, .h5, .hdf5, greyscale
    .png, .tif or .tiff, and .nii or .nii.gz if nibabel is installed."""
    key: str | None = None
    """Name of the array in each .npz or HDF5 file; null: the only one of 2 or 3 dimensions."""
    range: list[float] | None = None
    """Values of the files that become 0 and 1, [LOW,HIGH]; null: 0 and 1 of floating-point
    numbers, 0 and 255 or 65535 of 8 and 16 bit PNG and TIFF."""
    clip: bool = False
    """Whether values outside of this range are clipped; otherwise they are an error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ends = self.range
        if ends is not None and (
            len(ends) != 2 or any(low >= high for low, high in pairwise(ends))
        ):
            raise FieldError(self, "range", f"expected [LOW,HIGH] with LOW < HIGH, got {ends}")
