"""One-line messages about settings: what was expected, what came, which name is nearest."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from difflib import SequenceMatcher, get_close_matches
from typing import Any, cast, get_args, get_origin

from gnclightning.config.sections import (
    Section,
    Setting,
    accepts_text,
    choices,
    describe,
    fits,
    section_of,
    settings,
    variants_of,
)
from gnclightning.errors import UserError

_SIMILAR_NAME, _SIMILAR_CHOICE = 0.6, 0.5
"""Ratios of difflib from which one word may stand for another; among few choices a lower one."""
_FARTHER = 0.1
"""How much more alike a setting of another variant must be than one that can be used."""


def unknown_key(schema: type[Section], chosen: dict[str, str], key: str) -> UserError:
    """The error for a key that the schema lacks, or that the chosen variant lacks.

    Args:
        schema: the top-level section.
        chosen: for each group with variants the setting that chooses, such as
            `{"solver": "solver.name=gnc_flow"}`.
        key: the full key.
    """
    known = list(settings(schema))
    stale = [setting for setting in known if setting.key == key]
    if stale:
        return UserError(
            f"{key} is a setting of {_conditions(stale)}, "
            f"but the choice is {chosen[stale[0].group]}: choose that, or leave the setting out"
        )
    available = [s for s in known if s.condition in ("", chosen.get(s.group))]
    groups = [f.name for f in fields(schema) if section_of(f)]
    nearest = _nearest(key, [*(s.key for s in available), *groups], [s.key for s in known])
    if nearest is None:
        group = key.partition(".")[0] if "." in key else ""
        names = [s.key for s in available if s.group == group] + ([] if group else groups)
        return UserError(f"unknown setting {key}: expected one of {', '.join(names)}")
    usable = nearest in groups or any(s.key == nearest for s in available)
    note = "" if usable else f" of {_conditions(s for s in known if s.key == nearest)}"
    return UserError(f"unknown setting {key}: did you mean {nearest}{note}?")


def wrong_value(key: str, expected: str, value: object, names: Sequence[str] = ()) -> UserError:
    """The error for a value that a field does not allow; `names` are the choices, if any."""
    close = get_close_matches(str(value), names, n=1, cutoff=_SIMILAR_CHOICE)
    hint = f"; did you mean {close[0]}?" if close else ""
    return UserError(f"{key}: expected {expected}, got {_show(value)}{hint}")


def wrong_type(key: str, annotation: Any, value: object) -> UserError:
    """The error for a value of the wrong type; of a list, for the first wrong element."""
    if get_origin(annotation) is list:
        (inner,) = get_args(annotation)
        if isinstance(value, list):
            elements = list(enumerate(cast(list[object], value)))
            index, element = next(pair for pair in elements if not fits(inner, pair[1]))
            return wrong_type(f"{key}[{index}]", inner, element)
        example = f"[{value}]" if fits(inner, value) else "[...]"
        return wrong_value(key, f"{describe(annotation)}, written {key}={example}", value)
    expected = describe(annotation)
    if accepts_text(annotation):
        expected = expected.replace("text", "text in quotes")
    return wrong_value(key, expected, value, choices(annotation))


def not_a_group(schema: type[Section], group: str, value: object) -> UserError:
    """The error for a value where a group of settings belongs."""
    field = next(f for f in fields(schema) if f.name == group)
    variants = variants_of(field)
    if variants:
        example = f"{group}.{variants.key}={'|'.join(variants.by_name)}"
    else:
        example = f"{next(s.key for s in settings(schema) if s.group == group)}=VALUE"
    return UserError(f"{group} is a group of settings, got {_show(value)}: give {example}")


def _conditions(found: Iterable[Setting]) -> str:
    return " or ".join(setting.condition for setting in found)


def _show(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _nearest(key: str, available: Iterable[str], others: Iterable[str]) -> str | None:
    """The name most like `key` without its group, then as a whole if it has one.

    The first of equals.
    `others`, settings of variants that are not chosen, must be the more alike.
    """

    def likeness(candidate: str) -> tuple[float, float]:
        name = SequenceMatcher(None, _name(key), _name(candidate))
        grouped = "." in key  # else the group with the shortest name would be the most alike
        return name.ratio(), SequenceMatcher(None, key, candidate).ratio() if grouped else 0.0

    def nearest(names: Iterable[str]) -> tuple[tuple[float, float], str]:
        return max(((likeness(name), name) for name in names), key=lambda found: found[0])

    (ratio, _), best = nearest(available)
    (other_ratio, _), other = nearest(others)
    if other_ratio > ratio + _FARTHER:
        ratio, best = other_ratio, other
    return best if ratio >= _SIMILAR_NAME else None


def _name(key: str) -> str:
    group, _, name = key.partition(".")
    return name or group
