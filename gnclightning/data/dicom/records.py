"""What is known of each file: a usable slice, or why it is not used."""

from dataclasses import dataclass
from enum import StrEnum
from math import cos, pi
from typing import Literal

import numpy as np

Plane = Literal["axial", "coronal", "sagittal"]
"""How slices lie, by the axis of the patient that is next to their normal."""

_PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
"""Those whose normals are DICOM's axes x, y and z."""


class Reason(StrEnum):
    """Why a file is not used; the texts appear in manifests and reports."""

    NOT_DICOM = "not DICOM"
    UNREADABLE = "unreadable"
    NOT_CT = "not CT"
    LOCALISER = "localiser"
    PROJECTIONS = "projections"
    OTHER_SERIES = "other series"
    OTHER_PLANE = "other plane"
    MISSING_TAG = "missing tag"
    BAD_TAG = "bad tag"
    NOT_HOUNSFIELD = "not in Hounsfield units"
    COLOUR = "colour"
    MULTI_FRAME = "multi-frame"
    NOT_SQUARE = "not square"
    ODD_SIZE = "odd size"
    ODD_GEOMETRY = "odd geometry"
    DUPLICATE = "duplicate"
    SAME_POSITION = "same position"
    TRUNCATED = "truncated pixel data"
    NO_DECODER = "no decoder"
    UNDECODABLE = "cannot be decoded"
    CONSTANT = "constant image"


class RejectedError(Exception):
    """A file that is not used; `detail` is one line that says what is wrong with this one."""

    def __init__(self, reason: Reason, detail: str = ""):
        # Both go to the base class, so that the exception survives being pickled.
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = " ".join(detail.split())


def unreadable(error: OSError | MemoryError) -> RejectedError:
    """A file that the system did not let be read, now; its contents are not to blame."""
    detail = error.strerror if isinstance(error, OSError) else ""
    return RejectedError(Reason.UNREADABLE, detail or str(error) or "not enough memory")


@dataclass(frozen=True)
class Rejection:
    """A file that is not used.

    Attributes:
        file: path relative to the root of the tree, with forward slashes.
        reason: the kind of defect.
        detail: what is wrong with this file, one line.
        patient: PatientID, "" where unknown.
        series: SeriesInstanceUID, "" where unknown.
    """

    file: str
    reason: Reason
    detail: str = ""
    patient: str = ""
    series: str = ""


@dataclass(frozen=True)
class Slice:
    """The header of a CT slice that may be used.

    Attributes:
        file: path relative to the root of the tree, with forward slashes.
        patient: PatientID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        description: SeriesDescription, "" where absent.
        image_type: ImageType, its values parted by backslashes; "" where absent.
        size: height and width, pixels.
        pixel_size: height and width of a pixel, mm.
        thickness: SliceThickness, mm; None where absent.
        orientation: ImageOrientationPatient, rounded to 1e-3; empty where absent.
        position: ImagePositionPatient along the slice normal, mm; None where absent.
        location: SliceLocation, mm; None where absent.
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        padding: PixelPaddingValue, and PixelPaddingRangeLimit or the same value again; empty where
            absent. Stored values from one to the other are outside of what was reconstructed.
    """

    file: str
    patient: str
    series: str
    instance: str
    description: str
    image_type: str
    size: int
    pixel_size: float
    thickness: float | None
    orientation: tuple[float, ...]
    position: float | None
    location: float | None
    slope: float
    intercept: float
    padding: tuple[int, ...]

    @property
    def plane(self) -> str:
        """A `Plane`, whose axis is within 45 degrees of the normal; "oblique" where none is.

        Gantries are tilted by up to 30 degrees, so tilted axial slices stay axial. "" where the
        orientation is not known.
        """
        if not self.orientation:
            return ""
        along = np.abs(np.cross(self.orientation[:3], self.orientation[3:]))
        nearest = int(along.argmax())
        return _PLANES[nearest] if along[nearest] > cos(pi / 4) else "oblique"

    def reject(self, reason: Reason, detail: str = "") -> Rejection:
        """This slice as one that is not used."""
        return Rejection(self.file, reason, detail, self.patient, self.series)
