"""What all programs on the command line share: options, help, and mistakes as one line."""

import argparse
import errno
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from gnclightning import memory
from gnclightning.config import schema_help, to_yaml
from gnclightning.config.sections import Section
from gnclightning.errors import UserError
from gnclightning.interruption import exit_status, terminable

ConfigT = TypeVar("ConfigT", bound=Section)

_OPTIONS = """\
options:
  --config FILE   YAML file with settings
  key=value       a setting, in place of the default and of the file's
  --print-config  print all settings as YAML and stop
  --dry-run       of a reconstruction: check everything, print what was found, write nothing
  --quick         of an experiment: quick=true
  --debug         show where an error was raised
  --help, -h      print this text and stop

A setting such as data.name chooses a variant. Settings of other variants are refused; what a file
says about a variant is dropped when the command line chooses another. Lists: methods=[fbp,tv].
"""
_ANOTHER_FOLDER = "or choose another folder with output=FOLDER"
_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "check the path",
    errno.EACCES: f"check its permissions, {_ANOTHER_FOLDER}",
    errno.EROFS: f"make it writable, {_ANOTHER_FOLDER}",
    errno.ENOSPC: f"free some space, {_ANOTHER_FOLDER}",
    errno.EDQUOT: f"free some space, {_ANOTHER_FOLDER}",
}


@dataclass(frozen=True)
class Program(Generic[ConfigT]):
    """What distinguishes one program from the others.

    Attributes:
        schema: its settings.
        load: makes them from a YAML file, or None, and overrides; see `config.loading`.
        run: does the work.
        examples: arguments, shown by --help.
        interrupted: what is kept after an interruption, and how to go on.
        command: what comes before the settings.
        settings: makes settings of the words of the command line that are no options.
        dry_run: does all that comes before the work, and says what it found; None: there is none.
    """

    schema: type[ConfigT]
    load: Callable[[str | None, Sequence[str]], ConfigT]
    run: Callable[[ConfigT], None]
    examples: tuple[str, ...]
    interrupted: str
    command: str = ""
    settings: Callable[[Sequence[str]], Sequence[str]] = list
    dry_run: Callable[[ConfigT], None] | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; settings are written key=value, see --help")


def main(program: Program[ConfigT], arguments: Sequence[str]) -> int:
    """Run a program; mistakes that the user can mend become one line and a status.

    Returns:
        The exit status, see `cli.reconstruct`.
    """
    try:
        with terminable():
            _run(program, arguments)
    except (UserError, OSError, MemoryError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _complain(f"error: {_describe(error)}", status=2)
    except RuntimeError as error:
        if not memory.ran_out(error):
            raise
        if "--debug" in arguments:
            traceback.print_exc()
        reason = MemoryError(str(error).partition("\n")[0])
        return _complain(f"error: {_describe(reason)}", status=2)
    except KeyboardInterrupt as interruption:
        return _stop(program, interruption)
    except SystemExit as leaving:
        # Lightning's Trainer turns the interruption of a fit into SystemExit(1).
        if not isinstance(leaving.__context__, KeyboardInterrupt):
            raise
        return _stop(program, leaving.__context__)
    return 0


def _stop(program: Program[ConfigT], interruption: KeyboardInterrupt) -> int:
    return _complain(f"interrupted: {program.interrupted}", status=exit_status(interruption))


def _run(program: Program[ConfigT], arguments: Sequence[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode(errors="backslashreplace")
            raise UserError(
                f"expected arguments in UTF-8, got {shown}: give the file or folder another name"
            ) from error
    options = _parse(arguments)
    if options.help:
        return _print(_help(program))
    if options.dry_run and program.dry_run is None:
        raise UserError("--dry-run is for reconstructions, this program has none: leave it out")
    overrides = options.overrides
    if options.quick:
        if not any(field.name == "quick" for field in fields(program.schema)):
            raise UserError("--quick is for experiments, this program has none: leave it out")
        overrides = [*overrides, "quick=true"]
    config = program.load(options.config, program.settings(overrides))
    if options.print_config:
        return _print(to_yaml(config))
    if options.dry_run and program.dry_run is not None:
        return program.dry_run(config)
    return program.run(config)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--print-config", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--debug", action="store_true")
    return parser.parse_intermixed_args(arguments)


def _help(program: Program[ConfigT]) -> str:
    name = Path(sys.argv[0]).name
    specification = sys.modules["__main__"].__spec__
    if specification is not None:
        command = f"python -m {specification.name.removesuffix('.__main__')}"
    else:
        command = f"python {name}" if name.endswith(".py") else name
    width = min(max(shutil.get_terminal_size().columns, 80), 120)
    examples = [f"  {command} {example}".rstrip() for example in program.examples]
    return "\n".join(
        [
            f"usage: {command} {program.command}[--config FILE] [key=value ...] [--print-config] "
            "[--debug] [--help]",
            "",
            str(program.schema.__doc__),
            "",
            _OPTIONS,
            "examples:",
            *examples,
            "",
            "settings, as key=default:",
            "",
            schema_help(program.schema, width),
        ]
    )


def _print(text: str) -> None:
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(error: UserError | OSError | MemoryError) -> str:
    """An error in one line, with a remedy where the system gave none."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0)
        text = error.strerror + place + (f"; {remedy}" if remedy else "")
    if isinstance(error, MemoryError):
        text = f"not enough memory ({text}); ask for fewer or smaller images"
    return " ".join(text.split())


def _complain(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status
