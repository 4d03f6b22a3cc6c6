"""Mistakes in settings: each is refused, and in which words."""

from typing import get_args

import pytest

from gnclightning.config import (
    load_reconstruct_config,
    load_train_config,
)
from gnclightning.config.baselines import Compared
from gnclightning.config.solver import PreconditionedConfig
from gnclightning.errors import UserError

METHODS = " | ".join(get_args(Compared))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=3", "unknown setting sed: did you mean seed?"),
        ("steps=3", "unknown setting steps: did you mean solver.steps?"),
        ("solvr.steps=3", "unknown setting solvr: did you mean solver?"),
        ("solver.cg_step=3", "unknown setting solver.cg_step: did you mean solver.cg_steps?"),
        (
            "solver.barzilai=3",
            "unknown setting solver.barzilai: did you mean solver.barzilai_borwein of "
            "solver.name=gradient_like or solver.name=gnc_flow or solver.name=gradient_descent?",
        ),
        ("solver.steps.x=3", "unknown setting solver.steps.x: did you mean solver.steps?"),
        ("tv.qqq=3", "unknown setting tv.qqq: expected one of tv.weight, tv.factor, tv.iterations"),
        ("alpha=3", "alpha is a group of settings, got 3: give alpha.rule=VALUE"),
        (
            "data=folder",
            "data is a group of settings, got 'folder': give data.name=demo|ellipses|unseen|"
            "folder|ldct|sinogram",
        ),
        ("seed=null", "seed: expected integer, got null"),
        ("seed=1.0", "seed: expected integer, got 1.0"),
        ("seed='7'", "seed: expected integer, got '7'"),
        ("seed=[1", "seed: expected a value, got '[1'"),
        ("seed=???", "seed: expected integer, got '???'"),
        ("progress=1", "progress: expected true | false, got 1"),
        ("noise.relative=yes", "noise.relative: expected number | null, got true"),
        ("noise.relative=.nan", "noise.relative: expected >= 0, <= 1000000, got nan"),
        ("noise.absolute=.inf", "noise.absolute: expected >= 0, <= 1000000000000, got inf"),
        ("fbp.filter=Hann", "fbp.filter: expected ramp | hann | shepp-logan, got 'Hann'; did you "
         "mean hann?"),
        ("methods=tv", f"methods: expected list of {METHODS}, written methods=[tv], got 'tv'"),
        ("methods=[fbp,tw]", f"methods[1]: expected {METHODS}, got 'tw'; did you mean tv?"),
        (
            "methods=[preconditioned]",
            f"methods[0]: expected {METHODS}, got 'preconditioned'",
        ),
        ("methods.0=tv", f"methods: expected list of {METHODS}, written methods=[...], got "
         "{'0': 'tv'}"),
        ("seed", "expected key=value such as seed=7, got 'seed'"),
        ("=7", "expected key=value such as seed=7, got '=7'"),
        ("output=${seed}", "output: expected a plain value, got a reference: ${seed}"),
        ("alpha.rule=constant", "alpha.value: expected a number with rule=constant, got null"),
        (
            "noise.relative=0",
            "alpha.rule=auto derives the weight from the noise level, which is 0: give "
            "alpha.rule=constant alpha.value=NUMBER, or some noise",
        ),
        (
            "data.name=folder",
            "data.path is required, give data.path=VALUE: A file, or a folder of files, of "
            "single images or stacks: .npy, .npz, .h5, .hdf5, greyscale .png, .tif or .tiff, and "
            ".nii or .nii.gz if nibabel is installed.",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_line(override: str, message: str):
    with pytest.raises(UserError) as caught:
        load_reconstruct_config(None, [override])
    assert str(caught.value) == message


def test_times_that_are_the_wrong_way_round():
    with pytest.raises(UserError) as caught:
        load_reconstruct_config(None, ["solver.t_max=1e-4", "solver.t_min=0.01"])
    assert str(caught.value) == "solver.t_min: expected <= t_max=0.0001, got 0.01"


def test_a_misspelling_of_another_schema_names_that_schemas_settings():
    with pytest.raises(UserError, match=r"did you mean trainer\.max_steps\?"):
        load_train_config(None, ["max_step=3"])
    with pytest.raises(UserError, match="unknown setting solver: expected one of output, "):
        load_train_config(None, ["solver.steps=3"])


def test_a_wrong_time_limit_is_refused():
    trainer = load_train_config(None, ["trainer.max_time=12:00:00:00"]).trainer
    assert trainer.max_time == "12:00:00:00"
    with pytest.raises(UserError, match=r"trainer\.max_time: expected DD:HH:MM:SS, got '12h'"):
        load_train_config(None, ["trainer.max_time=12h"])


def test_more_final_steps_than_steps_are_refused():
    with pytest.raises(UserError, match=r"solver.final_steps: expected <= steps=3, got 4"):
        load_reconstruct_config(None, ["solver.steps=3", "solver.final_steps=4"])


def test_sections_made_in_python_are_checked_too():
    with pytest.raises(UserError, match=r"^steps: expected >= 1, got 0$"):
        PreconditionedConfig(steps=0)
