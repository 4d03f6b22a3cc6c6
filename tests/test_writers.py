"""Files appear whole or not at all, and hold what is finished."""

import errno
import json
import math
import os

import h5py
import numpy as np
import pytest
import torch

from batches import GEOMETRY, batch, names_in, result, run_folder
from gnclightning import files
from gnclightning.operators import Radon
from gnclightning.reconstruction import figures
from gnclightning.reconstruction.methods import Outcome
from gnclightning.reconstruction.runner import Observer, run
from run_folders import arrays, table


class TestRunFolder:
    def test_what_is_finished_is_written(self, tmp_path):
        run_folder(tmp_path).close([result("a", "b")])
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b"]
        assert len(table(tmp_path / "trace.csv")) == 6
        assert not json.loads((tmp_path / "summary.json").read_text())["finished"]
        run_folder(tmp_path).close([result("a", "b"), result("c")])
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b", "c"]
        assert json.loads((tmp_path / "summary.json").read_text())["finished"]

    def test_where_nothing_is_finished_nothing_is_written(self, tmp_path):
        run_folder(tmp_path).close([])
        assert names_in(tmp_path) == []

    def test_arrays_are_joined_in_order(self, tmp_path):
        parts = [result("a", "b"), result("ccc")]
        run_folder(tmp_path).close(parts)
        found = arrays(tmp_path)
        for name, tensors in {
            "ground_truth": [p.batch.truth for p in parts],
            "sinogram": [p.batch.y for p in parts],
            "fbp": [p.batch.direct for p in parts],
            "gnc_flow": [p.methods[0].x for p in parts],
        }.items():
            np.testing.assert_array_equal(found[name], torch.cat(tensors)[:, 0].numpy())
        with h5py.File(tmp_path / "reconstructions.h5") as file:
            assert list(file.attrs["image_names"]) == ["a", "b", "ccc"]
            assert file["sinogram"].attrs["unit"] == "1/cm * cm"

    def test_summary_joins_certificates_and_stands_infinite_numbers(self, tmp_path):
        run_folder(tmp_path).close([result("a", "b"), result("c", psnr=math.inf)])
        values = json.loads((tmp_path / "summary.json").read_text())["methods"]["gnc_flow"]
        assert values["psnr"] == {"mean": None, "std": None}
        assert values["statuses"] == {"converged": 3}
        assert values["network_evaluations_per_iteration"] == 2.5
        assert values["certificate"] == {
            "descent_share": 1.0,
            "descent_bound": 0.125,
            "length_bound": 2.0,
            "fallbacks": 3,
            "armijo_share": 0.5,
            "relative_stationarity": 0.25,
            "failures": 3,
            "monotone": 3,
            "gradient_like": 0,
        }

    def test_certificates_are_written_image_by_image(self, tmp_path):
        run_folder(tmp_path).close([result("a", "b"), result("c")])
        values = json.loads((tmp_path / "certificate.json").read_text())["gnc_flow"]
        assert [row["image"] for row in values["images"]] == ["a", "b", "c"]
        assert values["images"][2]["decrease"] == 3
        assert values["images"][0]["lipschitz"] is None
        assert values["images"][0]["gradient_like"] is False
        assert values["verdict"] == (
            "0 of 3 runs gradient-like: directions descended in 100 % of the iterations, steps "
            "satisfied Armijo's rule in 50 %, 3 searches failed; |grad f| ended at 0.25 of its "
            "start or less"
        )

    def test_a_full_disk_leaves_the_last_files_whole(self, tmp_path, monkeypatch):
        observer = run_folder(tmp_path)
        observer.close([result("a", "b")])
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

        def full(source, target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

        monkeypatch.setattr(files.os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            observer.close([result("a", "b"), result("c")])
        after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before
        monkeypatch.undo()
        observer.close([result("a", "b"), result("c")])
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b", "c"]

    def test_an_interrupted_run_keeps_what_was_finished(self, tmp_path):
        class Interrupting(Observer):
            batches = 0

            def batch_started(self, batch):
                self.batches += 1
                if self.batches == 2:
                    raise KeyboardInterrupt

        class Half:
            name = "half"

            def __call__(self, measured, callback):
                none = torch.zeros(len(measured.names), dtype=torch.int64)
                x = measured.truth / 2
                return Outcome(x, ["direct"] * len(x), none, none, none)

        batches = [batch("a", "b"), batch("c")]
        with pytest.raises(KeyboardInterrupt):
            run(batches, Radon(GEOMETRY), [Half()], [run_folder(tmp_path), Interrupting()])
        assert [row["image"] for row in table(tmp_path / "metrics.csv")] == ["a", "b"]
        assert table(tmp_path / "trace.csv") == []
        np.testing.assert_array_equal(arrays(tmp_path)["half"], batches[0].truth[:, 0] / 2)
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert (summary["finished"], summary["images"], summary["images_asked_for"]) == (
            False,
            2,
            3,
        )
        assert not [name for name in names_in(tmp_path) if name.startswith(".")]
        assert names_in(tmp_path / "figures") == ["errors.png", "reconstructions.png"]

    def test_an_interruption_while_drawing_leaves_the_run_unfinished(self, tmp_path, monkeypatch):
        def interrupt(results):
            raise KeyboardInterrupt

        monkeypatch.setattr(figures, "draw", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_folder(tmp_path, images=1).close([result("a")])
        assert not (tmp_path / "summary.json").exists()
        monkeypatch.undo()
        run_folder(tmp_path, images=1).close([result("a")])
        found = ["convergence.png", "errors.png", "reconstructions.png"]
        assert names_in(tmp_path / "figures") == found
        assert json.loads((tmp_path / "summary.json").read_text())["finished"]


def test_environment_has_no_stray_files(tmp_path):
    """The probe and all temporary files are gone."""
    run_folder(tmp_path).close([result("a")])
    found = [name for _, _, names in os.walk(tmp_path) for name in names]
    assert sorted(found) == [
        *("certificate.json", "convergence.png", "errors.png", "metrics.csv", "reconstructions.h5"),
        *("reconstructions.png", "summary.json", "trace.csv"),
    ]
