"""Tracking: an offline run's file is read back and holds what the run's tables hold."""

import json
import time
from collections import defaultdict
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gnclightning import tracking
from gnclightning.reconstruction.tracking import COLUMNS, Tracking
from gnclightning.reconstruction.writers import RunFolder
from gnclightning.tracking import effective_mode
from run_folders import COUNT, STEPS, arrays, column, run, table
from wandb_files import Logged

OFFLINE = ("logger.mode=offline", "methods=[]")


@pytest.fixture(scope="module")
def folders(prior, tmp_path_factory) -> tuple[Path, Path]:
    """The same run in one batch and in two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_draw", lambda self: None)  # no figures
        run(prior, one, *OFFLINE, "batch_size=3", "logger.images_every=2", "logger.name=mine")
        compared = ("logger.mode=offline", "methods=[fbp]")
        run(prior, two, *compared, "batch_size=2", "logger.images_every=0")
    return one, two


@pytest.fixture(scope="module")
def logged(folders) -> tuple[Logged, Logged]:
    return Logged(folders[0]), Logged(folders[1])


def means(folder: Path, name: str) -> dict[int, float]:
    """Mean of a column of the trace by iteration."""
    values = defaultdict(list)
    for row in table(folder / "trace.csv"):
        if row[name]:
            values[int(row["iteration"])].append(float(row[name]))
    return {iteration: np.mean(numbers) for iteration, numbers in values.items()}


@pytest.mark.parametrize("name", COLUMNS)
def test_curves_are_those_of_the_trace(name, folders, logged):
    for folder, found in zip(folders, logged, strict=True):
        curve = found.curve(f"reconstruct/{name}")
        assert curve == pytest.approx(means(folder, name), rel=1e-12)
        assert len(curve) >= STEPS
        for image in (f"ellipses[{n}]" for n in range(COUNT)):
            mine = [row for row in table(folder / "trace.csv") if row["image"] == image]
            expected = {int(row["iteration"]): float(row[name]) for row in mine if row[name]}
            assert found.curve(f"reconstruct/{name}/{image}") == expected


def test_batches_have_curves_of_their_own(folders, logged):
    trace = folders[1] / "trace.csv"
    last = column(trace, "objective", image="ellipses[2]")
    curve = logged[1].curve("reconstruct/batch_2/objective")
    assert curve == dict(enumerate(last))
    assert not any("batch" in key for row in logged[0].history for key in row)


def test_iteration_is_the_x_axis_of_all(logged):
    for found in logged:
        keys = {key for row in found.history for key in row if not key.startswith("_")}
        curves = {k for k in keys if k.startswith("reconstruct/") and k != "reconstruct/iteration"}
        assert len(curves) > len(COLUMNS) * (COUNT + 1)
        for key in curves:
            exact, group = found.step_metrics.get(key), key.rpartition("/")[0] + "/*"
            assert (exact or found.step_metrics[group]) == "reconstruct/iteration"


def test_pictures_every_so_often_and_at_the_end(folders, logged):
    for found, iterations in zip(logged, ([0, 2, 4, 6, 6], [6, 6]), strict=True):
        rows = [row for row in found.history if "reconstruct/images._type" in row]
        assert [row["reconstruct/iteration"] for row in rows] == iterations
    (path,) = folders[0].glob("wandb/offline-run-*/files/media/images/reconstruct")
    assert len(list(path.iterdir())) == 5 * COUNT


def test_pictures_are_fbp_reconstruction_truth_and_error(folders):
    """The last ones, against the run's file."""
    stored = arrays(folders[0])
    (path,) = folders[0].glob("wandb/offline-run-*/files/media/images/reconstruct")
    by_step: dict[int, list[np.ndarray]] = defaultdict(list)
    for file in path.iterdir():
        by_step[int(file.name.split("_")[1])].append(np.asarray(Image.open(file)))
    last = by_step[max(by_step)]
    x, truth = stored["preconditioned"], stored["ground_truth"]
    panels = np.concatenate([stored["fbp"], x, truth, 5 * np.abs(x - truth)], axis=-1)
    expected = (255 * panels.clip(0, 1)).round()
    for picture in last:
        assert min(np.abs(picture - image).max() for image in expected) <= 1
    assert len(last) == COUNT


