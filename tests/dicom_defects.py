"""Defects of DICOM files, with the reasons for which they are to be rejected."""

from functools import partial

from pydicom.uid import (
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)

from gnclightning.data.dicom.records import Reason


def _set(name, value, dataset):
    setattr(dataset, name, value)


def _drop(name, dataset):
    delattr(dataset, name)


def _halve(dataset):
    dataset.Rows //= 2
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]


DEFECTS = {
    "other modality": (partial(_set, "Modality", "MR"), Reason.NOT_CT, "Modality MR"),
    "localiser": (
        partial(_set, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        Reason.LOCALISER,
        "",
    ),
    "screen capture": (
        partial(_set, "SOPClassUID", SecondaryCaptureImageStorage),
        Reason.NOT_CT,
        "SOPClassUID Secondary Capture Image Storage",
    ),
    "enhanced CT of one frame": (
        partial(_set, "SOPClassUID", EnhancedCTImageStorage),
        Reason.MULTI_FRAME,
        "Enhanced CT Image Storage; export",
    ),
    "legacy converted enhanced CT": (
        partial(_set, "SOPClassUID", LegacyConvertedEnhancedCTImageStorage),
        Reason.MULTI_FRAME,
        "Legacy Converted Enhanced CT Image Storage; export",
    ),
    "sinogram": (
        lambda d: d.add_new(0x70311001, "FL", 0.5),
        Reason.PROJECTIONS,
        "DICOM-CT-PD",
    ),
    "of another unit": (
        partial(_set, "RescaleType", "US"),
        Reason.NOT_HOUNSFIELD,
        "RescaleType US",
    ),
    "colour": (partial(_set, "SamplesPerPixel", 3), Reason.COLOUR, "3 values per pixel"),
    "palette": (
        partial(_set, "PhotometricInterpretation", "PALETTE COLOR"),
        Reason.COLOUR,
        "PALETTE COLOR",
    ),
    "multi-frame": (partial(_set, "NumberOfFrames", 2), Reason.MULTI_FRAME, "2 frames"),
    "oblong": (_halve, Reason.NOT_SQUARE, "8 x 16 pixels"),
    "oblong pixels": (
        partial(_set, "PixelSpacing", [1, 0.75]),
        Reason.ODD_GEOMETRY,
        "pixels of 1 x 0.75 mm",
    ),
    "pixel size of 0": (partial(_set, "PixelSpacing", [0, 0]), Reason.BAD_TAG, "PixelSpacing"),
    "slope of 0": (partial(_set, "RescaleSlope", 0), Reason.BAD_TAG, "RescaleSlope 0"),
    "padding that no pixel can be": (
        lambda d: d.add_new("PixelPaddingValue", "DS", "1e30"),
        Reason.BAD_TAG,
        "padding from 1e+30",
    ),
    "no pixels": (partial(_drop, "PixelData"), Reason.MISSING_TAG, "PixelData"),
    "short pixels": (
        lambda d: _set("PixelData", d.PixelData[:-2], d),
        Reason.TRUNCATED,
        "510 of 512 bytes",
    ),
    "skew": (
        partial(_set, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        Reason.BAD_TAG,
        "not orthonormal",
    ),
    "short position": (
        partial(_set, "ImagePositionPatient", [1, 2]),
        Reason.BAD_TAG,
        "ImagePositionPatient",
    ),
    **{
        f"without {name}": (partial(_drop, name), Reason.MISSING_TAG, name)
        for name in (
            "PatientID",
            "SeriesInstanceUID",
            "SOPInstanceUID",
            "Modality",
            "Rows",
            "Columns",
            "BitsAllocated",
            "PhotometricInterpretation",
            "PixelSpacing",
            "RescaleSlope",
            "RescaleIntercept",
        )
    },
    "empty slope": (partial(_set, "RescaleSlope", None), Reason.MISSING_TAG, "RescaleSlope"),
}
"""Changes of a data set, the reason, and a part of the detail."""


def damaged(whole):
    """Contents of files, made from those of a good one, and the reasons."""
    return {
        "empty": (b"", Reason.NOT_DICOM),
        "text": (b"patient,series\nC001,1\n", Reason.NOT_DICOM),
        "no preamble": (whole[132:], Reason.NOT_DICOM),
        "cut in the meta header": (whole[:150], Reason.MISSING_TAG),
        "cut in the header": (whole[:500], Reason.MISSING_TAG),
        "cut before the pixels": (whole[: len(whole) - 524], Reason.MISSING_TAG),
        "cut in the pixels": (whole[:-100], Reason.TRUNCATED),
        "number in letters": (whole.replace(b"-1000.0 ", b"ten HU  "), Reason.BAD_TAG),
    }
