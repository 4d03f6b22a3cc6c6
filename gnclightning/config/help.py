"""The schema as text: every key, its default, type, bounds and one line about it."""

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from inspect import getdoc
from typing import cast

from gnclightning.config.sections import (
    Section,
    Setting,
    Variants,
    describe,
    settings,
    variants_of,
)

_COLUMN = 36
"""Where the explanations begin."""
_NO_BREAK = "\xa0"


def schema_help(schema: type[Section], width: int = 100) -> str:
    """Every setting as `key=default`, with type, bounds and docstring, in lines of `width`."""
    known = list(settings(schema))
    lines = ["general:", *_rows((s for s in known if not s.group), width)]
    for f in fields(schema):
        group = [s for s in known if s.group == f.name]
        variants = variants_of(f)
        if group:
            lines += ["", _wrap(f"{f.name}: {getdoc(f.type)}", width)]
        if variants:
            lines += _variant_rows(variants, group, width)
        else:
            lines += _rows(group, width)
    return "\n".join(lines)


def _variant_rows(variants: Variants, group: list[Setting], width: int) -> Iterator[str]:
    """What all variants share, then each variant with its own settings or defaults."""
    count = Counter((s.key, repr(s.default)) for s in group)
    shared = {s.key for s in group if count[s.key, repr(s.default)] == len(variants.kinds)}
    yield from _rows({s.key: s for s in group if s.key in shared}.values(), width)
    for kind in variants.kinds:
        own = [s for s in group if s.owner is kind]
        default = " (default)" if kind is variants.kinds[0] else ""
        yield _wrap(f"  {own[0].condition}{default}: {getdoc(kind)}", width)
        rows = (s for s in own if s.key not in shared and s.field.name != variants.key)
        yield from _rows(rows, width)


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="    ")


def _rows(found: Iterable[Setting], width: int) -> Iterator[str]:
    for setting in found:
        bounds = setting.field.metadata.get("bounds")
        kind = describe(setting.field.type) + (f", {bounds}" if bounds else "")
        unbroken = kind.replace(" ", _NO_BREAK)
        text = textwrap.wrap(f"{setting.doc} [{unbroken}]", width - _COLUMN, break_on_hyphens=False)
        lines = [line.replace(_NO_BREAK, " ") for line in text]
        left = f"    {setting.key}={_show(setting.default)}"
        if len(left) >= _COLUMN:
            yield left
            left = ""
        yield f"{left:<{_COLUMN}}{lines[0]}"
        yield from (" " * _COLUMN + line for line in lines[1:])


def _show(default: object) -> str:
    """A default as one would write it on the command line."""
    if default is MISSING:
        return "(required)"
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, list):
        return f"[{','.join(str(item) for item in cast(list[object], default))}]"
    return shlex.quote(default) if isinstance(default, str) else str(default)
