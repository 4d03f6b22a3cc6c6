"""`report.html`: what it says of a run folder."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import reports
from batches import result, run_folder
from gnclightning.config import load_reconstruct_config
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.reconstruction.report import gallery, write_report
from gnclightning.reconstruction.report.content import MOST_ROWS
from gnclightning.reconstruction.report.page import embedded
from reports import NASTY, content, made_up, parsed, unpacked
from run_folders import arrays, column

METHODS = ("fbp", "preconditioned")


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    return reports.eight(prior, tmp_path_factory.mktemp("runs") / "it's a run")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory) -> Path:
    return reports.thousand(tmp_path_factory.mktemp("thousand"))


class TestContent:
    def test_summary_is_that_of_the_run(self, folder):
        found = content(folder)
        summary = json.loads((folder / "summary.json").read_text())
        certificate = json.loads((folder / "certificate.json").read_text())["preconditioned"]
        assert found["summary"]["verdict"] == certificate["verdict"]
        gradient_like = [row["gradient_like"] for row in certificate["images"]]
        assert found["summary"]["gradient_like"] == sum(gradient_like)
        labels = {method["label"]: method["psnr"] for method in found["summary"]["methods"]}
        assert list(labels) == ["GNC", "FBP", "GNC mean"]
        assert labels["GNC"] == summary["methods"]["preconditioned"]["psnr"]
        assert found["environment"] == summary["environment"]
        seconds = [column(folder / "metrics.csv", "seconds", method=m) for m in METHODS]
        assert found["summary"]["seconds"] == pytest.approx(np.sum(np.mean(seconds, axis=1)))
        assert found["summary"]["left_out"] == {}
        assert found["title"] == "it's a run"

    def test_the_command_repeats_the_run(self, folder, tmp_path):
        found = content(folder)
        _, option, config, again = shlex.split(found["command"])
        assert (option, again) == ("--config", f"output={folder}-again")
        assert load_reconstruct_config(config, [again]).starts == 2
        assert found["config"] == (folder / "config.yaml").read_text()

    def test_images_are_those_of_the_file_to_half_a_level_worst_first(self, folder):
        found, stored = content(folder)["gallery"], arrays(folder)
        psnr = np.array(column(folder / "metrics.csv", "psnr", method="preconditioned"))
        numbers = [image["number"] for image in found["images"]]
        assert numbers == np.argsort(psnr).tolist()
        assert [kind["key"] for kind in found["layers"]] == [
            *("fbp", "preconditioned", "preconditioned_mean", "ground_truth"),
            "preconditioned_mean_std",
        ]
        for image in found["images"]:
            assert image["name"] == f"ellipses[{image['number']}]"
            for key, layer in image["layers"].items():
                expected = stored[key][image["number"]]
                half = (expected.max() - expected.min()) / (gallery.LEVELS - 1) / 2
                difference = np.abs(unpacked(layer, expected.shape) - expected).max()
                assert difference <= 1.001 * half + 1e-7

    def test_curves_are_quantiles_of_the_trace(self, folder):
        curves = {curve["label"]: curve for curve in content(folder)["curves"]}
        assert len(curves) == 5
        curve = curves["objective f"]
        rows = [column(folder / "trace.csv", "objective", image=f"ellipses[{n}]") for n in range(8)]
        for name, expected in {
            "mean": np.mean(rows, axis=0),
            "low": np.quantile(rows, 0.1, axis=0),
            "high": np.quantile(rows, 0.9, axis=0),
        }.items():
            np.testing.assert_allclose(curve[name], expected, rtol=1e-4)
        np.testing.assert_allclose(curve["images"]["ellipses[3]"], rows[3], rtol=1e-4)
        assert curves["step size"]["iterations"] == [1, 2, 3, 4, 5, 6]

    def test_histograms_count_every_image(self, folder):
        found = {one["label"]: one for one in content(folder)["histograms"]}
        psnr = column(folder / "metrics.csv", "psnr", method="fbp")
        one = found["PSNR (dB)"]
        expected, _ = np.histogram(psnr, one["edges"])
        assert sum(one["counts"]["FBP"]) == 8
        assert np.abs(np.array(one["counts"]["FBP"]) - expected).sum() <= 2  # rounded edges

    def test_the_discrepancy_is_that_of_the_saved_image(self, folder):
        stored = arrays(folder)
        operator = Radon(ParallelBeam2D.for_image(32, 20))
        projected = operator(torch.from_numpy(stored["preconditioned"])[:, None])[:, 0].numpy()
        residual = np.sqrt(np.square(projected - stored["sinogram"]).mean((1, 2)))
        truth = operator(torch.from_numpy(stored["ground_truth"])[:, None])[:, 0].numpy()
        expected = residual / (0.1 * np.abs(truth).mean((1, 2)))
        table = content(folder)["table"]
        place = table["columns"].index("|Ax-y| / noise")
        found = {row[0]: row[place] for row in table["rows"]}
        for n, value in enumerate(expected):
            assert found[f"ellipses[{n}]"] == pytest.approx(value, rel=1e-3)

    def test_without_ground_truth_failures_come_first(self, tmp_path):
        made_up(tmp_path, ["a", "b", "c"], known=False)
        found = content(tmp_path)
        assert not found["summary"]["known"]
        assert "ground_truth" not in [kind["key"] for kind in found["gallery"]["layers"]]
        place = found["table"]["columns"].index("|Ax-y| / noise")
        values = [abs(row[place] - 1) for row in found["table"]["rows"]]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3
        assert found["histograms"][0]["label"] == "|Ax - y| over the noise"


class TestSize:
    def test_a_thousand_images_keep_it_small(self, thousand):
        found = content(thousand)
        numbers = [image["number"] for image in found["gallery"]["images"]]
        assert numbers[:50] == list(range(50))  # PSNR grows with the number
        assert len(numbers) == len(set(numbers)) == 64
        assert numbers[-1] == 999
        assert np.ptp(np.diff(numbers[50:])) <= 1
        assert found["gallery"]["note"].startswith(
            "64 of 1,000 images: the 50 worst by PSNR, and 14 evenly spaced among the others."
        )
        assert len(found["table"]["rows"]) == 1000
        assert set(found["curves"][0]["images"]) == {f"slice {n:04d}" for n in numbers}
        assert (thousand / "report.html").stat().st_size < 500_000

    def test_large_images_are_fewer(self, tmp_path, monkeypatch):
        monkeypatch.setattr(gallery, "BUDGET", 1000)
        found = content(made_up(tmp_path, [f"{n}" for n in range(100)]))
        size = sum(
            len(layer["data"])
            for image in found["gallery"]["images"]
            for layer in image["layers"].values()
        )
        assert 1 <= len(found["gallery"]["images"]) < 10
        assert size <= 1000
        assert "more would make this file too large" in found["gallery"]["note"]

    def test_the_table_is_bounded_too(self, tmp_path):
        names = [f"{n}" for n in range(MOST_ROWS + 50)]
        table = content(made_up(tmp_path, names))["table"]
        assert (len(table["rows"]), table["images"]) == (MOST_ROWS, len(names))


class TestSafety:
    def test_nothing_of_the_run_becomes_html(self, tmp_path):
        path = made_up(tmp_path / "<i>run&", [NASTY, "b"])
        found, page = parsed(path)
        assert found["gallery"]["images"][0]["name"] == NASTY
        assert NASTY in found["config"]
        assert page.tags.count("script") == 2
        assert not {"b", "i"} & set(page.tags) - {"i"}
        text = (path / "report.html").read_text()
        assert "<title>&lt;i&gt;run&amp;</title>" in text
        assert "alert(1)</script>" not in text

    def test_the_page_names_no_other_address(self, folder):
        _, page = parsed(folder)
        assert page.addresses == ["data:,"]
        text = (folder / "report.html").read_text()
        assert text.count("http://") == text.count("http://www.w3.org/2000/svg") == 1
        assert "https://" not in text

    def test_json_in_html(self):
        text = embedded({"a": [float("nan"), "<!--</script>&"]})
        assert json.loads(text) == {"a": [None, "<!--</script>&"]}
        assert not set("<>&") & set(text)

    def test_images_that_are_no_numbers(self):
        image = np.array([[np.nan, 1.0], [2.0, np.inf]], np.float32)
        np.testing.assert_allclose(unpacked(gallery.pack(image), (2, 2)), [[1, 1], [2, 1]])
        nothing = np.full((2, 2), np.nan, np.float32)
        np.testing.assert_array_equal(unpacked(gallery.pack(nothing), (2, 2)), np.zeros((2, 2)))


def test_an_unfinished_run_has_a_report_of_what_it_finished(tmp_path):
    observer = run_folder(tmp_path, 5)
    (tmp_path / "config.yaml").write_text("")
    observer.close([result("a", "b")])
    write_report(tmp_path)
    summary = content(tmp_path)["summary"]
    assert (summary["finished"], summary["images"], summary["images_asked_for"]) == (False, 2, 5)


def test_the_table_of_the_page_is_that_of_the_metrics(folder):
    table = content(folder)["table"]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = {(row["image"], row["method"]): row for row in csv.DictReader(file)}
    place = table["columns"].index("PSNR GNC")
    for row in table["rows"]:
        expected = float(rows[row[0], "preconditioned"]["psnr"])
        assert row[place] == pytest.approx(expected, rel=1e-4)
        assert row[-1] == rows[row[0], "preconditioned"]["status"]
