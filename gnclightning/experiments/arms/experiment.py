"""An experiment made of arms, as a program; what is heavy to import waits in `laboratory`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from gnclightning.cli import Program, main
from gnclightning.config import load
from gnclightning.experiments.arms.config import ExperimentConfig, gather

if TYPE_CHECKING:
    from gnclightning.experiments.arms.findings import Findings
    from gnclightning.experiments.arms.laboratory import Laboratory

ConfigT = TypeVar("ConfigT", bound=ExperimentConfig)


@dataclass(frozen=True)
class Experiment(Generic[ConfigT]):
    """An experiment.

    Attributes:
        name: of its module below `gnclightning.experiments`, and of its default folder.
        heading: of `results.md`.
        schema: its settings; the docstring is the head of `--help`.
        defaults: settings of all reconstructions that the user may change, such as `data.count=10`.
        conduct: runs arms in the laboratory, and says what was found.
        examples: arguments for `--help`.
        any_images: whether the user may choose the images.
    """

    name: str
    heading: str
    schema: type[ConfigT]
    defaults: Callable[[ConfigT], Sequence[str]]
    conduct: "Callable[[ConfigT, Laboratory], Findings]"
    examples: tuple[str, ...] = ()
    any_images: bool = True


def run_program(experiment: Experiment[ConfigT], arguments: Sequence[str] | None = None) -> int:
    """Run an experiment; argument and exit status as for `cli.reconstruct`."""
    program = Program(
        experiment.schema,
        partial(load, experiment.schema),
        partial(_run, experiment),
        examples=(
            "",
            "--quick",
            *experiment.examples,
            *(["data.name=ldct data.path=FOLDER prior.path=WEIGHTS"] * experiment.any_images),
        ),
        interrupted="what is finished is kept in the run folder; give the same command again to go "
        "on from there",
        settings=partial(gather, experiment.schema),
    )
    return main(program, sys.argv[1:] if arguments is None else arguments)


def _run(experiment: Experiment[ConfigT], config: ConfigT) -> None:
    from gnclightning.experiments.arms.laboratory import run_experiment

    run_experiment(experiment, config)
