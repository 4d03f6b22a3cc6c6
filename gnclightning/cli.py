"""The command-line programs.

What takes long to import (PyTorch, Lightning, W&B) is imported only once the settings are known to
be good, so `--help`, `--print-config` and mistakes answer at once.
"""

import sys
from collections.abc import Sequence

from gnclightning.command_line import Program, main
from gnclightning.config import (
    InspectConfig,
    PhantomsConfig,
    ReconstructConfig,
    TrainConfig,
    load_inspect_config,
    load_phantoms_config,
    load_reconstruct_config,
    load_train_config,
)
from gnclightning.errors import UserError


def reconstruct(arguments: Sequence[str] | None = None) -> int:
    """Run a reconstruction.

    Args:
        arguments: those of the command line; None takes them from `sys.argv`.

    Returns:
        The exit status: 0, 2 after a mistake that the user can mend, 130 after an interruption by
        Ctrl-C, 143 by SIGTERM.
    """
    program = Program(
        ReconstructConfig,
        load_reconstruct_config,
        _run_reconstruction,
        examples=(
            "",
            "solver.name=gradient_like solver.steps=100 data.count=4 seed=7 output=runs/try",
            "data.name=folder data.path=images.npy logger.mode=disabled",
            "--config configs/reconstruct/gnc_flow.yaml",
        ),
        interrupted="what is finished is kept in the run folder; give the same command again, "
        "with its output=FOLDER, to go on from there",
        dry_run=_check_reconstruction,
    )
    return main(program, sys.argv[1:] if arguments is None else arguments)


def train(arguments: Sequence[str] | None = None) -> int:
    """Train a prior; argument and exit status as for `reconstruct`."""
    program = Program(
        TrainConfig,
        load_train_config,
        _run_training,
        examples=(
            "--config configs/train/ellipses_score.yaml",
            "--config configs/train/ellipses_energy.yaml trainer.max_steps=200",
            "data.name=folder data.path=images.npy output=runs/own",
        ),
        interrupted="the last checkpoint is kept in the run folder; give the same command again "
        "to go on from there",
    )
    return main(program, sys.argv[1:] if arguments is None else arguments)


def data(arguments: Sequence[str] | None = None) -> int:
    """Inspect data (`inspect PATH`) or write phantoms (`ellipses FILE`).

    Argument and exit status as for `reconstruct`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if word in ("inspect", "ellipses")), "inspect")
    if command == "ellipses":
        return main(
            Program(
                PhantomsConfig,
                load_phantoms_config,
                _run_phantoms,
                examples=(
                    "ellipses test.h5",
                    "ellipses small.h5 count=20 size=64",
                    "ellipses validation.h5 split=validation start=100",
                ),
                interrupted="nothing is kept; give the command again",
                command="ellipses FILE ",
                settings=_path_of_command,
            ),
            words,
        )
    return main(
        Program(
            InspectConfig,
            load_inspect_config,
            _run_inspection,
            examples=(
                "inspect data/LDCT-and-Projection-data",
                "inspect scans output=scans.png manifest=scans.csv",
                "inspect scans series=null output=null",
                "ellipses test.h5",
            ),
            interrupted="nothing is kept; give the command again",
            command="inspect PATH ",
            settings=_path_of_command,
        ),
        words,
    )


def _path_of_command(words: Sequence[str]) -> Sequence[str]:
    """Settings of a command and, without a name before it, a path."""
    paths = [word for word in words[1:] if "=" not in word]
    if words[:1] not in (["inspect"], ["ellipses"]) or len(paths) > 1:
        raise UserError(
            "expected inspect PATH or ellipses FILE, and settings, got "
            f"{' '.join(words) or 'nothing'!r}"
        )
    return [f"path={word}" if word in paths else word for word in words[1:]]


def _run_phantoms(config: PhantomsConfig) -> None:
    from gnclightning import build

    build.run_phantoms(config)


def _run_inspection(config: InspectConfig) -> None:
    from gnclightning import build

    build.run_inspection(config)


def _run_reconstruction(config: ReconstructConfig) -> None:
    from gnclightning import build

    build.run_reconstruction(config)


def _check_reconstruction(config: ReconstructConfig) -> None:
    from gnclightning import build

    build.run_reconstruction(config, dry_run=True)


def _run_training(config: TrainConfig) -> None:
    from gnclightning import build

    build.run_training(config)
