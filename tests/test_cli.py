"""The command-line programs: what they print, their exit status, and what they leave unimported."""

import errno
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gnclightning
from gnclightning.cli import data, reconstruct, train
from gnclightning.config import (
    ReconstructConfig,
    TrainConfig,
    from_yaml_text,
    load_reconstruct_config,
)
from gnclightning.errors import UserError
from programs import imported, python

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[object], None]], None]:
    """Puts a function in the place of the work that follows the configuration."""

    def install(work: Callable[[object], None]) -> None:
        fake = SimpleNamespace(run_reconstruction=work, run_training=work)
        monkeypatch.setattr(gnclightning, "build", fake, raising=False)

    return install


def _raising(error: BaseException) -> Callable[[object], None]:
    def work(config: object) -> None:
        raise error

    return work


class TestRunning:
    def test_the_work_is_given_the_configuration(self, run_with, capsys):
        seen = []
        run_with(seen.append)
        config = str(ROOT / "configs/reconstruct/gnc_flow.yaml")
        assert reconstruct(["seed=7", "--config", config, "solver.steps=3"]) == 0
        assert train(["trainer.max_steps=200"]) == 0
        assert seen[0] == load_reconstruct_config(config, ["seed=7", "solver.steps=3"])
        assert isinstance(seen[1], TrainConfig)
        assert seen[1].trainer.max_steps == 200
        assert capsys.readouterr() == ("", "")

    def test_arguments_are_those_of_the_process_by_default(self, run_with, monkeypatch):
        seen = []
        run_with(seen.append)
        monkeypatch.setattr(sys, "argv", ["gnc-reconstruct", "seed=3"])
        assert reconstruct() == 0
        assert seen == [ReconstructConfig(seed=3)]

    def test_nothing_is_run_after_a_mistake_nor_for_a_question(self, run_with, capsys):
        run_with(_raising(AssertionError("ran")))
        assert reconstruct(["sead=3"]) == 2
        assert reconstruct(["--print-config"]) == 0
        assert train(["--help"]) == 0


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["solver.stps=3"], "unknown setting solver.stps: did you mean solver.steps?"),
            (["seed"], "expected key=value such as seed=7, got 'seed'"),
            (
                ["--seed=3"],
                "unrecognized arguments: --seed=3; settings are written key=value, see --help",
            ),
            (
                ["--conf", "x.yaml"],
                "unrecognized arguments: --conf; settings are written key=value, see --help",
            ),
            (
                ["--config"],
                "argument --config: expected one argument; settings are written key=value, "
                "see --help",
            ),
            (
                ["--config", "none.yaml"],
                "No such file or directory: none.yaml; check the path",
            ),
            (["--config", "/"], "Is a directory: /; give the path of a file"),
            (
                ["data.path=caf\udce9.npy"],
                "expected arguments in UTF-8, got data.path=caf\\xe9.npy: give the file or folder "
                "another name",
            ),
        ],
    )
    def test_one_line_and_status_2(self, arguments, message, capsys):
        assert reconstruct(arguments) == 2
        assert capsys.readouterr() == ("", f"error: {message}\n")

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (UserError("expected this,\n  got that"), "expected this, got that"),
            (
                OSError(errno.ENOSPC, "No space left on device", "runs/a"),
                "No space left on device: runs/a; free some space, "
                "or choose another folder with output=FOLDER",
            ),
            (
                PermissionError(errno.EACCES, "Permission denied", "runs/a"),
                "Permission denied: runs/a; check its permissions, "
                "or choose another folder with output=FOLDER",
            ),
            (
                MemoryError("Unable to allocate 9 TiB"),
                "not enough memory (Unable to allocate 9 TiB); ask for fewer or smaller images",
            ),
            (
                torch.OutOfMemoryError("CUDA out of memory."),
                "not enough memory (CUDA out of memory.); ask for fewer or smaller images",
            ),
            (
                RuntimeError("DefaultCPUAllocator: can't allocate memory\nat c10"),
                "not enough memory (DefaultCPUAllocator: can't allocate memory); "
                "ask for fewer or smaller images",
            ),
            (OSError("Unable to create file\n(truncated)"), "Unable to create file (truncated)"),
        ],
    )
    def test_those_that_the_work_meets(self, error, message, run_with, capsys):
        run_with(_raising(error))
        for program in (reconstruct, train):
            assert program([]) == 2
            assert capsys.readouterr() == ("", f"error: {message}\n")

    def test_debug_shows_where(self, capsys):
        assert reconstruct(["sead=3", "--debug"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-1] == "error: unknown setting sead: did you mean seed?"

    def test_a_bug_is_no_mistake_of_the_user(self, run_with):
        run_with(_raising(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            reconstruct([])


class TestInterruption:
    def test_says_what_is_kept(self, run_with, capsys):
        run_with(_raising(KeyboardInterrupt()))
        assert reconstruct([]) == 130
        assert capsys.readouterr() == (
            "",
            "interrupted: what is finished is kept in the run folder; give the same command again, "
            "with its output=FOLDER, to go on from there\n",
        )
        assert train([]) == 130
        assert capsys.readouterr() == (
            "",
            "interrupted: the last checkpoint is kept in the run folder; give the same command "
            "again to go on from there\n",
        )

    def test_during_a_fit_that_lightning_has_left_with_status_1(self, run_with, capsys):
        def work(config: object) -> None:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                sys.exit(1)

        run_with(work)
        assert train([]) == 130
        assert capsys.readouterr().err.startswith("interrupted: the last checkpoint is kept")

    @pytest.mark.parametrize("program", [reconstruct, train])
    def test_a_scheduler_s_signal_is_an_interruption(self, run_with, capsys, program):
        """And it ends a program only while one runs."""
        before = signal.getsignal(signal.SIGTERM)
        run_with(lambda config: signal.raise_signal(signal.SIGTERM))
        assert program([]) == 143
        assert capsys.readouterr().err.startswith("interrupted: ")
        assert signal.getsignal(signal.SIGTERM) is before

    def test_another_exit_is_left_alone(self, run_with):
        run_with(_raising(SystemExit(3)))
        with pytest.raises(SystemExit) as caught:
            train([])
        assert caught.value.code == 3


class TestQuestions:
    @pytest.fixture(autouse=True)
    def as_a_script(self, monkeypatch):
        """Under `python -m pytest` the main module has the name of one, which usage would show."""
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)

    def test_print_config_loads_back(self, capsys):
        overrides = ["solver.name=gradient_like", "output=007", "data.count=3"]
        assert reconstruct([*overrides, "--print-config"]) == 0
        printed = from_yaml_text(capsys.readouterr().out, ReconstructConfig)
        assert printed == load_reconstruct_config(None, overrides)

    def test_help_shows_usage_examples_and_settings(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
        for question in ("--help", "-h"):
            assert train([question]) == 0
            text = capsys.readouterr().out
            assert text.startswith("usage: python train.py [--config FILE] [key=value ...]")
            assert "\n  python train.py --config configs/train/ellipses_energy.yaml " in text
            assert "\n    trainer.max_steps=" in text

    def test_examples_of_the_help_are_right(self, capsys, monkeypatch):
        monkeypatch.chdir(ROOT)
        for program in (data, reconstruct, train):
            monkeypatch.setattr(sys, "argv", ["program"])
            program(["--help"])
            text = capsys.readouterr().out
            examples = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
            assert len(examples) >= 3
            for example in examples:
                assert program([*example.split()[1:], "--print-config"]) == 0


class TestProcesses:
    @pytest.mark.parametrize("script", ["reconstruct.py", "train.py"])
    def test_a_mistake_from_any_folder(self, script, tmp_path):
        done = python(str(ROOT / script), "sead=3", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: unknown setting sead: did you mean seed?\n"

    @pytest.mark.parametrize("script", ["reconstruct.py", "train.py"])
    def test_help_names_the_script(self, script, tmp_path):
        done = python(str(ROOT / script), "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: python {script} ")

    def test_answers_need_no_heavy_import(self):
        code = (
            "from gnclightning.cli import reconstruct, train\n"
            "assert train(['--help']) == 0 and train(['seed=1', '--print-config']) == 0\n"
            "assert reconstruct(['sead=3']) == 2"
        )
        assert imported(code, "torch", "lightning", "wandb", "numpy") == []

    @pytest.mark.parametrize("question", ["--help", "--print-config"])
    def test_a_reader_that_leaves_early_is_no_error(self, question):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, str(ROOT / "reconstruct.py"), question],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")


def test_console_scripts_exist():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    programs = {}
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        programs[name] = getattr(import_module(module), function)
    assert programs == {"gnc-train": train, "gnc-reconstruct": reconstruct, "gnc-data": data}
