"""What the schema is made of: sections, bounds on values, variants, docstrings of fields.

A section is a dataclass whose every field carries a docstring (a string below the field). Values
are checked when a section is made, so a configuration object that exists is valid.
"""

import ast
import inspect
import math
import operator
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from gnclightning.errors import UserError

T = TypeVar("T")

_NAMES: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "true | false"}
_COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


class FieldError(UserError):
    """A value of a section outside what its field allows; `key` is the name within the section."""

    def __init__(self, owner: "Section", key: str, message: str):
        super().__init__(f"{key}: {message}")
        self.owner = owner


@dataclass(frozen=True)
class Bounds:
    """Comparisons that a number has to satisfy, such as `> 0, <= 1`; "" asks for finite only."""

    text: str = ""

    def __contains__(self, value: float) -> bool:
        conditions = (part.split() for part in self.text.split(",") if part)
        return abs(value) < math.inf and all(
            _COMPARISONS[sign](value, float(end)) for sign, end in conditions
        )

    def __str__(self) -> str:
        return self.text or "a finite number"


@dataclass(kw_only=True)
class Section:
    """A group of settings."""

    def __post_init__(self) -> None:
        for f in fields(self):
            bounds = cast(Bounds, f.metadata.get("bounds", Bounds()))
            value = getattr(self, f.name)
            for number in cast(list[object], value) if isinstance(value, list) else [value]:
                if isinstance(number, int | float) and number not in bounds:
                    raise FieldError(self, f.name, f"expected {bounds}, got {number}")


@dataclass(frozen=True)
class Variants:
    """The sections between which the field `key` of a group chooses; the first is the default."""

    key: str
    kinds: tuple[type[Section], ...]

    @property
    def by_name(self) -> dict[str, type[Section]]:
        """Name of each variant, which is the default of its field `key`."""
        return {str(_field(kind, self.key).default): kind for kind in self.kinds}


def bounded(default: T, bounds: str) -> T:
    """A field for a number within `Bounds`; an example is `bounded(40, ">= 1")`."""
    return field(default=default, metadata=within(bounds))


def within(bounds: str) -> dict[str, Bounds]:
    """Metadata of a field for numbers that all lie within `Bounds`."""
    return {"bounds": Bounds(bounds)}


def one_of(*kinds: type[Section], key: str = "name") -> dict[str, Variants]:
    """Metadata of a field that holds one of several sections; its setting `key` says which."""
    return {"variants": Variants(key, kinds)}


def variants_of(f: Field[Any]) -> Variants | None:
    """The variants of a field made by `one_of`; None for any other field."""
    return cast(Variants | None, f.metadata.get("variants"))


def section_of(f: Field[Any]) -> type[Section] | None:
    """The section that a field holds by its type; None for a field with a value."""
    return f.type if isinstance(f.type, type) and issubclass(f.type, Section) else None


@dataclass(frozen=True)
class Setting:
    """One leaf of a schema: `key` as on the command line, and the variant it needs, if any."""

    key: str
    field: Field[Any]
    owner: type[Section]
    group: str = ""
    condition: str = ""

    @property
    def doc(self) -> str:
        """The docstring of the field."""
        return field_doc(self.owner, self.field.name)

    @property
    def default(self) -> Any:
        """The default; `dataclasses.MISSING` where the user has to give a value."""
        factory = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def settings(kind: type[Section]) -> Iterator[Setting]:
    """Every setting of a schema, of every variant, in the order of the schema."""
    for f in fields(kind):
        variants, section = variants_of(f), section_of(f)
        if section is None:
            yield Setting(f.name, f, kind)
            continue
        kinds = variants.by_name if variants else {"": section}
        for name, owner in kinds.items():
            condition = f"{f.name}.{variants.key}={name}" if variants else ""
            for inner in fields(owner):
                yield Setting(f"{f.name}.{inner.name}", inner, owner, f.name, condition)


def describe(annotation: Any) -> str:
    """A type as shown to users, such as `list of integer` or `ramp | hann | null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " | ".join(describe(argument) for argument in arguments)
    if origin is list:
        return f"list of {describe(arguments[0])}"
    return "null" if annotation is NoneType else _NAMES[annotation]


def fits(annotation: Any, value: object) -> bool:
    """Whether a value, as read from YAML, is of a field's type; integers are numbers too."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(fits(argument, value) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(
            fits(arguments[0], element) for element in cast(list[object], value)
        )
    if annotation is float and type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is annotation


def accepts_text(annotation: Any) -> bool:
    """Whether every value of a field is text (or null), so that it needs no quotes."""
    if get_origin(annotation) in (Union, UnionType):
        return set(get_args(annotation)) == {str, NoneType}
    return annotation is str


def choices(annotation: Any) -> list[str]:
    """The choices that a type offers; empty where it is no choice."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return []


def field_doc(kind: type[Section], name: str) -> str:
    """The docstring of a field, of the nearest class that gives one; "" if none does."""
    for owner in kind.__mro__:
        if issubclass(owner, Section):
            text = _module_docs(owner.__module__).get((owner.__name__, name))
            if text:
                return text
    return ""


def _field(kind: type[Section], name: str) -> Field[Any]:
    return next(f for f in fields(kind) if f.name == name)


@cache
def _module_docs(module: str) -> dict[tuple[str, str], str]:
    """Strings below the fields of a module's classes, by class and field: Python drops them."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        (owner.name, statement.target.id): " ".join(text.split())
        for owner in classes
        for statement, following in pairwise(owner.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(text := following.value.value, str)
    }
