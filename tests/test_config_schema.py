"""Laws that hold for every setting of the schemas."""

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

from gnclightning.config import (
    InspectConfig,
    PhantomsConfig,
    ReconstructConfig,
    TrainConfig,
    load_inspect_config,
    load_phantoms_config,
    load_reconstruct_config,
    load_train_config,
    schema_help,
)
from gnclightning.config.reconstruct import NoiseConfig
from gnclightning.config.sections import Section, Setting, accepts_text, settings, variants_of
from gnclightning.errors import UserError

LOADERS: dict[type[Section], Callable[..., Section]] = {
    ReconstructConfig: load_reconstruct_config,
    TrainConfig: load_train_config,
    InspectConfig: lambda file, given: load_inspect_config(file, ["path=scans", *given]),
    PhantomsConfig: lambda file, given: load_phantoms_config(file, ["path=a.h5", *given]),
}
SETTINGS = {
    (schema, setting.key, repr(setting.default)): (schema, setting)
    for schema in LOADERS
    for setting in settings(schema)
}
"""Once where several variants inherit the same."""
BOUNDED = [case for case in SETTINGS.values() if "bounds" in case[1].field.metadata]


def _name(case: type[Section] | Setting) -> str:
    return f"{case.condition}-{case.key}" if isinstance(case, Setting) else case.__name__


def _overrides(setting: Setting) -> list[str]:
    """What has to be given so that the setting is there."""
    chosen = [setting.condition] if setting.condition else []
    reads_files = setting.condition in ("data.name=folder", "data.name=ldct", "data.name=sinogram")
    return chosen + (["data.path=images.npy"] if reads_files else [])


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


every_schema = pytest.mark.parametrize("schema", LOADERS)
every_setting = pytest.mark.parametrize(("schema", "setting"), SETTINGS.values(), ids=_name)


class TestEverySetting:
    @every_schema
    def test_has_a_docstring(self, schema: type[Section]):
        assert [s.key for s in settings(schema) if not s.doc.endswith(".")] == []

    @every_schema
    def test_its_default_written_out_changes_nothing(self, schema: type[Section]):
        known = list(settings(schema))
        for condition in {setting.condition for setting in known}:
            found = [s for s in known if s.condition == condition and s.default is not MISSING]
            needed = _overrides(found[0])
            written = [f"{s.key}={_written(s.default)}" for s in found]
            assert LOADERS[schema](None, needed + written) == LOADERS[schema](None, needed)

    @every_schema
    def test_help_shows_it_with_its_docstring(self, schema: type[Section]):
        text = " ".join(schema_help(schema, width=10_000).split())
        variants = {variants.key for f in fields(schema) if (variants := variants_of(f))}
        for setting in settings(schema):
            if setting.condition and setting.field.name in variants:
                assert setting.condition in text
            else:
                shown = rf"\b{re.escape(setting.key)}=('[^']*'|\S+) {re.escape(setting.doc)}"
                assert re.search(shown, text)

    @every_setting
    def test_a_misspelling_is_answered_with_its_name(self, schema: type[Section], setting: Setting):
        with pytest.raises(UserError) as caught:
            LOADERS[schema](None, [*_overrides(setting), f"{setting.key}x=1"])
        assert str(caught.value) == f"unknown setting {setting.key}x: did you mean {setting.key}?"

    @every_setting
    def test_a_value_of_another_type_is_refused(self, schema: type[Section], setting: Setting):
        text = accepts_text(setting.field.type)
        wrong = "'" if text else "{a: 1}"  # an override for text takes anything but half a quote
        with pytest.raises(UserError, match=rf"^{re.escape(setting.key)}: expected "):
            LOADERS[schema](None, [*_overrides(setting), f"{setting.key}={wrong}"])

    @pytest.mark.parametrize(("schema", "setting"), BOUNDED, ids=_name)
    def test_bounds_hold_on_both_sides(self, schema: type[Section], setting: Setting):
        bounds = str(setting.field.metadata["bounds"])
        many = "list" in str(setting.field.type)
        step = {">=": -1, ">": 0, "<=": 1, "<": 0}
        for sign, end in (part.split() for part in bounds.split(",")):
            outside = int(end) + step[sign]
            with pytest.raises(UserError) as caught:
                LOADERS[schema](
                    None,
                    [*_overrides(setting), f"{setting.key}={[outside] if many else outside}"],
                )
            got = float(str(caught.value).removeprefix(f"{setting.key}: expected {bounds}, got "))
            assert got == outside


@pytest.mark.parametrize("schema", [ReconstructConfig, TrainConfig])
def test_the_first_variant_is_the_default(schema: type[Section]):
    found = [(f, v) for f in fields(schema) if (v := variants_of(f))]
    assert found
    for f, variants in found:
        assert f.default_factory is variants.kinds[0]


def test_help_fits_into_its_width_and_marks_what_is_required():
    for schema in LOADERS:
        lines = schema_help(schema, width=80).splitlines()
        assert max(map(len, lines)) <= 80
        assert any(re.match(r"\s+(data\.)?path=\(required\)", line) for line in lines)


def test_noise_level_is_absolute_where_given():
    assert NoiseConfig(relative=0.2).level == 0.2
    assert NoiseConfig(relative=0.2, absolute=0.0).level == 0.0
