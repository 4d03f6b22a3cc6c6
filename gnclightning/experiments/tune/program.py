"""The command line of the tuning."""

import sys
from collections.abc import Sequence
from functools import partial

from gnclightning.cli import Program, main
from gnclightning.config import load
from gnclightning.experiments.tune.config import TuneConfig


def tune(arguments: Sequence[str] | None = None) -> int:
    """Run the tuning; argument and exit status as for `cli.reconstruct`."""
    program = Program(
        TuneConfig,
        partial(load, TuneConfig),
        _run,
        examples=("", "methods=[tv,diffpir] noise=0.05 output=runs/tune-5", "--quick"),
        interrupted="the points that were tried are kept in the run folder; give the same command "
        "again to go on from there",
    )
    return main(program, sys.argv[1:] if arguments is None else arguments)


def _run(config: TuneConfig) -> None:
    from gnclightning.experiments.tune.experiment import run_tuning

    run_tuning(config)
