"""The configuration: what loads, from files and the command line, and what it means."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.config import (
    ReconstructConfig,
    TrainConfig,
    from_yaml_text,
    load_reconstruct_config,
    load_train_config,
    save,
    to_yaml,
)
from gnclightning.config.reconstruct import DemoDataConfig, FolderDataConfig, NoiseConfig
from gnclightning.config.solver import GNCFlowConfig, GradientDescentConfig
from gnclightning.errors import UserError

Load = Callable[..., ReconstructConfig] | Callable[..., TrainConfig]
CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = [
    *((load_reconstruct_config, path) for path in sorted(CONFIGS.glob("reconstruct/*.yaml"))),
    *((load_train_config, path) for path in sorted(CONFIGS.glob("train/*.yaml"))),
]


def _name(case: Path | Load) -> str:
    return case.name if isinstance(case, Path) else case.__name__


class TestShippedFiles:
    def test_all_are_found(self):
        reconstruct = "demo folder gnc_flow gradient_descent gradient_like fan_beam denoising "
        reconstruct += "inpainting deblurring super_resolution fourier"
        train = "ellipses_energy ellipses_score ldct_energy ldct_score"
        expected = {*reconstruct.split(), *train.split()}
        assert {path.stem for _, path in SHIPPED} >= expected

    @pytest.mark.parametrize(("load", "path"), SHIPPED, ids=_name)
    def test_each_loads_and_its_resolved_form_loads_back(self, load: Load, path: Path):
        config = load(path)
        assert from_yaml_text(to_yaml(config), type(config)) == config

    def test_solver_files_choose_the_solver_that_they_are_named_after(self):
        for name in ("gradient_like", "gnc_flow", "gradient_descent"):
            assert load_reconstruct_config(CONFIGS / f"reconstruct/{name}.yaml").solver.name == name

    def test_the_demo_is_the_default(self):
        assert load_reconstruct_config(CONFIGS / "reconstruct/demo.yaml") == ReconstructConfig()


class TestVariants:
    def test_choice_and_values_come_in_any_order(self):
        overrides = ["solver.name=gnc_flow", "solver.constant_step=0.25", "solver.steps=7"]
        expected = GNCFlowConfig(constant_step=0.25, steps=7, t_min=0.025)
        for order in permutations(overrides):
            assert load_reconstruct_config(None, order).solver == expected

    def test_a_group_may_be_given_whole(self):
        config = load_reconstruct_config(None, ["solver={name: gnc_flow, steps: 7}"])
        assert config.solver == GNCFlowConfig(steps=7, t_min=0.025)

    def test_the_last_choice_counts(self):
        overrides = ["data.name=folder", "data.count=3", "data.name=demo"]
        assert load_reconstruct_config(None, overrides).data == DemoDataConfig(count=3)

    def test_another_choice_drops_what_the_file_says_about_the_variant(self, tmp_path: Path):
        path = tmp_path / "flow.yaml"
        path.write_text("seed: 5\nsolver: {name: gnc_flow, steps: 11, step_rule: constant}")
        config = load_reconstruct_config(path, ["solver.name=preconditioned"])
        assert config == ReconstructConfig(seed=5)

    def test_the_same_choice_keeps_what_the_file_says(self, tmp_path: Path):
        path = tmp_path / "flow.yaml"
        path.write_text("solver: {name: gnc_flow, steps: 11, step_rule: constant}")
        config = load_reconstruct_config(path, ["solver.name=gnc_flow", "solver.steps=12"])
        assert config.solver == GNCFlowConfig(steps=12, step_rule="constant", t_min=0.025)

    def test_a_setting_of_another_variant_says_whose_it_is(self):
        with pytest.raises(UserError) as caught:
            load_reconstruct_config(None, ["solver.name=gnc_flow", "solver.cg_steps=3"])
        assert str(caught.value) == (
            "solver.cg_steps is a setting of solver.name=preconditioned, "
            "but the choice is solver.name=gnc_flow: choose that, or leave the setting out"
        )

    def test_of_a_choice_given_twice_the_last_is_named(self):
        given = ["data.name=ellipses", "data.size=32", "data.name=sinogram", "data.path=x"]
        with pytest.raises(UserError, match=r"but the choice is data\.name=sinogram: choose"):
            load_reconstruct_config(None, given)

    def test_one_stale_in_a_file_is_refused_with_the_name_of_the_file(self, tmp_path: Path):
        path = tmp_path / "stale.yaml"
        path.write_text("data: {name: demo, path: x}")
        with pytest.raises(UserError) as caught:
            load_reconstruct_config(path)
        assert str(caught.value) == (
            f"{path}: data.path is a setting of data.name=folder or data.name=ldct or "
            "data.name=sinogram, "
            "but the choice is data.name=demo: choose that, or leave the setting out"
        )

    def test_an_unknown_one_is_answered_with_all(self):
        with pytest.raises(UserError) as caught:
            load_train_config(None, ["prior.parametrisation=enrgy"])
        assert str(caught.value) == (
            "prior.parametrisation: expected score | energy, got 'enrgy'; did you mean energy?"
        )


@pytest.mark.parametrize(
    ("settings", "t_min"),
    [
        ([], 0.025),
        (["noise.relative=0.2"], 0.05),
        (["noise.relative=0.01"], 0.0025),
        (["noise.relative=1e-5"], 1e-3),
        (["noise.relative=2"], 0.1),
        (["solver.name=gnc_flow"], 0.025),
        (["solver.name=gradient_descent", "noise.relative=0.2"], 0.05),
        (["solver.t_max=1e-4"], 1e-4),
        (["solver.t_min=0.02", "noise.relative=0.01"], 0.02),
    ],
)
def test_the_last_time_follows_the_noise_level(settings, t_min):
    config = load_reconstruct_config(None, settings)
    assert config.solver.last_time == pytest.approx(t_min)
    assert from_yaml_text(to_yaml(config), ReconstructConfig) == config


def test_the_last_time_waits_for_data_where_the_noise_is_absolute():
    config = load_reconstruct_config(None, ["noise.absolute=3"])
    assert config.solver.t_min is None
    assert from_yaml_text(to_yaml(config), ReconstructConfig) == config


def test_devices_are_a_number_or_text():
    for value in (2, "auto", "0,2"):
        assert load_train_config(None, [f"trainer.devices={value}"]).trainer.devices == value


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("seed: [1\nprior:", "expected YAML, got a mistake in line 2: did not find expected"),
            ("seed: 1\nseed: 2", "expected YAML, got a mistake in line 2: found duplicate key"),
            ("- seed", "expected settings such as 'seed: 7', got a list"),
            ("7", "expected settings such as 'seed: 7', got Invalid loaded object type: int"),
            ("seed: ${", "expected settings such as 'seed: 7', got no viable alternative"),
            ("seed: \0", r"expected YAML, got a mistake \(unacceptable character"),
            ("solver.steps: 3", "solver.steps: expected nested groups in a file, got a dotted"),
            ("prior: {path: 007}", "prior.path: expected text in quotes, got 7"),
            ("output: 12:30:00", r"output: expected text in quotes \| null, got 45000"),
            ("sead: 3", r"unknown setting sead: did you mean seed\?"),
            ("noise: {seeed: 3}", r"unknown setting noise.seeed: did you mean noise.seed\?"),
            ("7: 3", "unknown setting 7: expected one of output, overwrite, "),
        ],
    )
    def test_a_mistake_names_the_file(self, text: str, message: str, tmp_path: Path):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}") as caught:
            load_reconstruct_config(path)
        assert "\n" not in str(caught.value)

    def test_one_that_is_no_text(self, tmp_path: Path):
        path = tmp_path / "config.yaml"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UserError, match="expected YAML in UTF-8, got other bytes"):
            load_reconstruct_config(path)

    def test_one_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            load_reconstruct_config(tmp_path / "none.yaml")

    def test_an_empty_one_gives_the_defaults(self, tmp_path: Path):
        path = tmp_path / "config.yaml"
        path.write_text("# nothing\n")
        assert load_train_config(path) == TrainConfig()

    def test_overrides_go_before_the_file(self, tmp_path: Path):
        path = tmp_path / "config.yaml"
        path.write_text("seed: 3\nnoise: {relative: 5.0e-2, seed: 4}\nmethods: []")
        config = load_reconstruct_config(path, ["noise.seed=9"])
        assert config == ReconstructConfig(
            seed=3, noise=NoiseConfig(relative=0.05, seed=9), methods=[]
        )

    def test_an_override_that_is_a_file_is_told_how_to_be_read(self, tmp_path: Path):
        path = tmp_path / "config.yaml"
        path.touch()
        with pytest.raises(UserError, match=f"write --config {re.escape(str(path))}$"):
            load_reconstruct_config(None, [str(path)])


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("007", "007"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("12:30:00", "12:30:00"),
        ("run #3", "run #3"),
        ("a: b", "a: b"),
        ("[a", "[a"),
        ("x=y", "x=y"),
        ("'null'", "null"),
        ("null", None),
        ("", None),
    ],
)
def test_text_on_the_command_line_is_taken_as_it_is(written: str, value: str | None):
    assert load_reconstruct_config(None, [f"output={written}"]).output == value


def test_an_integer_is_a_number():
    relative = load_reconstruct_config(None, ["noise.relative=1"]).noise.relative
    assert (relative, type(relative)) == (1.0, float)
    with pytest.raises(UserError, match=r"noise\.relative: expected number \| null, got 1000"):
        load_reconstruct_config(None, ["noise.relative=1" + 400 * "0"])


plain_text = st.text().filter(lambda text: "${" not in text and text != "???")
seeds = st.none() | st.integers(0, 2**32 - 1)
levels = st.floats(1e-300, 1e6)


@hypothesis.settings(max_examples=10)
@given(output=st.none() | plain_text, path=plain_text, seed=seeds, level=levels, absolute=levels)
def test_a_configuration_loads_back_from_its_yaml(
    output: str | None, path: str, seed: int | None, level: float, absolute: float
):
    config = replace(
        ReconstructConfig(),
        output=output,
        data=FolderDataConfig(path=path),
        solver=GradientDescentConfig(first_step=level),
        noise=NoiseConfig(relative=level, absolute=absolute, seed=seed),
    )
    assert from_yaml_text(to_yaml(config), ReconstructConfig) == config


def test_a_saved_configuration_loads_back(tmp_path: Path):
    config = load_train_config(
        None, ["prior.parametrisation=energy", "network.blocks=[2,2,3]", "sde.name=ve"]
    )
    save(config, tmp_path / "config.yaml")
    assert load_train_config(tmp_path / "config.yaml") == config
    assert config != TrainConfig()
