"""`benchmarks/prior_ablation.py`: equal times, arms that differ, nothing done twice."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gnclightning.build_training import build_plan
from gnclightning.config import load_reconstruct_config, load_train_config
from gnclightning.priors import from_pretrained

ROOT = Path(__file__).parents[1]
TINY = [
    "network.channels=8",
    "network.multipliers=[1,2]",
    "network.blocks=[1,1]",
    "data.validation_count=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
]
FAST = [
    "solver.steps=2",
    "solver.cg_steps=2",
    "geometry.angles=10",
    "tv.iterations=5",
    "device=cpu",
]
SIZES = ["--minutes", "0.02", "--points", "1", "--size", "16", "--images", "2"]


@pytest.fixture
def ablation(monkeypatch):
    """The module; benchmarks are scripts that import each other from their folder."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import prior_ablation

    return prior_ablation


def run(ablation, monkeypatch, *arguments: str) -> dict:
    command = ["prior_ablation.py", "run", *arguments, *SIZES, "--train", *TINY, "--solve", *FAST]
    monkeypatch.setattr(sys, "argv", command)
    ablation.main()
    return json.loads(Path(f"docs/results/ablation-{arguments[0]}.json").read_text())


def test_a_group_is_trained_equally_long_judged_and_not_trained_again(
    ablation, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    found = run(ablation, monkeypatch, "parametrisation", "--arms", "scaled,paper")
    assert found.keys() == {"group", "arms", "reproduce", "date", "hardware"}
    assert list(found["arms"]) == ["paper", "scaled"]  # in the order of the group
    points = {name: arm["curve"][-1] for name, arm in found["arms"].items()}
    for name, point in points.items():
        assert 1 <= point["seconds"] < 6  # the limit, and at most a step more
        assert "trainer.max_time=00:00:00:01" in found["arms"][name]["train"][0]
        assert point["images"] > 0
        assert point["images"] % 8 == 0
        assert point["neighbours"] == 1
        assert point["seconds"] / 2 < point["processor_seconds"]  # two processes share two cores
        for method in ("gnc", "tv"):
            assert {key: len(v) for key, v in point[method].items()} == {"psnr": 2, "ssim": 2}
        assert f"prior.form={name}" in found["arms"][name]["train"][0]
    assert points["paper"]["tv"] == points["scaled"]["tv"]  # the same measurements
    assert points["paper"]["gnc"] != points["scaled"]["gnc"]
    folder = next(Path("runs/ablation").iterdir())
    weights = {
        name: from_pretrained(next(folder.glob(f"{name}-*/points/1.safetensors")))[0]
        for name in points
    }
    for name, prior in weights.items():
        assert (prior.parametrisation, prior.form) == ("energy", name)
        trained = load_file(next(folder.glob(f"{name}-*/stage-0/prior.safetensors")))
        assert all(torch.equal(v, trained[k]) for k, v in prior.network.state_dict().items())

    # What is there is not made again, and judging again gives the same.
    monkeypatch.setattr("ablation_training.Leg.start", None)
    monkeypatch.setattr("ablation_judging.reconstruct", None)
    assert run(ablation, monkeypatch, "parametrisation", "--arms", "paper") == found

    page = "text\n<!-- begin ablation -->\nold\n<!-- end ablation -->\nmore\n"
    Path("docs/results.md").write_text(page)
    monkeypatch.setattr(sys, "argv", ["prior_ablation.py", "table"])
    ablation.main()
    text = Path("docs/results.md").read_text()
    for name, point in points.items():
        mean = sum(point["gnc"]["psnr"]) / 2
        assert any(f"| {name} |" in line and f"{mean:.2f} / " in line for line in text.splitlines())
    assert "EDM's preconditioning (Karras et al. 2022) is `gradient_step`" in text
    assert "old" not in text
    assert text.startswith("text\n")
    assert text.endswith("more\n")
    assert Path("docs/images/prior-ablation.png").stat().st_size > 1000


def test_every_arm_is_a_training_that_the_programs_know(ablation, tmp_path):
    """All arms of all groups differ, and their stages share the same time."""
    plan = ablation.Plan(minutes=30, points=2)
    for arms in ablation.GROUPS.values():
        seen = []
        for arm in arms.values():
            legs = ablation.legs(arm, plan, tmp_path)
            configs = [load_train_config(leg.arguments[1], leg.arguments[2:]) for leg in legs]
            settings = load_reconstruct_config(None, ["data.name=ellipses", *arm.settings])
            last = {leg.stage: config for leg, config in zip(legs, configs, strict=True)}
            for config in configs:
                rule = build_plan(config)
                rates = [rule.lr_factor(step) for step in (rule.warmup, 20_000)]
                assert min(rates) > 0.99  # else a point is no training that ended there
            times = [config.trainer.max_time for config in last.values()]
            assert times in ([], ["00:00:30:00"], ["00:00:15:00", "00:00:15:00"])
            assert [leg.kept.stem for leg in legs] == [str(n + 1) for n in range(len(legs))]
            seen.append((list(last.values()), settings))
        assert all(one != other for k, one in enumerate(seen) for other in seen[:k])


def test_a_stage_without_time_is_refused(ablation, tmp_path):
    with pytest.raises(SystemExit, match="each stage of an arm needs one"):
        ablation.legs(ablation.GROUPS["start"]["warm"], ablation.Plan(points=1), tmp_path)


def test_a_leg_takes_a_second_at_least(ablation, tmp_path):
    arm = ablation.GROUPS["parametrisation"]["paper"]
    with pytest.raises(SystemExit, match="at least a second"):
        ablation.legs(arm, ablation.Plan(minutes=0.05, points=6), tmp_path)


def test_another_training_has_another_folder(ablation, monkeypatch, tmp_path):
    """After any change of what trains an arm; one of the defaults or of a file counts too."""
    import ablation_groups
    import ablation_training

    def folder(arm, plan=ablation.Plan(), group="times", name="arm"):  # noqa: B008
        return ablation.arm_folder(group, name, arm, plan)

    uniform = ablation.GROUPS["times"]["uniform"]
    edited = ablation_groups._energy("time_sampling.skew=9")
    start = ablation.GROUPS["start"]
    folders = {
        folder(uniform),
        folder(edited),
        folder(uniform, ablation.Plan(train=("network.channels=16",))),
        folder(uniform, ablation.Plan(minutes=31)),
        folder(uniform, ablation.Plan(size=64)),
        folder(start["warm"]),
        folder(start["distilled"]),
    }
    assert len(folders) == 7
    (tmp_path / "configs/train").mkdir(parents=True)
    text = (ROOT / "configs/train/ellipses_energy.yaml").read_text()
    (tmp_path / "configs/train/ellipses_energy.yaml").write_text(text)
    monkeypatch.setattr(ablation_training, "ROOT", tmp_path)
    assert folder(uniform) in folders
    changed = text.replace("matrix_lr: 0.01", "matrix_lr: 0.02")
    (tmp_path / "configs/train/ellipses_energy.yaml").write_text(changed)
    assert folder(uniform) not in folders


@pytest.fixture
def reconstructed(ablation, monkeypatch, tmp_path):
    """Folders of reconstructions, made up ones, by a package that is the folder `package`."""
    import ablation_judging

    done = []

    def reconstruct(arguments, output):
        done.append(output)
        output.mkdir(parents=True)
        (output / "summary.json").write_text("{}")
        rows = "method,psnr,ssim\ngnc,30,0.9\ntv,29,0.8\n"
        (output / "metrics.csv").write_text(rows)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation_judging, "reconstruct", reconstruct)
    monkeypatch.setattr(ablation_judging, "PACKAGE", tmp_path / "package")
    (tmp_path / "package").mkdir()
    ablation_judging.source.cache_clear()
    yield done
    ablation_judging.source.cache_clear()


