"""The 2D experiment's command line: what it writes, refuses, and goes on from."""

import json

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from gnclightning.config import from_yaml_text, load
from gnclightning.experiments.toy2d import experiment
from gnclightning.experiments.toy2d.config import Toy2DConfig
from gnclightning.experiments.toy2d.methods import study_counts
from gnclightning.experiments.toy2d.program import toy2d
from programs import check_program, imported
from wandb_files import Logged

SMALL = (
    "toy2d.starts=6",
    "toy2d.steps=30",
    "toy2d.t_max=[1.5,0.3]",
    "toy2d.workers=1",
    "progress=false",
)
T_MAX = [0.3, 1.5]
RATES = ("global_minimum_rate", "stationary_rate", "strict_stationary_rate")


def contents(folder):
    with h5py.File(folder / "rates.h5") as file:
        found = {}
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
        return found, dict(file.attrs)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, with the study and an offline W&B run."""
    path = tmp_path_factory.mktemp("toy") / "run"
    arguments = [*SMALL, f"output={path}", "toy2d.study=true", "logger.mode=offline"]
    assert toy2d(arguments) == 0
    return path


class TestFiles:
    def test_the_summary_holds_the_rates_after_the_last_iteration(self, folder):
        arrays, attributes = contents(folder)
        assert attributes == {"starts": 6, "steps": 30}
        found = summary(folder)
        for method in ("alg1", "alg2"):
            assert found[method]["t_max"] == arrays[f"{method}/t_max"].tolist() == T_MAX
            for name in RATES:
                curves = arrays[f"{method}/{name}"]
                assert curves.shape == (2, 31)
                assert found[method][name] == curves[:, -1].tolist()
            ends = arrays[f"{method}/reached"].mean(1)
            assert found[method]["global_minimum_rate"] == pytest.approx(ends.tolist())
        assert (found["starts"], found["iterations"]) == (36, 30)

    def test_the_summary_holds_the_minima(self, folder):
        found = summary(folder)
        assert found["global_minimum"] == found["local_minima"][0]
        assert found["values_at_minima"] == sorted(found["values_at_minima"])
        assert len(found["local_minima"]) == len(found["values_at_minima"]) > 1

    def test_the_study_begins_at_algorithm_2_and_ends_at_algorithm_1(self, folder):
        found = summary(folder)
        study, last = found["study"], T_MAX.index(1.5)
        assert study["t_max"] == 1.5
        assert study["descent_from"] == study_counts(30)
        ends = {m: {name: found[m][name][last] for name in RATES} for m in ("alg1", "alg2")}
        assert study["condition_after_k"][0] == ends["alg2"]
        assert study["algorithm_1_until_k"][0] == ends["alg2"]
        assert study["algorithm_1_until_k"][-1] == ends["alg1"]
        assert ends["alg1"] != ends["alg2"]

    @pytest.mark.parametrize("name", ["fig1.png", "study.png"])
    def test_figures_are_not_blank(self, name, folder):
        pixels = imread(folder / name)[..., :3]
        height, width = pixels.shape[:2]
        assert min(height, width) > 400
        for rows in np.array_split(pixels, 2):
            for panel in np.array_split(rows, 4 if name == "fig1.png" else 2, axis=1):
                colours = np.unique((255 * panel).astype(np.uint8).reshape(-1, 3), axis=0)
                assert len(colours) > 20

    def test_the_settings_are_kept(self, folder):
        config = from_yaml_text((folder / "config.yaml").read_text(), Toy2DConfig)
        assert config.toy2d.t_max == [1.5, 0.3]
        assert config.output == str(folder)

    def test_figures_and_rates_are_tracked(self, folder):
        logged = Logged(folder)
        names = {key.partition(".")[0] for row in logged.history for key in row}
        assert {"toy2d/alg1", "toy2d/alg2", "toy2d/fig1", "toy2d/study"} <= names


def test_quick_runs_are_small_and_keep_what_is_smaller(tmp_path):
    asked = ("toy2d.t_max=[1.5]", "toy2d.steps=20", "toy2d.workers=1", "progress=false")
    assert toy2d(["--quick", *asked, f"output={tmp_path / 'run'}"]) == 0
    found = summary(tmp_path / "run")
    assert (found["starts"], found["iterations"], found["alg1"]["t_max"]) == (144, 20, [1.5])
    runs = load(Toy2DConfig, None, ["quick=true"]).runs
    assert (runs.starts, runs.steps, runs.t_max_count) == (12, 130, 5)


class TestResuming:
    def test_an_interrupted_run_goes_on_where_it_was(self, folder, tmp_path, monkeypatch):
        done = []

        def some(jobs, workers):
            for pair in real(jobs[:1], workers):
                done.append(pair[0])
                yield pair
            raise KeyboardInterrupt

        real = experiment.perform
        arguments = [*SMALL[:2], "toy2d.t_max=[1.5]", *SMALL[3:], f"output={tmp_path / 'run'}"]
        with monkeypatch.context() as patch:
            patch.setattr(experiment, "perform", some)
            assert toy2d(arguments) == 130
        (first,) = done
        assert list(contents(tmp_path / "run")[0]) != []
        assert not (tmp_path / "run/summary.json").exists()
        again = []
        monkeypatch.setattr(
            experiment, "perform", lambda jobs, workers: again.extend(jobs) or real(jobs, workers)
        )
        assert toy2d(arguments) == 0
        assert first.method not in {job.method for job in again}
        arguments[2] = "toy2d.t_max=[0.3,1.5]"
        assert toy2d(arguments) == 0
        assert {job.t_max for job in again[1:]} == {(0.3,)}
        found, expected = contents(tmp_path / "run")[0], contents(folder)[0]
        for name, array in found.items():
            assert (array == expected[name]).all()
        assert toy2d(arguments) == 0
        assert len(again) == 3

    def test_results_of_another_size_are_refused_and_replaced_if_wanted(self, tmp_path, capsys):
        output = f"output={tmp_path}"
        few = ["toy2d.steps=3", "toy2d.t_max=[1]", "toy2d.workers=1", "progress=false", output]
        assert toy2d(["toy2d.starts=2", *few]) == 0
        capsys.readouterr()
        assert toy2d(["toy2d.starts=3", *few]) == 2
        assert capsys.readouterr().err == (
            f"error: expected results of toy2d.starts=3 toy2d.steps=3 in {tmp_path}, got 2 and 3: "
            "give overwrite=true to begin anew, or choose another folder with output=FOLDER\n"
        )
        assert toy2d(["toy2d.starts=3", "overwrite=true", *few]) == 0
        assert summary(tmp_path)["starts"] == 9

    def test_a_folder_of_something_else_is_refused(self, tmp_path, capsys):
        (tmp_path / "mine.txt").touch()
        assert toy2d([f"output={tmp_path}"]) == 2
        assert capsys.readouterr().err.startswith("error: expected an empty run folder")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("toy2d.starts=1", "toy2d.starts: expected >= 2, got 1"),
        ("toy2d.t_max=[1.5,0]", "toy2d.t_max: expected >= 0.001, got 0.0"),
        (
            "toy2d.t_max=1.5",
            "toy2d.t_max: expected list of number, written toy2d.t_max=[1.5], got 1.5",
        ),
        ("toy2d.stps=3", "unknown setting toy2d.stps: did you mean toy2d.steps?"),
        ("toy2d.workers=0", "toy2d.workers: expected >= 1, got 0"),
        ("starts=3", "unknown setting starts: did you mean toy2d.starts?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(argument, message, capsys):
    assert toy2d([argument]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_the_module_is_a_program_that_answers_without_heavy_imports(tmp_path):
    code = (
        "from gnclightning.experiments.toy2d.program import toy2d\n"
        "assert toy2d(['--print-config']) == 0"
    )
    assert imported(code, "torch", "numpy", "matplotlib", "wandb") == []
    check_program("gnclightning.experiments.toy2d", "toy2d.starts=100", tmp_path)
