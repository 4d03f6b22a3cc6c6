"""What files hold beside sinograms: geometry, counts with flat and dark field, ground truth."""

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnclightning.build_scan import check_coverage, with_scan
from gnclightning.config import load_reconstruct_config
from gnclightning.data.ellipses import phantoms
from gnclightning.data.scan_geometry import ScanGeometry
from gnclightning.data.sinogram_files import read_sinograms
from gnclightning.data.transmission import transmission
from gnclightning.errors import UserError
from gnclightning.operators import ParallelBeam2D, Radon
from run_folders import arrays, column, refused_in_one_line, run, settings, table

ARRAY = np.random.default_rng(0).random((2, 4, 7), dtype=np.float32) + 1


def hdf5(path: Path, sets: dict[str, np.ndarray], **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in sets.items():
            file[name] = values
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def npz(path: Path, sets: dict[str, np.ndarray], **entries: object) -> Path:
    np.savez(path, **sets, **entries)
    return path


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


def counts(y: np.ndarray, flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    return dark + (flat - dark) * np.exp(-y)


class TestCounts:
    FLAT = np.linspace(900, 1100, 7, dtype=np.float32)
    DARK = np.linspace(10, 20, 7, dtype=np.float32)

    def test_line_integrals(self, tmp_path):
        """Averaged over frames; as arrays beside the sinograms, as files and as numbers."""
        frames = np.stack([self.FLAT - 50, self.FLAT + 50]), np.stack([self.DARK])
        stored = counts(ARRAY, self.FLAT, self.DARK)
        path = hdf5(tmp_path / "scan.h5", {"y": stored, "f": frames[0], "d": frames[1]})
        for name, values in zip(("f", "d"), frames, strict=True):
            np.save(tmp_path / f"{name}.npy", values)
        inside = read_sinograms(path, key="y", flat="f", dark="d")
        np.testing.assert_allclose(inside.sinograms[:, 0], ARRAY, rtol=1e-5)
        np.testing.assert_allclose(
            inside.transmitted[:, 0], (self.FLAT - self.DARK) * np.exp(-ARRAY), rtol=1e-5
        )
        part = inside.divided_by(0.125, 0.5)
        np.testing.assert_allclose(part.sinograms[:, 0], 8 * ARRAY, rtol=1e-5)
        assert torch.equal(part.transmitted, inside.transmitted)
        files = {"flat": str(tmp_path / "f.npy"), "dark": str(tmp_path / "d.npy")}
        assert torch.equal(read_sinograms(path, key="y", **files).sinograms, inside.sinograms)
        assert (inside.dead, inside.clipped) == ((0, 0), (0, 0))
        np.save(tmp_path / "part.npy", 500 * np.exp(-ARRAY))
        part = read_sinograms(tmp_path / "part.npy", 1, flat="500")
        np.testing.assert_allclose(part.sinograms[:, 0], ARRAY[:1], rtol=1e-5)

    def test_what_came_through_of_line_integrals(self, tmp_path):
        """Whatever the units that they are in."""
        np.save(tmp_path / "scan.npy", ARRAY)
        found = read_sinograms(tmp_path / "scan.npy").divided_by(0.125, 0.5)
        np.testing.assert_allclose(found.transmitted[:, 0], np.exp(-ARRAY), rtol=1e-5)

    def test_each_its_own(self, tmp_path):
        """The second sinogram's flat field is another."""
        flats = np.stack([self.FLAT, 2 * self.FLAT])[:, None]
        stored = np.stack([counts(ARRAY[n], flats[n], 0 * flats[n]) for n in range(2)])
        path = npz(tmp_path / "scan.npz", {"y": stored, "f": flats})
        for count in (None, 1):
            found = read_sinograms(path, count, key="y", flat="f")
            np.testing.assert_allclose(found.sinograms[:, 0], ARRAY[:count], rtol=1e-5)

    def test_a_dead_pixel_has_noise(self):
        """Counts without any beam may lie above the mean dark field; weak pixels are alive."""
        flat, dark = torch.full((1, 1, 9), 2000.0), torch.full((1, 1, 9), 100.0)
        flat[..., 3], flat[..., 6] = 100.5, 110
        stored = 0.5 * (flat - dark) + dark
        stored[..., 3] = 107
        found = transmission(stored.expand(1, 4, 9), flat, dark, 1e-4)
        assert (found.dead, found.clipped) == (4, 0)
        expected = torch.full((1, 4, 9), math.log(2))
        torch.testing.assert_close(found.line_integrals, expected, rtol=1e-5, atol=0)

    def test_dead_and_dark_pixels(self, tmp_path):
        """A dead bin lies on the line between its neighbours; a starved one at the least."""
        flat = self.FLAT.copy()
        flat[3] = 0
        stored = counts(ARRAY, self.FLAT, 0 * self.DARK)
        stored[1, 2, 5] = -3
        stored[0, 0, 0] = np.nan
        path = hdf5(tmp_path / "scan.h5", {"y": stored, "f": flat[None]})
        found = read_sinograms(path, key="y", flat="f", least_transmission=1e-3)
        assert (found.dead, found.clipped) == ((4 + 1, 4), (0, 1))
        y = found.sinograms[:, 0].numpy()
        np.testing.assert_allclose(y[:, :, 3], ARRAY[:, :, [2, 4]].mean(-1), rtol=1e-5)
        assert y[0, 0, 0] == pytest.approx(ARRAY[0, 0, 1], rel=1e-5)
        assert y[1, 2, 5] == pytest.approx(-math.log(1e-3))
        assert not found.transmitted[:, 0, :, 3].any()
        assert found.transmitted[0, 0, 0, 0] == 0
        assert found.transmitted[0, 0, 0, 1] > 0
        assert found.transmitted[1, 0, 2, 5] == pytest.approx(1e-3 * flat[5])

    @pytest.mark.parametrize(
        ("flat", "dark", "message"),
        [
            ("f", "g", r"data\.dark=g: expected an array named g"),
            ("d", "f", "check that flat and dark are those of this scan"),
            ("1", "none.npy", r"data\.dark=none\.npy: expected arrays at none\.npy"),
            ("short", None, "expected frames of 7 detector bins"),
            ("three", None, "expected 2 arrays, one for each sinogram, got 3"),
        ],
    )
    def test_fields_that_do_not_fit(self, flat, dark, message, tmp_path):
        sets = {"f": self.FLAT[None], "d": self.DARK[None], "short": self.FLAT[None, :5]}
        sets["three"] = np.stack([sets["f"]] * 3)
        path = hdf5(tmp_path / "scan.h5", sets | {"y": counts(ARRAY, self.FLAT, self.DARK)})
        with pytest.raises(UserError, match=message):
            read_sinograms(path, key="y", flat=flat, dark=dark)

    def test_a_projection_without_life(self, tmp_path):
        stored = counts(ARRAY, self.FLAT, 0 * self.DARK)
        stored[1, 2] = np.nan
        np.save(tmp_path / "scan.npy", stored)
        with pytest.raises(UserError, match=r"sinogram scan\[1\]: .* that of angle 2"):
            read_sinograms(tmp_path / "scan.npy", flat="1000")


@pytest.fixture(scope="module")
def simulated(prior, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    more = ("geometry.pixel_size=0.5", "geometry.unit=mm", "geometry.detector_offset=1.2")
    return run(prior, folder, "methods=[fbp]", "solver.t_min=0.025", *more)


class TestRuns:
    def test_a_run_folder_says_all(self, simulated, prior, tmp_path):
        """No setting of the geometry, the same numbers, and PSNR from the truth beside."""
        path = simulated / "reconstructions.h5"
        data = ("data.name=sinogram", f"data.path={path}", "data.key=sinogram")
        more = ("methods=[fbp]", "geometry.angles=null", "noise.relative=0.1")
        found = run(prior, tmp_path / "run", *more, "data.truth=ground_truth", data=data)
        np.testing.assert_allclose(arrays(found)["fbp"], arrays(simulated)["fbp"], atol=1e-5)
        ours, theirs = (table(folder / "metrics.csv") for folder in (found, simulated))
        for row, expected in zip(ours[::2], theirs[::2], strict=True):
            assert float(row["psnr"]) == pytest.approx(float(expected["psnr"]), abs=1e-3)
        assert set(arrays(found)) >= {"ground_truth"}
        again = load_reconstruct_config(found / "config.yaml")
        assert again.geometry.detector_offset == pytest.approx(1.2)

    def test_photons_weigh(self, simulated, prior, tmp_path):
        """Counts with a flat field and weights end in a run; weights change result and residual."""
        y = arrays(simulated)["sinogram"] / 4
        np.save(tmp_path / "scan.npy", 1e4 * np.exp(-y))
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npy'}", "data.flat=1e4")
        more = (
            "data.white=0.25",
            "geometry.pixel_size=0.5",
            "geometry.unit=mm",
            "geometry.detector_offset=1.2",
            "noise.relative=0.1",
        )
        found = {
            name: run(prior, tmp_path / name, *more, f"noise.weights={name}", data=data)
            for name in ("uniform", "transmission")
        }
        plain, weighted = (arrays(folder) for folder in found.values())
        np.testing.assert_allclose(plain["sinogram"], arrays(simulated)["sinogram"], atol=1e-3)
        np.testing.assert_array_equal(plain["fbp"], weighted["fbp"])
        for name in ("tv", "preconditioned"):
            assert np.abs(plain[name] - weighted[name]).max() > 1e-3
        geometry = replace(ParallelBeam2D.for_image(32, 20, 0.5, "mm"), detector_offset=1.2)
        weights = np.exp(-y) / np.exp(-y).mean((1, 2), keepdims=True)
        x = torch.from_numpy(weighted["preconditioned"])
        misfit = weights * (Radon(geometry)(x[:, None])[:, 0].numpy() - weighted["sinogram"]) ** 2
        with h5py.File(found["transmission"] / "reconstructions.h5") as file:
            expected = np.sqrt(misfit.mean((1, 2))) / file.attrs["sigma_y"]
        metrics = found["transmission"] / "metrics.csv"
        residuals = column(metrics, "residual", method="preconditioned")
        np.testing.assert_allclose(residuals, expected, rtol=1e-3)

    @pytest.mark.slow
    def test_photons_on_an_off_centre_detector_with_a_dead_bin(self, tmp_path):
        """All of it at once, with the shipped prior: 2,000 photons a ray, line integrals to 5."""
        geometry = replace(
            ParallelBeam2D.for_image(128, 60, 0.5, "mm"), detector_count=211, detector_offset=1.3
        )
        x = torch.from_numpy(phantoms(range(1), 0, "test", 128)).reshape(1, 1, 128, 128)
        y = 0.25 * Radon(geometry)(x)[:, 0].numpy()
        rng = np.random.default_rng(0)
        flat, dark = rng.uniform(1800, 2200, 211), np.full((1, 211), 20.0)
        sets = {
            "counts": rng.poisson(flat * np.exp(-y)) + dark,
            "flat": rng.poisson(flat, (10, 211)) + dark,
            "dark": dark,
            "truth": 0.25 * x[:, 0].numpy(),
            "angles": np.array(geometry.angles),
        }
        sets["counts"][..., 50] = sets["flat"][..., 50] = 20
        spacing = {"detector_spacing": geometry.detector_spacing, "pixel_size": 0.5}
        path = hdf5(tmp_path / "scan.h5", sets, angle_unit="radian", length_unit="mm", **spacing)
        keys = ("data.key=counts", "data.flat=flat", "data.dark=dark", "data.truth=truth")
        data = ("data.name=sinogram", f"data.path={path}", *keys, "data.white=0.25")
        more = (
            "methods=[]",
            "geometry.find_offset=true",
            "geometry.angles=null",
            "solver.steps=40",
        )
        quality = {}
        for name in ("uniform", "transmission"):
            options = (*more, "solver.t_min=null", f"noise.weights={name}")
            found = run(Path("ellipses-128"), tmp_path / name, *options, data=data)
            (quality[name],) = column(found / "metrics.csv", "psnr")
        offset = load_reconstruct_config(found / "config.yaml").geometry.detector_offset
        assert offset == pytest.approx(1.3, abs=0.05)
        assert quality["transmission"] > max(quality["uniform"] + 2, 35)

    def test_images_of_another_size(self, prior, tmp_path, capsys):
        path = hdf5(tmp_path / "scan.h5", {"y": np.tile(ARRAY, (1, 5, 7))}, image_shape=[16, 16])
        output = tmp_path / "output"
        more = ("geometry.detector_spacing=1", "noise.relative=0.1")
        arguments = settings(prior, output, *more, data=("data.name=sinogram", f"data.path={path}"))
        parts = ("expected images of 32x32 pixels", "got 16x16 from image_shape")
        refused_in_one_line(capsys, arguments, output, parts)

    def test_what_only_measured_data_have(self):
        for setting in ("geometry.find_offset=true", "noise.weights=transmission"):
            with pytest.raises(UserError, match=rf"{setting} is for measured sinograms"):
                load_reconstruct_config(None, [setting])
        data = ["data.name=sinogram", "data.path=x.npy"]
        for more, message in (
            (["data.white=2", "data.water=1"], r"data\.water: .* got both"),
            (["data.dark=1"], r"data\.dark: expected data\.flat"),
            (["geometry.find_offset=true", "geometry.detector_offset=1"], "got both"),
        ):
            with pytest.raises(UserError, match=message):
                load_reconstruct_config(None, [*data, *more])