def test_other_code_or_settings_judge_anew(ablation, reconstructed, tmp_path):
    """A judgement is found again only for the same weights, settings and package."""
    import ablation_judging

    plan = ablation.Plan(images=1)

    def judge(*settings):
        ablation_judging.source.cache_clear()
        return ablation.judge("ellipses-128", tmp_path / "arm", plan, settings)

    first = judge()
    assert judge() == first
    assert len(reconstructed) == 1
    # The command that is recorded is one that works, and says what was done.
    _, program, *arguments = shlex.split(first["reconstruction"])
    assert program == "reconstruct.py"
    config = load_reconstruct_config(None, arguments)
    assert (config.output, config.data.name, config.data.count) == (
        str(reconstructed[0]),
        "ellipses",
        1,
    )
    assert (config.data.split, config.data.size) == ("validation", 128)
    assert (config.prior.path, config.methods) == ("ellipses-128", ["tv"])
    _, _, *arguments = shlex.split(judge("solver.t_min=1e-2")["reconstruction"])
    assert load_reconstruct_config(None, arguments).solver.t_min == 1e-2
    (tmp_path / "package" / "solver.py").write_text("steps = 10")
    judge()
    (tmp_path / "package" / "solver.py").write_text("steps = 20")
    judge()
    assert len(set(reconstructed)) == len(reconstructed) == 4


