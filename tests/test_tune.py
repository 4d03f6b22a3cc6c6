"""The tuning of the methods that the solver is compared with."""

import csv
import json
from dataclasses import fields
from itertools import pairwise
from math import log
from typing import get_args

import pytest

from gnclightning.config import ReconstructConfig
from gnclightning.config.baselines import Baseline
from gnclightning.experiments.tune import experiment
from gnclightning.experiments.tune.grids import GRIDS, QUICK, Grid, grids
from gnclightning.experiments.tune.program import tune
from gnclightning.experiments.tune.search import search
from gnclightning.experiments.tune.storage import COLUMNS

GRID = Grid(
    {"weight": [0.1, 1.0, 10.0], "mode": ["plain", "good"]}, {"weight": 1.5, "steps": 2.0},
    {"steps": 8},
)  # fmt: skip


def quality(best: float, tried: list):
    """A smooth function of the weight, better with one mode, and with more steps up to 16."""

    def value(point):
        tried.append(point)
        off = log(point["weight"] / best) ** 2
        return 30 - off + (point["mode"] == "good") + 0.5 * (min(point["steps"], 16) == 16)

    return value


@pytest.mark.parametrize("best", [0.05, 0.6, 1.0, 3.0, 25.0])
def test_search_ends_within_a_step_of_the_best(best):
    tried: list = []
    found = search(GRID, quality(best, tried))
    assert found["mode"] == "good"
    assert found["steps"] == 16
    assert abs(log(found["weight"] / best)) <= log(1.5)
    value = quality(best, [])
    assert value(found) > max(map(value, tried)) - 0.02


def test_search_does_not_follow_chance():
    """A gain of less than 0.02 dB moves nothing, and a setting never leaves its bounds."""
    flat = search(Grid({"weight": [1.0]}, {"weight": 2.0}), lambda p: 0.01 * p["weight"])
    assert flat == {"weight": 1.0}
    edge = search(Grid({"t_min": [0.4]}, {"t_min": 1.4}), lambda p: 10 * p["t_min"])
    assert edge == {"t_min": 0.784}


def test_every_method_has_a_grid_of_its_own_settings():
    assert set(GRIDS) == set(get_args(Baseline))
    config = ReconstructConfig()
    for name, grid in GRIDS.items():
        known = {field.name for field in fields(getattr(config, name))}
        assert {*grid.fixed, *grid.coarse, *grid.factors, *QUICK.get(name, {})} <= known
        assert set(grid.factors) <= {*grid.fixed, *grid.coarse}
        for values in grid.coarse.values():
            numbers = [v for v in values if not isinstance(v, str)]
            assert all(a < b for a, b in pairwise(numbers))
    assert all(len(g.points()) <= 4 for g in grids(get_args(Baseline), quick=True).values())


class TestProgram:
    METHODS = ("fbp", "tikhonov", "dds", "nmapg")

    def arguments(self, prior, folder, *more):
        chosen = f"methods=[{','.join(self.METHODS)}]"
        small = ("--quick", "size=32", "angles=20", chosen)
        return [*small, f"prior.path={prior}", f"output={folder}", *more]

    def rows(self, folder):
        with (folder / "tuning.csv").open() as file:
            return list(csv.DictReader(file))

    def test_tables(self, prior, tmp_path, capsys):
        assert tune(self.arguments(prior, tmp_path / "run")) == 0
        rows = self.rows(tmp_path / "run")
        assert tuple(rows[0]) == COLUMNS
        assert list(dict.fromkeys(row["method"] for row in rows)) == list(self.METHODS)
        for name in self.METHODS:
            own = [row for row in rows if row["method"] == name]
            assert len(own) >= 2
            (best,) = (row for row in own if row["best"] == "True")
            largest = max(float(row["psnr"]) for row in own)
            assert float(best["psnr"]) >= largest - 0.02
            assert f"`{best['settings']}`" in (tmp_path / "run" / "tuning.md").read_text()
            assert best["settings"] in capsys.readouterr().out or name != self.METHODS[0]
        fbp = {row["settings"]: float(row["psnr"]) for row in rows if row["method"] == "fbp"}
        # At 10 % noise the filter that keeps less of it is the better one.
        assert fbp["fbp.filter=shepp-logan"] > fbp["fbp.filter=ramp"]
        assert "--quick" in (tmp_path / "run" / "tuning.md").read_text()

    def test_interrupted_run_goes_on(self, prior, tmp_path, monkeypatch):
        whole, part = tmp_path / "whole", tmp_path / "part"
        assert tune(self.arguments(prior, whole)) == 0
        calls = []
        attempted = experiment.run

        def run(*arguments):
            calls.append(arguments)
            if len(calls) == 4:
                raise KeyboardInterrupt
            attempted(*arguments)

        monkeypatch.setattr(experiment, "run", run)
        assert tune(self.arguments(prior, part)) == 130
        assert len(json.loads((part / "points.json").read_text())["points"]) == 3
        assert tune(self.arguments(prior, part)) == 0
        expected = self.rows(whole)
        assert len(calls) == len(expected) + 1
        for row, other in zip(self.rows(part), expected, strict=True):
            assert row | {"seconds": ""} == other | {"seconds": ""}

    def test_results_of_other_data_are_not_gone_on_with(self, prior, tmp_path, capsys):
        arguments = self.arguments(prior, tmp_path / "run", "methods=[fbp]")
        assert tune(arguments) == 0
        assert tune([*arguments, "noise=0.2"]) == 2
        assert "give overwrite=true" in capsys.readouterr().err
        before = (tmp_path / "run" / "tuning.csv").read_text()
        assert tune([*arguments, "noise=0.2", "overwrite=true"]) == 0
        assert (tmp_path / "run" / "tuning.csv").read_text() != before
