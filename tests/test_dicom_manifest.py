"""The manifest of a cache: every file, and why it is not used."""

import csv

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from dicom_caches import SMALL, images, opened
from dicom_defects import DEFECTS, damaged
from dicom_trees import INTERCEPT, SLOPE, ct_dataset, stored_pixels, write, write_series
from gnclightning.data.dicom.records import Reason


def manifest(cache):
    with cache.path.with_suffix(".csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_the_manifest_lists_every_file_with_its_reason(tmp_path):
    root = tmp_path / "ct"
    write_series(root, "C001", 3)
    low = write_series(root, "C002", 1, "Low Dose Images")
    constant = ct_dataset("C004", 1)
    constant.PixelData = b"\x07\0" * 256
    write(constant, root / "a-constant")
    air = ct_dataset("C004", 2)
    air.RescaleIntercept = -30_000
    write(air, root / "b-below-air")
    broken = ct_dataset("C004", 3)
    broken.file_meta.TransferSyntaxUID = RLELossless
    broken.PixelData = encapsulate([b"\x05" * 70])
    broken["PixelData"].is_undefined_length = True
    write(broken, root / "c-broken")
    (root / "d-text").write_text("text")
    cache = opened(tmp_path)
    rows = manifest(cache)
    assert list(rows) == sorted(rows)
    assert {f for f, row in rows.items() if row["status"] == "used"} == {
        s.file for s in cache.slices
    }
    rejected = {f: row["reason"] for f, row in rows.items() if row["status"] == "rejected"}
    assert rejected == {
        "a-constant": Reason.CONSTANT,
        "b-below-air": Reason.CONSTANT,
        "c-broken": Reason.UNDECODABLE,
        "d-text": Reason.NOT_DICOM,
        low[0].relative_to(root).as_posix(): Reason.OTHER_SERIES,
    }
    assert {r.file: r.reason for r in cache.rejections} == rejected
    first = rows[cache.slices[0].file]
    assert (first["patient"], first["position_mm"]) == ("C001", "0.0")
    assert rows["b-below-air"]["detail"].endswith(" HU all become 0")
    assert rows["a-constant"]["patient"] == "C004"


def test_no_defect_of_a_planted_corpus_raises_or_is_used(tmp_path):
    """Every defect in the series that it would belong to."""
    root = tmp_path / "ct"
    good = write_series(root, "C001", 6)
    whole = good[0].read_bytes()
    expected = {name: reason for name, (_, reason, _) in DEFECTS.items()}
    for number, (name, (change, _, _)) in enumerate(DEFECTS.items()):
        dataset = ct_dataset("C001", 10 + number)
        change(dataset)
        write(dataset, good[0].with_name(name))
    for name, (content, reason) in damaged(whole).items():
        good[0].with_name(name).write_bytes(content)
        expected[name] = reason
    write(ct_dataset("C001", 2), good[0].with_name("copy"))
    write(ct_dataset("C001", 99, size=8), good[0].with_name("small"))
    expected |= {"copy": Reason.DUPLICATE, "small": Reason.ODD_SIZE}
    cache = opened(tmp_path)
    rejected = {
        file.rpartition("/")[2]: row["reason"]
        for file, row in manifest(cache).items()
        if row["status"] == "rejected"
    }
    assert rejected == expected
    assert len(expected) >= 30
    assert [s.position for s in cache.slices] == [0, 2, 4, 6, 8, 10]
    expected_images = [
        SMALL.apply(SLOPE * stored_pixels("C001", n) + INTERCEPT, cache.slices[n].instance)
        for n in range(6)
    ]
    np.testing.assert_array_equal(images(cache), expected_images)
