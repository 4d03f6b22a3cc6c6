"""Folders of experiments: nothing is done twice, and what does not belong together is refused."""

import pytest

from gnclightning import build_run
from gnclightning.experiments.figure2 import figure2
from gnclightning.experiments.figure3 import figure3
from gnclightning.experiments.table2 import table2
from quick_experiments import words
from run_folders import table

pytestmark = pytest.mark.usefixtures("without_figures")


class TestFolder:
    """Nothing is done twice, and what does not belong together is refused."""

    @pytest.fixture
    def worked(self, monkeypatch) -> list[int]:
        """An entry for each time that the runner was started; interrupted at `self.stop_at`."""
        calls: list[int] = []
        real = build_run.run

        def run(*arguments):
            calls.append(1)
            if len(calls) == self.stop_at:
                raise KeyboardInterrupt
            return real(*arguments)

        self.stop_at = 0
        monkeypatch.setattr(build_run, "run", run)
        return calls

    def test_an_interrupted_experiment_goes_on(self, prior, tmp_path, runs, worked, capsys):
        self.stop_at = 2
        arguments = words(prior, tmp_path / "run")
        assert figure3(arguments) == 130
        assert capsys.readouterr().err.endswith("to go on from there\n")
        assert not (tmp_path / "run/results.csv").exists()
        assert figure3(arguments) == 0
        assert len(worked) == 3  # the first arm was not done again
        found, expected = (table(f / "results.csv") for f in (tmp_path / "run", runs["figure3"]))
        times = {"seconds": "", "cpu_seconds": ""}
        assert [row | times for row in found] == [row | times for row in expected]

    def test_a_finished_one_is_shown_again(self, prior, runs, worked):
        """Settings that do not change any number may differ."""
        before = (runs["figure3"] / "results.csv").read_bytes()
        assert figure3(words(prior, runs["figure3"], "live_table=true")) == 0
        assert worked == []
        assert (runs["figure3"] / "results.csv").read_bytes() == before

    def test_other_settings_are_refused(self, prior, runs, worked, capsys):
        before = (runs["figure3"] / "results.csv").read_bytes()
        assert figure3(words(prior, runs["figure3"], "seed=1", "zoom=4")) == 2
        message = capsys.readouterr().err
        assert "expected the settings that the run in" in message
        assert "zoom=4.0 (before: 3.0)" in message
        assert "seed=1 (before: null)" in message
        assert worked == []
        assert (runs["figure3"] / "results.csv").read_bytes() == before

    def test_another_experiment_or_a_run_is_refused(self, prior, runs, worked, capsys):
        run = runs["figure3"] / "arms/gnc_flow"
        for program, folder in ((figure2, runs["figure3"]), (figure3, run)):
            before = (folder / "config.yaml").read_bytes()
            assert program(words(prior, folder)) == 2
            assert "expected the settings of this experiment" in capsys.readouterr().err
            assert (folder / "config.yaml").read_bytes() == before
        assert worked == []

    def test_overwriting_begins_anew(self, prior, tmp_path, worked):
        arguments = words(prior, tmp_path / "run")
        assert figure3(arguments) == 0
        self.stop_at = 4
        assert figure3([*arguments, "seed=1", "overwrite=true"]) == 130
        assert figure3([*arguments, "seed=1"]) == 0
        assert len(worked) == 5

    @pytest.mark.parametrize(
        ("mistake", "message"),
        [
            ("solver.cg_steps=0", "solver.cg_steps: expected >= 1, got 0"),
            ("solver.armjo=0.1", "unknown setting solver.armjo: did you mean solver.armijo?"),
            ("imgaes=3", "unknown setting imgaes"),
            ("solver.steps=9", "which it sets itself: leave it out"),
            ("settings=[seed=1]", "leave settings= out"),
        ],
    )
    def test_mistakes_are_told_before_any_work(self, mistake, message, prior, tmp_path, capsys):
        """Also those that concern arms which come late."""
        assert table2([*words(prior, tmp_path / "run"), mistake]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_a_mistake_that_only_the_prior_tells_can_be_mended(self, prior, tmp_path, capsys):
        mistaken = words(prior, tmp_path / "run", "data.size=36")
        assert figure3(mistaken) == 2
        assert "expected images of 32x32 pixels" in capsys.readouterr().err
        assert figure3(words(prior, tmp_path / "run")) == 0
