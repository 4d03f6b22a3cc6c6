"""Images that cannot be used are left out, memory that runs out is made do with; others go on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import reports
from gnclightning.cli import reconstruct
from gnclightning.priors import NetworkEnergy
from run_folders import PHANTOMS, arrays, run, settings, table

ALONE = ("methods=[]", "batch_size=1")

pytestmark = pytest.mark.usefixtures("without_figures")


def statuses(folder: Path) -> dict[str, str]:
    """The status of each image."""
    return {row["image"]: row["status"] for row in table(folder / "metrics.csv")}


def write_files(folder: Path, stack: np.ndarray, unreadable: int | None = None) -> Path:
    """A folder with a file for each array, one of which may hold a web page in its place."""
    folder.mkdir()
    for n, array in enumerate(stack):
        np.save(folder / f"{n}.npy", array)
    if unreadable is not None:
        (folder / f"{unreadable}.npy").write_bytes(b"<html>")
    return folder


class TestOneBadImage:
    def test_is_left_out_and_changes_no_other(self, prior, tmp_path, capsys):
        """NaN, out of range, constant; the others keep their noise and start."""
        images = np.random.default_rng(0).random((6, 32, 32), dtype=np.float32)
        bad = images.copy()
        bad[1, 3, 4], bad[2, 5, 5], bad[4] = np.nan, 1.5, 0.25
        results = []
        for name, stack in (("good", images), ("bad", bad)):
            np.save(tmp_path / "images.npy", stack)
            data = ("data.name=folder", f"data.path={tmp_path / 'images.npy'}")
            results.append(run(prior, tmp_path / name, "methods=[]", "batch_size=1", data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[0, 3, 5]])
        summary = json.loads((tmp_path / "bad" / "summary.json").read_text())
        assert summary["finished"]
        assert list(summary["left_out"]) == ["images[2]", "images[1]", "images[4]"]
        assert "NaN" in summary["left_out"]["images[1]"]
        assert "outside" in summary["left_out"]["images[2]"]
        rows = table(tmp_path / "bad" / "metrics.csv")
        assert [row["image"] for row in rows[:3]] == ["images[0]", "images[3]", "images[5]"]
        assert [(row["image"], row["method"], row["psnr"], row["status"]) for row in rows[3:]] == [
            (name, "", "", "left out") for name in summary["left_out"]
        ]
        shown = reports.content(tmp_path / "bad")
        assert shown["summary"]["left_out"] == summary["left_out"]
        assert sorted(row[0] for row in shown["table"]["rows"]) == [r["image"] for r in rows[:3]]
        error = capsys.readouterr().err
        assert error.count("left out: image images[") == 3

    def test_a_file_that_cannot_be_read(self, prior, tmp_path, capsys):
        """It counts as one image, so that the others keep their noise and start."""
        images = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
        results = []
        for name, unreadable in (("good", None), ("bad", 1)):
            folder = write_files(tmp_path / name, images, unreadable)
            data = ("data.name=folder", f"data.path={folder}")
            results.append(run(prior, tmp_path / f"run-{name}", *ALONE, data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[0, 2]])
        assert "left out: expected a .npy file" in capsys.readouterr().err
        assert statuses(results[1]) == {"0": "budget spent", "2": "budget spent", "1": "left out"}

    def test_sinograms(self, prior, tmp_path, capsys):
        """NaN, constant, of other units, unreadable: the others are as without."""
        found = run(prior, tmp_path / "simulated", "methods=[]", "data.count=6")
        y = arrays(found)["sinogram"]
        bad = y.copy()
        bad[0, 3, 4], bad[2], bad[4] = np.nan, 0.25, 1e6 * bad[4]
        results = []
        for name, stack, unreadable in (("good", y, None), ("bad", bad, 5)):
            folder = write_files(tmp_path / name, stack, unreadable)
            data = ("data.name=sinogram", f"data.path={folder}")
            arguments = (*ALONE, "noise.relative=0.1")
            results.append(run(prior, tmp_path / f"run-{name}", *arguments, data=data))
        good, left = (arrays(folder) for folder in results)
        for key in ("sinogram", "preconditioned"):
            np.testing.assert_array_equal(left[key], good[key][[1, 3]])
        summary = json.loads((results[1] / "summary.json").read_text())
        assert sorted(summary["left_out"]) == ["0", "2", "4", "5"]
        for name, part in {"0": "NaN", "2": "constant", "4": "data.white", "5": "npy"}.items():
            assert part in summary["left_out"][name]
        assert capsys.readouterr().err.count("left out: ") == 4
        expected = dict.fromkeys("13", "budget spent") | dict.fromkeys("0245", "left out")
        assert statuses(results[1]) == expected

    def test_counts_and_truth_beside_them(self, prior, tmp_path):
        """A projection without life, a flat field and a ground truth that cannot be used."""
        found = arrays(run(prior, tmp_path / "simulated", "methods=[]", "data.count=4"))
        counts = 1000 * np.exp(-0.05 * found["sinogram"])
        flat = np.full((4, 1, counts.shape[-1]), 1000, np.float32)
        truth = 0.05 * found["ground_truth"]
        counts[0, 5], flat[1], truth[3, 2, 2] = np.nan, np.nan, np.inf
        np.savez(tmp_path / "scan.npz", y=counts, flat=flat, truth=truth)
        data = ("data.name=sinogram", f"data.path={tmp_path / 'scan.npz'}", "data.key=y")
        more = ("data.flat=flat", "data.truth=truth", "data.white=0.05", "noise.relative=0.1")
        folder = run(prior, tmp_path / "run", *ALONE, *more, data=data)
        expected = {"scan[2]": "budget spent"} | {f"scan[{n}]": "left out" for n in (0, 1, 3)}
        assert statuses(folder) == expected
        whole = arrays(folder)
        for name in ("sinogram", "ground_truth"):
            np.testing.assert_allclose(whole[name], found[name][[2]], rtol=1e-3, atol=1e-5)

    def test_nothing_is_left(self, prior, tmp_path, capsys):
        """The first reason is said."""
        for n in range(2):
            (tmp_path / f"{n}.npy").write_bytes(b"<html>")
        data = ("data.name=sinogram", f"data.path={tmp_path}")
        assert reconstruct(settings(prior, tmp_path / "run", data=data)) == 2
        assert "0.npy, got" in capsys.readouterr().err

    def test_not_finite_in_a_batch(self, prior, tmp_path, monkeypatch):
        """The prior fails for one image from its third evaluation on, also when it is alone."""
        original, calls = NetworkEnergy.energy_and_score, []

        def failing(self, x, t):
            energy, score = original(self, x, t)
            calls.append(len(x))
            if len(x) != 2 and calls.count(3) > 2:
                energy[len(x) // 2] = torch.nan
            return energy, score

        whole = run(prior, tmp_path / "whole", "methods=[]")
        monkeypatch.setattr(NetworkEnergy, "energy_and_score", failing)
        folder = run(prior, tmp_path / "bad", "methods=[]")
        statuses = [row["status"] for row in table(folder / "metrics.csv")]
        assert statuses[::2] == ["budget spent"] * 2
        assert statuses[1] in ("not finite", "search failed")
        found, expected = (arrays(f)["preconditioned"] for f in (folder, whole))
        np.testing.assert_allclose(found[::2], expected[::2], rtol=1e-4, atol=1e-4)


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1"),
            MemoryError("Unable to allocate"),
        ],
        ids=["cuda", "cpu", "numpy"],
    )
    def test_half_the_images_go_on(self, prior, tmp_path, monkeypatch, capsys, error):
        data = (*PHANTOMS[:2], "data.count=7")
        more = ("batch_size=7", "progress=true", "methods=[tv]")
        whole = run(prior, tmp_path / "whole", *more, data=data)
        original, sizes = NetworkEnergy.energy_and_score, []

        def short(self, x, t):
            sizes.append(len(x))
            if len(x) > 2:
                raise error
            return original(self, x, t)

        monkeypatch.setattr(NetworkEnergy, "energy_and_score", short)
        found = run(prior, tmp_path / "short", *more, data=data)
        tried = [size for size in sizes if size > 2]
        assert tried == [7, 3]
        assert max(sizes[sizes.index(3) + 1 :]) == 1
        for name in ("preconditioned", "tv"):
            ours, theirs = (arrays(f)[name] for f in (found, whole))
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        assert len(table(found / "trace.csv")) == len(table(whole / "trace.csv"))
        error_text = capsys.readouterr().err
        assert "out of memory: going on with 3 images at once" in error_text
        assert "out of memory: going on with 1 images at once" in error_text