def test_arms_of_the_shipped_weights_change_the_reconstruction_alone(ablation, reconstructed):
    """Each its own setting, on validation phantoms; nothing is trained."""
    ablation.run("t_min", ["default", "1e-2"], ablation.Plan(images=1))
    arms = ablation.load("ablation-t_min")["arms"]
    assert list(arms) == ["default", "1e-2"]
    found = []
    for arm in arms.values():
        assert arm["train"] == []
        (point,) = arm["curve"]
        assert (point["seconds"], point["images"]) == (None, None)
        assert (point["gnc"]["psnr"], point["tv"]["ssim"]) == ([30], [0.8])
        found.append(load_reconstruct_config(None, shlex.split(point["reconstruction"])[2:]))
    default, other = found
    assert default.data.split == other.data.split == "validation"
    assert default.solver == load_reconstruct_config().solver
    assert other.solver == replace(default.solver, t_min=1e-2)
    assert [Path(config.output) for config in found] == reconstructed


def test_the_stages_of_an_arm_follow_each_other(ablation, monkeypatch, tmp_path):
    """A score for half of the time, and the energy that begins with its weights."""
    monkeypatch.chdir(tmp_path)
    plan = ablation.Plan(0.04, 16, 2, 2, tuple(TINY), tuple(FAST))
    ablation.run("start", ["warm"], plan)
    arm = ablation.load("ablation-start")["arms"]["warm"]
    score, energy = arm["train"]
    assert "ellipses_score.yaml" in score
    assert "ellipses_energy.yaml" in energy
    folder = ablation.arm_folder("start", "warm", ablation.GROUPS["start"]["warm"], plan)
    priors, known = zip(*(from_pretrained(folder / f"stage-{k}") for k in (0, 1)), strict=True)
    assert [prior.parametrisation for prior in priors] == ["score", "energy"]
    assert known[1].training["initialised_from"]["steps"] == known[0].training["steps"] > 0
    before, after = arm["curve"]
    assert before["seconds"] >= 1
    assert before["seconds"] + 1 <= after["seconds"]
    assert before["images"] < after["images"]
    assert before["processor_seconds"] < after["processor_seconds"]


@pytest.mark.parametrize("group", ["t_min", "evaluate_at"])
def test_trainings_of_what_trains_nothing_are_refused(group, ablation, monkeypatch, capsys):
    """The shipped weights are for one size of images."""
    command = ["prior_ablation.py", "run", group, "--size", "64", "--minutes", "3"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        ablation.main()
    message = "--minutes, --size: " + group + " trains nothing, it judges the shipped weights"
    assert message in capsys.readouterr().err
    monkeypatch.setattr(ablation, "run", lambda *arguments: print(*arguments))
    monkeypatch.setattr(sys, "argv", ["prior_ablation.py", "run", group, "--size", "128"])
    ablation.main()
    assert group in capsys.readouterr().out
    size = from_pretrained("ellipses-128")[1].image_shape
    assert size == (ablation.Plan().size,) * 2
