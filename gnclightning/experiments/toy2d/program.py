"""The command line of the 2D experiment."""

import sys
from collections.abc import Sequence
from functools import partial

from gnclightning.cli import Program, main
from gnclightning.config import load
from gnclightning.experiments.toy2d.config import Toy2DConfig


def toy2d(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; argument and exit status as for `cli.reconstruct`."""
    program = Program(
        Toy2DConfig,
        partial(load, Toy2DConfig),
        _run,
        examples=(
            "",
            "--quick",
            "toy2d.starts=30 toy2d.t_max_count=20 output=runs/quick",
            "toy2d.t_max=[1.5,0.3] toy2d.study=true output=runs/chosen",
        ),
        interrupted="the finished values of t_max are kept in the run folder; give the same "
        "command again to go on from there",
    )
    return main(program, sys.argv[1:] if arguments is None else arguments)


def _run(config: Toy2DConfig) -> None:
    from gnclightning.experiments.toy2d.experiment import run_experiment

    run_experiment(config)
