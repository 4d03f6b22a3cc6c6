"""Own images through the command line: trained on, described in the weights, reconstructed."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from gnclightning import build_run, cli
from gnclightning.priors import PriorMetadata, from_pretrained, save_pretrained
from own_images import write_hdf5
from run_folders import arrays, refused_in_one_line, settings, without_work

TINY_TRAINING = (
    "network.channels=8",
    "network.multipliers=[1,2]",
    "network.blocks=[1,1]",
    "optimizer.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.max_steps=1",
    "trainer.log_every_n_steps=1",
    "reconstruction.every_n_steps=0",
    "prior.parametrisation=energy",
    "logger.mode=disabled",
    "progress=false",
)


@pytest.fixture
def scans(tmp_path) -> Path:
    """HU in an HDF5 file with two arrays, the wanted one 12 x 32 x 32."""
    rng = np.random.default_rng(0)
    hounsfield = rng.integers(-1000, 3001, (12, 32, 32)).astype(np.int16)
    path = tmp_path / "scans.h5"
    write_hdf5(path, hounsfield=hounsfield, masks=hounsfield > 0)
    return path


def own(path, *more):
    return ["data.name=folder", f"data.path={path}", *more]


RANGE = ("data.key=hounsfield", "data.range=[-1000,3000]")


class TestCommandLine:
    def test_train_and_reconstruct_with_one_mapping(self, scans, tmp_path, capsys):
        trained, output = tmp_path / "trained", tmp_path / "run"
        data = own(scans, *RANGE)
        assert (
            cli.train(
                [*data, *TINY_TRAINING, "data.intensity_unit=HU", f"output={trained}"],
            )
            == 0
        )
        metadata = from_pretrained(trained)[1]
        assert metadata.training["range"] == [-1000, 3000]
        assert metadata.intensity_unit == "fraction of the range from -1000 to 3000 (HU)"
        assert metadata.intensity_range == (0, 1)

        arguments = settings(
            trained, output, "methods=[]", "solver.steps=1", data=[*data, "data.count=2"]
        )
        assert cli.reconstruct(arguments) == 0
        with h5py.File(scans) as file:
            expected = (file["hounsfield"][:2] + 1000.0) / 4000
        (truth,) = (v for k, v in arrays(output).items() if k in ("truth", "ground_truth"))
        np.testing.assert_array_equal(truth.reshape(2, 32, 32), np.float32(expected))
        assert "Traceback" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("given", "shown"),
        [(["data.range=[-2000,3000]"], "[-2000,3000]"), (["data.clip=true"], "null")],
    )
    def test_another_mapping_than_in_training(
        self, prior, tmp_path, capsys, monkeypatch, given, shown
    ):
        monkeypatch.delattr(build_run, "run")  # nothing may begin
        path, images = self.trained_on(prior, tmp_path, [-1000.5, 3000.0]), tmp_path / "a.npy"
        np.save(images, np.random.default_rng(0).random((1, 32, 32)))
        arguments = settings(path, tmp_path / "run", data=own(images, *given))
        assert cli.reconstruct(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        wanted = f"images mapped with data.range=[-1000.5,3000], as prior.path={path} was trained"
        assert wanted in error
        assert f"got {shown}: give the same, or data.name=folder data.range=[0,1] for" in error
        assert not (tmp_path / "run").exists()

    def test_files_that_were_mapped_before(self, prior, tmp_path, monkeypatch):
        runs = []
        without_work(monkeypatch)
        monkeypatch.setattr(build_run, "run", lambda *_: runs.append(_))
        path, images = self.trained_on(prior, tmp_path, [-1000.0, 3000.0]), tmp_path / "a.npy"
        np.save(images, np.random.default_rng(0).random((1, 32, 32)))
        data = own(images, "data.range=[0,1]")
        assert cli.reconstruct(settings(path, tmp_path / "run", data=data)) == 0
        assert cli.reconstruct(settings(path, tmp_path / "other")) == 0  # phantoms need no range
        assert len(runs) == 2

    @pytest.mark.parametrize(
        ("geometry", "fits"),
        [
            (("pixel_size=1.5", "unit=mm"), True),
            (("pixel_size=0.98", "unit=mm"), True),
            (("pixel_size=2.2", "unit=mm"), False),
            (("pixel_size=0.9", "unit=mm"), False),
            (("pixel_size=3", "unit=pixel"), True),
        ],
    )
    def test_pixels_of_another_size_than_in_training(
        self, prior, tmp_path, monkeypatch, capsys, geometry, fits
    ):
        without_work(monkeypatch)
        path = tmp_path / "mm.safetensors"
        training = {"pixel_size_range": [1.0, 2.0]}
        metadata = PriorMetadata((32, 32), pixel_size=1.5, length_unit="mm", training=training)
        save_pretrained(from_pretrained(prior)[0], metadata, path)
        more = [f"geometry.{setting}" for setting in geometry]
        assert cli.reconstruct(settings(path, tmp_path / "run", *more)) == (0 if fits else 2)
        error = capsys.readouterr().err
        assert fits or f"expected pixels of 1 to 2 mm, as prior.path={path} was trained" in error

    def test_lengths_in_another_unit_than_in_training(self, prior, tmp_path, capsys):
        path, output = tmp_path / "mm.safetensors", tmp_path / "run"
        metadata = PriorMetadata((32, 32), pixel_size=1.5, length_unit="mm")
        save_pretrained(from_pretrained(prior)[0], metadata, path)
        arguments = settings(path, output, "geometry.pixel_size=0.15", "geometry.unit=cm")
        parts = ("expected lengths in mm", "got geometry.unit=cm: give geometry.unit=mm")
        refused_in_one_line(capsys, arguments, output, parts)

    @staticmethod
    def trained_on(prior, tmp_path, limits):
        """The prior, as if trained on files with this range."""
        path = tmp_path / "mapped.safetensors"
        training = {"range": limits}
        save_pretrained(from_pretrained(prior)[0], PriorMetadata((32, 32), training=training), path)
        return path

    @pytest.mark.parametrize("program", [cli.train, cli.reconstruct])
    @pytest.mark.parametrize(
        ("more", "part"),
        [
            ((), "got hounsfield (12, 32, 32), masks (12, 32, 32): choose one with data.key=NAME"),
            (("data.key=hounsfeld",), "did you mean hounsfield?"),
            (("data.key=masks",), "got bool: convert them"),
            (("data.key=hounsfield",), "got int16 from"),
            ((RANGE[0], "data.range=[0,3000]"), "outside, from -"),
            ((RANGE[0], "data.range=[3000,0]"), "[LOW,HIGH] with LOW < HIGH"),
            ((RANGE[0], "data.range=[0]"), "data.range: expected [LOW,HIGH] with LOW < HIGH"),
            ((RANGE[0], "data.range=5"), "data.range: expected list of number | null"),
        ],
    )
    def test_mistakes_end_in_one_line(self, scans, capsys, tmp_path, program, more, part):
        output = tmp_path / "run"
        assert program([*own(scans, *more), f"output={output}", "logger.mode=disabled"]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert part in error
        assert not output.exists()

    @pytest.mark.parametrize("program", [cli.train, cli.reconstruct])
    def test_a_damaged_file_ends_in_one_line(self, scans, capsys, tmp_path, program):
        scans.write_bytes(scans.read_bytes()[:-1000])
        output = tmp_path / "run"
        arguments = [*own(scans, *RANGE), f"output={output}", "logger.mode=disabled"]
        assert program(arguments) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert error.startswith(f"error: expected a readable HDF5 file at {scans}, got: ")
