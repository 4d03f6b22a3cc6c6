"""The geometry that files of sinograms state, and what settings say beside it."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from gnclightning.build_scan import check_coverage, with_scan
from gnclightning.config import load_reconstruct_config
from gnclightning.data.scan_geometry import ScanGeometry
from gnclightning.data.sinogram_files import read_sinograms
from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D
from scan_files import ARRAY, hdf5, npz


class TestGeometryInFiles:
    @pytest.mark.parametrize("write", [hdf5, npz])
    def test_all_of_it(self, write, tmp_path):
        path = write(
            tmp_path / f"scan.{'h5' if write is hdf5 else 'npz'}",
            {"y": ARRAY},
            angles=[0.0, 1.0, 2.0, 3.0],
            angle_unit="radian",
            detector_count=7,
            detector_spacing=0.5,
            detector_offset=-0.25,
            pixel_size=0.4,
            image_shape=[8, 9],
            length_unit="mm",
        )
        found = read_sinograms(path).geometry
        degrees = tuple(n * 180 / math.pi for n in range(4))
        assert found == ScanGeometry(degrees, 7, 0.5, -0.25, 0.4, (8, 9), "mm")

    def test_start_stop_and_count(self, tmp_path):
        """Stop is the angle after the last, as the angle of a whole turn is the first again."""
        more = {"angle_start": 10.0, "angle_stop": 370.0, "angle_count": 4, "angle_unit": "deg"}
        path = hdf5(tmp_path / "scan.h5", {"y": ARRAY}, **more)
        assert read_sinograms(path).geometry.degrees == (10.0, 100.0, 190.0, 280.0)

    def test_the_nearest_counts(self, tmp_path):
        """The data set's own attribute before the file's, and arrays where there is neither."""
        path = hdf5(
            tmp_path / "scan.h5", {"a/y": ARRAY, "angles": np.arange(4.0)}, angle_unit="deg"
        )
        with h5py.File(path, "a") as file:
            file.attrs["detector_count"] = 6
            file["a"].attrs["detector_count"] = 8
            file["a/y"].attrs["detector_count"] = 7
        found = read_sinograms(path, key="a/y").geometry
        assert (found.degrees, found.detector_count) == ((0.0, 1.0, 2.0, 3.0), 7)

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"angles": [0.0, 1.0]}, "angle_unit degree or radian .* got nothing"),
            ({"angles": [0.0], "angle_unit": "turns"}, "angle_unit .* got turns"),
            ({"angle_start": 0.0, "angle_unit": "degree"}, "only some of the three"),
            ({"angles": ["a"], "angle_unit": "degree"}, r"angles in .*: expected numbers"),
            ({"angles": [np.nan], "angle_unit": "degree"}, "expected finite numbers"),
            ({"angles": [0.0], "angle_count": 2, "angle_unit": "degree"}, "1, as many as angles"),
            ({"detector_count": 2.5}, "detector_count in .*: expected an integer of at least 1"),
            ({"pixel_size": [1.0, 2.0]}, "pixel_size in .*: expected one number"),
            ({"pixel_size": 1.0}, "expected length_unit, such as mm, beside pixel_size"),
            ({"length_unit": 3}, "length_unit in .*: expected text"),
            ({"image_shape": [1, 2, 3]}, "image_shape in .*: expected rows and columns"),
        ],
    )
    def test_what_makes_no_sense(self, attributes, message, tmp_path):
        path = hdf5(tmp_path / "scan.h5", {"y": ARRAY}, **attributes)
        with pytest.raises(UserError, match=message):
            read_sinograms(path)
        assert read_sinograms(path, attributes=False).geometry == ScanGeometry()

    def test_files_of_a_folder_agree(self, tmp_path):
        for n in range(2):
            hdf5(tmp_path / f"{n}.h5", {"y": ARRAY}, pixel_size=1.0 + n, length_unit="mm")
        with pytest.raises(UserError, match=r"pixel_size 1 in .*0\.h5 and 2 in .*1\.h5"):
            read_sinograms(tmp_path)


STATED = {
    "angles": [0.0, 60.0, 120.0, 150.0],
    "angle_unit": "degree",
    "detector_spacing": 0.5,
    "pixel_size": 0.4,
    "length_unit": "mm",
}


class TestSettingsAndFiles:
    def merged(self, tmp_path: Path, *overrides: str):
        path = hdf5(tmp_path / "scan.h5", {"y": ARRAY}, **STATED)
        data = ["data.name=sinogram", f"data.path={path}"]
        config = load_reconstruct_config(None, [*data, *overrides])
        found = read_sinograms(path, attributes=config.data.attributes)
        return with_scan(config, found).geometry

    def test_files_stand_in_for_what_is_left_out(self, tmp_path):
        found = self.merged(tmp_path, "geometry.detector_offset=0.1", "geometry.pixel_size=0.4")
        assert (found.angles, found.degrees) == (4, [0.0, 60.0, 120.0, 150.0])
        assert (found.detector_spacing, found.detector_offset) == (0.5, 0.1)
        assert found.lengths == (0.4, "mm")

    @pytest.mark.parametrize(
        ("setting", "parts"),
        [
            ("geometry.detector_spacing=0.7", ("geometry.detector_spacing", "0.5", "got 0.7")),
            ("geometry.unit=cm", ("geometry.unit", "mm", "got cm")),
            ("geometry.angles=4", ("angles, arc or degrees", "150]", "[22.5, 67.5, 112.5, 157.5]")),
            (
                "geometry.arc=[0,180]",
                ("angles, arc or degrees", "[0, 60", "got [0, 3, 6, ..., 177] (60 of"),
            ),
        ],
    )
    def test_a_contradiction_names_both(self, setting, parts, tmp_path):
        with pytest.raises(UserError, match=r"scan\.h5.*data\.attributes=false") as caught:
            self.merged(tmp_path, setting)
        assert all(part in str(caught.value) for part in parts)
        more = ("data.attributes=false", "geometry.pixel_size=1")
        assert self.merged(tmp_path, setting, *more) is not None

    def test_lengths_without_the_size_of_a_pixel(self, tmp_path):
        path = hdf5(tmp_path / "scan.h5", {"y": ARRAY}, detector_spacing=0.5, length_unit="mm")
        config = load_reconstruct_config(None, ["data.name=sinogram", f"data.path={path}"])
        with pytest.raises(UserError, match=r"geometry\.pixel_size.*lengths in mm"):
            with_scan(config, read_sinograms(path))

    def test_arcs(self):
        load = load_reconstruct_config
        config = load(None, ["geometry.arc=[0,360]", "geometry.angles=4"]).geometry
        assert config.given_degrees == [0.0, 90.0, 180.0, 270.0]
        for wrong in ("[0]", "[5,5]"):
            with pytest.raises(UserError, match=r"geometry\.arc: expected two ends"):
                load(None, [f"geometry.arc={wrong}"])
        with pytest.raises(UserError, match=r"geometry\.arc: .* got both"):
            load(None, ["geometry.arc=[0,9]", "geometry.degrees=[0]"])

    def test_a_narrow_detector(self):
        geometry = ParallelBeam2D.for_image(32, 3)
        assert check_coverage(geometry) is None
        narrow = ParallelBeam2D((32, 32), (0.0,), 24, 1.0)
        assert "sees 75% of the diameter of an image of 32 pixel" in str(check_coverage(narrow))
        with pytest.raises(UserError, match=r"sees 3% .* check the unit of geometry"):
            check_coverage(ParallelBeam2D((32, 32), (0.0,), 10, 0.1))
