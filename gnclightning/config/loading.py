"""Loading configurations: YAML, then `key=value` overrides, merged strictly into the schema.

Before a file or the overrides are merged, the variants that they name choose their sections. A
variant that differs from the one before starts from its own defaults: overrides that change
`solver.name` drop what a file says about another solver.
"""

from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gnclightning.config import messages
from gnclightning.config.inspect import InspectConfig
from gnclightning.config.phantoms import PhantomsConfig
from gnclightning.config.reconstruct import ReconstructConfig
from gnclightning.config.sections import (
    FieldError,
    Section,
    Variants,
    accepts_text,
    fits,
    section_of,
    settings,
    variants_of,
)
from gnclightning.config.train import TrainConfig
from gnclightning.errors import UserError

ConfigT = TypeVar("ConfigT", bound=Section)
Tree = dict[str, Any]


def load_reconstruct_config(
    path: str | Path | None = None, overrides: Sequence[str] = ()
) -> ReconstructConfig:
    """Load the configuration of a reconstruction.

    Args:
        path: a YAML file, or None for the defaults.
        overrides: `key=value` settings, such as `solver.steps=100`; they go before the file.

    Raises:
        UserError: unknown key, value of a wrong type or out of bounds, or missing value.
        OSError: the file cannot be read.
    """
    return load(ReconstructConfig, path, overrides)


def load_train_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load the configuration of a training run; arguments as `load_reconstruct_config`."""
    return load(TrainConfig, path, overrides)


def load_inspect_config(
    path: str | Path | None = None, overrides: Sequence[str] = ()
) -> InspectConfig:
    """Load the configuration of an inspection; arguments as `load_reconstruct_config`."""
    return load(InspectConfig, path, overrides)


def load_phantoms_config(
    path: str | Path | None = None, overrides: Sequence[str] = ()
) -> PhantomsConfig:
    """Load the configuration of a file of phantoms; arguments as `load_reconstruct_config`."""
    return load(PhantomsConfig, path, overrides)


def from_yaml_text(text: str, schema: type[ConfigT]) -> ConfigT:
    """Read back what `to_yaml` wrote; raises `UserError` where the text does not fit."""
    draft = _Draft(schema)
    draft.merge_text(text)
    return draft.finish()


def to_yaml(config: Section) -> str:
    """All settings, as YAML that `from_yaml_text` turns into an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def save(config: Section, path: str | Path) -> None:
    """Write `to_yaml(config)` to a file."""
    Path(path).write_text(to_yaml(config), encoding="utf-8")


