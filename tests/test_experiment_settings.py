"""Which settings arms run with, and the command that gives them again."""

import shlex
from dataclasses import replace

import pytest

from gnclightning.config import load
from gnclightning.errors import UserError
from gnclightning.experiments import published
from gnclightning.experiments.arms.arm import Arm
from gnclightning.experiments.arms.config import gather
from gnclightning.experiments.arms.settings import configure
from gnclightning.experiments.commands import command
from gnclightning.experiments.table1 import Table1Config
from gnclightning.experiments.table2 import Table2Config, tuning_arm

FLOW = Arm("a", "a", ("solver.name=gnc_flow", "data.count=1"))
PRECONDITIONED = Arm("b", "b", ("methods=[fbp]",))


def test_the_arm_s_go_before_the_user_s_before_the_defaults():
    given = ["data.count=5", "geometry.angles=7"]
    defaults = ["data.count=9", "seed=3", "geometry.angles=8"]
    first, second = configure([FLOW, PRECONDITIONED], given, defaults)
    assert (first.data.count, second.data.count) == (1, 5)
    assert (first.seed, first.geometry.angles, first.methods) == (3, 7, [])
    assert second.methods == ["fbp"]
    with pytest.raises(UserError, match=r"leaves open, got methods=\[tv\], which it sets itself"):
        configure([FLOW, PRECONDITIONED], ["methods=[tv]"])


def test_solver_settings_go_where_they_fit():
    flow, other = configure([FLOW, PRECONDITIONED], ["solver.cg_steps=3", "solver.t_max=0.5"])
    assert (other.solver.cg_steps, other.solver.t_max, flow.solver.t_max) == (3, 0.5, 0.5)
    with pytest.raises(UserError, match=r"solver\.cg_steps is a setting of"):
        configure([FLOW], ["solver.cg_steps=3"])


def test_defaults_of_other_images_are_left_out():
    given = ["data.name=ldct", "data.path=x"]
    (config,) = configure([PRECONDITIONED], given, ["data.file=null", "data.count=4"])
    assert (config.data.name, config.data.count, config.noise.relative) == ("ldct", 4, 0.05)
    (louder,) = configure([PRECONDITIONED], [*given, "noise.relative=0.2"])
    assert louder.noise.relative == 0.2


def test_images_without_truth_are_refused():
    with pytest.raises(UserError, match="expected images whose truth is known"):
        configure([PRECONDITIONED], ["data.name=sinogram", "data.path=x"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), 33.21),
        (("data.name=ldct", "data.path=x"), 37.08),
        (("geometry.angles=20",), None),
        (("noise.relative=0.05",), None),
        (("noise.absolute=3",), None),
        (("data.name=ldct", "data.path=x", "noise.relative=0.1"), None),
        (("data.name=folder", "data.path=x"), None),
        (("data.name=folder", "data.path=x", "noise.absolute=3"), None),
        (("data.name=unseen",), None),
        (("data.size=64",), None),
        (("geometry.beam=fan", "geometry.source_distance=300"), None),
        (("geometry.arc=[0,90]",), None),
    ],
)
def test_published_numbers_stand_beside_comparable_ones_only(given, expected):
    (config,) = configure([PRECONDITIONED], given)
    known = published.comparable(published.STEPS, config)
    assert (known["adaptive"].psnr if known else None) == expected


def test_the_command_repeats_the_settings():
    given = ["starts=3", "data.path=my scans/ä😀.npy", "methods=[fbp,tv]", "seed=1", "quick=true"]
    config = load(Table1Config, None, gather(Table1Config, [*given, "output=x"]))
    assert config.settings == given[1:4]
    text = command("table1", config, "settings")
    assert '"methods=[fbp,tv]"' in text
    again = [word.replace("--quick", "quick=true") for word in shlex.split(text)[3:]]
    assert sorted(again) == sorted(given)
    repeated = load(Table1Config, None, gather(Table1Config, again))
    assert replace(repeated, output="x") == config


@pytest.mark.parametrize(
    ("given", "split"),
    [((), True), (("data.name=ldct",), True), (("data.name=unseen",), False)],
)
def test_the_step_is_tuned_on_a_validation_image_where_there_are_any(given, split):
    arm = tuning_arm(Table2Config(settings=[*given]), 1e-3)
    assert ("data.split=validation" in arm.settings) == split
