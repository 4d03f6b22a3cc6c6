"""Commands that repeat an experiment, from its settings."""

from collections.abc import Mapping
from dataclasses import asdict
from shlex import quote
from typing import Any

from gnclightning.config.sections import Section

_NOT_REPEATED = ("output", "overwrite")


def command(name: str, config: Section, gathered: str | None = None) -> str:
    """The command that gives the results of an experiment again, in a folder of its choice.

    Args:
        name: of the module below `gnclightning.experiments`.
        config: its settings; those that are the defaults are left out.
        gathered: name of a list of settings that are given as they are.
    """
    words = _changed(asdict(config), asdict(type(config)()), gathered)
    return " ".join([f"python -m gnclightning.experiments.{name}", *map(_quoted, words)])


def _changed(
    given: Mapping[str, Any], default: Mapping[str, Any], gathered: str | None = None
) -> list[str]:
    found: list[str] = []
    for key, value in given.items():
        if key in _NOT_REPEATED or value == default[key]:
            continue
        if key == gathered:
            found += value
        elif isinstance(value, dict):
            found += [f"{key}.{text}" for text in _changed(value, default[key])]
        elif isinstance(value, list):
            found.append(f"{key}=[{','.join(map(str, value))}]")
        elif key == "quick":
            found.append("--quick")
        else:
            found.append(f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    return found


def _quoted(word: str) -> str:
    """Lists in double quotes, as in the documentation; anything else as the shell needs it."""
    return f'"{word}"' if "[" in word and not set(word) & set('"$`\\!') else quote(word)