def load(schema: type[ConfigT], path: str | Path | None, overrides: Sequence[str]) -> ConfigT:
    """Load a configuration of any schema; arguments and errors as `load_reconstruct_config`."""
    draft = _Draft(schema)
    if path is not None:
        try:
            draft.merge_text(Path(path).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: expected YAML in UTF-8, got other bytes") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    draft.merge_overrides(overrides)
    return draft.finish()


class _Draft(Generic[ConfigT]):
    """A configuration in the making: starts from the defaults, `finish` gives the object.

    Every mistake is a `UserError`, raised before OmegaConf sees it; OmegaConf itself would convert
    numbers to text, and accept lists within lists.
    """

    def __init__(self, schema: type[ConfigT]):
        self._schema = schema
        self._tree = cast(DictConfig, OmegaConf.structured(schema))

    def merge_text(self, text: str) -> None:
        """Merge YAML."""
        values = _parse(text)
        self._choose_variants(values)
        self._merge(values)

    def merge_overrides(self, overrides: Sequence[str]) -> None:
        """Merge `key=value` settings; those that choose variants count first."""
        pairs = [_split(override) for override in overrides]
        for key, text in pairs:
            if self._may_choose_variant(key):
                self._choose_variants(_nest(key, self._value(key, text)))
        for key, text in pairs:
            self._merge(_nest(key, self._value(key, text)))

    def finish(self) -> ConfigT:
        """The configuration, which validates itself."""
        try:
            return cast(ConfigT, OmegaConf.to_object(self._tree))
        except MissingMandatoryValue as error:
            key = str(error.full_key)
            docs = {s.owner: s.doc for s in settings(self._schema) if s.key == key}
            doc = docs.get(cast(type[Section], error.object_type), next(iter(docs.values())))
            raise UserError(f"{key} is required, give {key}=VALUE: {doc}") from error
        except FieldError as error:
            kinds = self._sections()
            group = next((f"{g}." for g, kind in kinds.items() if kind is type(error.owner)), "")
            raise UserError(f"{group}{error}") from error

    def _sections(self) -> dict[str, type[Section]]:
        """The section that each group holds at present."""
        groups = [f.name for f in fields(self._schema) if section_of(f)]
        return {g: cast(type[Section], OmegaConf.get_type(self._tree, g)) for g in groups}

    def _variants(self) -> dict[str, Variants]:
        found = ((f.name, variants_of(f)) for f in fields(self._schema))
        return {group: variants for group, variants in found if variants}

    def _find(self, key: str) -> Field[Any] | None:
        """The field that holds the value of a key; None if there is none."""
        group, _, name = key.rpartition(".")
        owner = self._sections().get(group) if group else self._schema
        found = (f for f in fields(owner) if f.name == name) if owner else iter(())
        return next((f for f in found if not section_of(f)), None)

    def _value(self, key: str, text: str) -> object:
        """The value that the text of an override stands for, given the field that it goes to.

        A field for text takes the text as it is, not as YAML: a folder named 007 is no number.
        """
        field = self._find(key)
        if field is not None and accepts_text(field.type) and text[:1] not in ("'", '"'):
            return None if text in ("", "null") else text
        try:
            return _parse(f"value: {text}")["value"]
        except UserError as error:
            raise UserError(f"{key}: expected a value, got {text!r}") from error

    def _may_choose_variant(self, key: str) -> bool:
        return any(key in (g, f"{g}.{variants.key}") for g, variants in self._variants().items())

    def _choose_variants(self, values: Tree) -> None:
        """Put the sections of those variants that `values` name in place of others."""
        for group, variants in self._variants().items():
            inner = values.get(group)
            if not isinstance(inner, dict) or variants.key not in inner:
                continue
            name = cast(Tree, inner)[variants.key]
            kind = variants.by_name.get(str(name))
            if kind is None:
                names = list(variants.by_name)
                key = f"{group}.{variants.key}"
                raise messages.wrong_value(key, " | ".join(names), name, names)
            if self._sections()[group] is not kind:
                self._tree[group] = kind

    def _merge(self, values: Tree) -> None:
        for key, value in self._leaves(values):
            field = self._find(key)
            if field is None:
                raise messages.unknown_key(self._schema, self._chosen(), key)
            if not fits(field.type, value):
                raise messages.wrong_type(key, field.type, value)
            if "${" in str(value):
                raise UserError(f"{key}: expected a plain value, got a reference: {value}")
        self._tree.merge_with(values)

    def _leaves(self, values: Tree) -> Iterator[tuple[str, object]]:
        groups = self._sections()
        for group, value in values.items():
            if "." in str(group):
                raise UserError(f"{group}: expected nested groups in a file, got a dotted name")
            if group not in groups:
                yield str(group), value
            elif isinstance(value, dict):
                yield from ((f"{group}.{name}", v) for name, v in cast(Tree, value).items())
            else:
                raise messages.not_a_group(self._schema, group, value)

    def _chosen(self) -> dict[str, str]:
        """For each group with variants the setting that chose the present one.

        By its section: where a choice is given twice, the name in the tree is still the first.
        """
        kinds = self._sections()
        return {
            group: f"{group}.{variants.key}={name}"
            for group, variants in self._variants().items()
            for name, kind in variants.by_name.items()
            if kind is kinds[group]
        }


def _parse(text: str) -> Tree:
    """YAML in OmegaConf's dialect, which reads 1e-3 as a number and refuses duplicate keys."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=False)
    except yaml.YAMLError as error:
        raise UserError(f"expected YAML, got a mistake {_position(error)}") from error
    except (OmegaConfBaseException, OSError) as error:  # OSError: a bare number or text
        raise UserError(f"expected settings such as 'seed: 7', got {_first_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError("expected settings such as 'seed: 7', got a list")
    return cast(Tree, values)


def _position(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"in line {error.problem_mark.line + 1}: {error.problem}"
    return f"({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        hint = f": to read a file write --config {override}" if Path(override).is_file() else ""
        raise UserError(f"expected key=value such as seed=7, got {override!r}{hint}")
    return key, text


def _nest(key: str, value: object) -> Tree:
    group, dot, name = key.partition(".")
    return {group: {name: value}} if dot else {group: value}