def test_the_spread_over_the_images_follows_their_mean(folders, logged):
    for folder, found in zip(folders, logged, strict=True):
        for name in ("psnr", "objective"):
            rows = [column(folder / "trace.csv", name, iteration=str(n)) for n in range(STEPS + 1)]
            curve = found.curve(f"reconstruct/spread/{name}")
            assert list(curve.values()) == pytest.approx(np.std(rows, axis=1), rel=1e-9)


def test_metrics_table_is_the_metrics_file(folders, logged):
    for folder in folders:
        (path,) = folder.glob("wandb/offline-run-*/files/media/table/reconstruct/*.json")
        found = json.loads(path.read_text())
        rows = table(folder / "metrics.csv")
        assert found["columns"] == list(rows[0])
        written = [[cell or "nan" for cell in row.values()] for row in rows]
        assert [[str(value) for value in row] for row in found["data"]] == written


def test_the_summary_compares_methods(folders, logged):
    for folder, found, methods in zip(
        folders, logged, [["preconditioned"], ["fbp", "preconditioned"]], strict=True
    ):
        expected = {
            f"{name}/{method}": np.mean(column(folder / "metrics.csv", name, method=method))
            for name in ("psnr", "ssim")
            for method in methods
        }
        summary = {key: found.summary.get(key) for key in expected}
        assert summary == pytest.approx(expected, rel=1e-5)


def test_configuration_and_name(folders, logged):
    assert (logged[0].name, logged[1].name) == ("mine", folders[1].name)
    assert logged[0].config["solver"]["steps"] == STEPS
    assert logged[0].config["batch_size"] == 3


@pytest.mark.parametrize(
    ("environment", "netrc", "expected"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "abc"}, "", "online"),
        ({}, "machine api.wandb.ai login user password abc", "online"),
        (
            {"WANDB_BASE_URL": "https://w.example.org"},
            "machine api.wandb.ai login u password a",
            "offline",
        ),
        (
            {"WANDB_BASE_URL": "https://w.example.org"},
            "machine w.example.org login u password a",
            "online",
        ),
        ({}, "machine api.wandb.ai nonsense", "offline"),
    ],
)
def test_auto_is_online_for_who_is_logged_in(environment, netrc, expected, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert effective_mode("auto") == expected
    assert effective_mode("disabled") == "disabled"


def test_nothing_is_printed(prior, tmp_path, capfd):
    run(prior, tmp_path, *OFFLINE, "solver.steps=1")
    out, err = capfd.readouterr()
    assert "wandb" not in out.replace(str(tmp_path), "")
    assert err == ""


def test_a_failure_of_tracking_is_reported_once_and_ends_nothing():
    def fail():
        raise RuntimeError("no\n  network")

    console = Console(file=(file := StringIO()), width=80)
    tracking = Tracking(fail, {}, 3, 3, 10, console)
    tracking.batch_started(None)
    tracking.batch_started(None)
    tracking.iterated(None)
    tracking.close([])
    assert file.getvalue() == "W&B tracking stopped: no network\n"


def test_without_network_a_run_is_kept_offline_at_once(tmp_path, monkeypatch):
    """Someone is logged in, and nobody answers."""
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "_START_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.warns(UserWarning, match="kept offline; `wandb sync` sends it"):
        logger = tracking.open_logger("auto", "project", "mine", tmp_path)
    logger.experiment.log({"reconstruct/iteration": 3, "reconstruct/psnr": 30.0})
    logger.experiment.finish()
    assert time.monotonic() - began < 30  # by itself it tries for 90
    found = Logged(tmp_path)
    assert (found.name, found.curve("reconstruct/psnr")) == ("mine", {3: 30.0})


def test_an_interruption_is_no_failure_of_tracking():
    def interrupt():
        raise KeyboardInterrupt

    tracking = Tracking(interrupt, {}, 3, 3, 10, Console(file=StringIO()))
    with pytest.raises(KeyboardInterrupt):
        tracking.batch_started(None)
