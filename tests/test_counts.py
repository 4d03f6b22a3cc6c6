"""What a detector counts, with flat and dark field, as line integrals."""

import math

import numpy as np
import pytest
import torch

from gnclightning.data.sinogram_files import read_sinograms
from gnclightning.data.transmission import transmission
from gnclightning.errors import UserError
from scan_files import ARRAY, hdf5, npz


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
