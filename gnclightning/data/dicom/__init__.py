"""CT series in DICOM files: found, checked, converted once, and split by patient."""
