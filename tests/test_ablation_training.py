"""Legs of the ablation's trainings: whole, together, and what is told of them."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gnclightning.priors import NetworkEnergy, PriorMetadata, from_pretrained, save_pretrained
from gnclightning.sde import VPSDE
from tiny_priors import tiny_network

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ablation(monkeypatch):
    """The module of the commands, which has all that the tests need."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import prior_ablation

    return prior_ablation


class Trainings:
    """In place of processes of `train.py`: each adds ten steps to the run folder's checkpoint."""

    def __init__(self):
        self.starts: list[tuple[str, str, int]] = []
        """Folder of the arm, stage and first step of each that was started."""
        self.interrupt_after = 1000
        self.failures: dict[tuple[str, int], str] = {}
        """What is printed before it fails by the training of a folder from some step on."""
        self.exported: dict[int, int | None] = {}
        """Steps of the weights that lie beside a checkpoint, where they are others; None: none."""
        self.popen = subprocess.Popen

    def __call__(self, command, env, stdout, stderr):
        assert env["OMP_NUM_THREADS"] == "1"
        output = Path(next(word for word in command if word.startswith("output="))[7:])
        last = output / "last.ckpt"
        before = torch.load(last)["global_step"] if last.is_file() else 0
        self.starts.append((output.parent.name, output.name, before))
        if said := self.failures.get((output.parent.name, before)):
            return self.popen(["sh", "-c", f"echo '{said}'; exit 2"], stdout=stdout)
        self.write(output, before + 10)
        if len(self.starts) == self.interrupt_after:
            raise KeyboardInterrupt
        return self.popen(["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"])

    def write(self, output: Path, steps: int) -> None:
        output.mkdir(parents=True, exist_ok=True)
        timer = {"Timer": {"time_elapsed": {"train": steps / 10}}}
        torch.save({"global_step": steps, "callbacks": timer}, output / "last.ckpt")
        exported = self.exported.get(steps, steps)
        if exported is None:
            return
        metadata = PriorMetadata((16, 16), training={"steps": exported, "images_seen": 8 * steps})
        prior = NetworkEnergy(VPSDE(), tiny_network(steps, torch.float32))
        save_pretrained(prior, metadata, output)


@pytest.fixture
def trainings(ablation, monkeypatch, tmp_path):
    """See there; files are in a temporary folder."""
    found = Trainings()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ablation_training.subprocess.Popen", found)
    return found


def points(folder: Path) -> list[dict]:
    """What is kept of an arm's training with its weights."""
    files = sorted((folder / "points").glob("*.safetensors"))
    return [from_pretrained(file)[1].training for file in files]


def test_arms_start_each_leg_together_also_after_an_interruption(ablation, trainings):
    """A leg that was interrupted is repeated by all of them, from where the one before ended."""
    plan = ablation.Plan(points=4)
    arms = [ablation.legs(ablation.GROUPS["start"]["warm"], plan, Path(n)) for n in ("a", "b")]
    trainings.interrupt_after = 3
    with pytest.raises(KeyboardInterrupt):
        ablation.train(arms)
    trainings.interrupt_after = 8
    with pytest.raises(KeyboardInterrupt):
        ablation.train(arms)
    ablation.train(arms)
    assert trainings.starts == [
        ("a", "stage-0", 0),
        ("b", "stage-0", 0),
        ("a", "stage-0", 10),  # interrupted before b starts
        ("a", "stage-0", 10),
        ("b", "stage-0", 10),
        ("a", "stage-1", 0),
        ("b", "stage-1", 0),
        ("a", "stage-1", 10),  # interrupted once more
        ("a", "stage-1", 10),
        ("b", "stage-1", 10),
    ]
    for name in ("a", "b"):
        kept = points(Path(name))
        assert [point["steps"] for point in kept] == [10, 20, 10, 20]
        assert [point["arm_neighbours"] for point in kept] == [1, 1, 1, 1]
        assert [point["arm_seconds"] for point in kept] == [1, 2, 3, 4]
        assert [point["arm_images"] for point in kept] == [80, 160, 240, 320]
        work = [0, *(point["arm_processor_seconds"] for point in kept)]
        assert all(0.001 < later - earlier < 5 for earlier, later in pairwise(work))
    ablation.train(arms)
    assert len(trainings.starts) == 10


def test_the_table_tells_unequal_conditions(ablation, trainings):
    """An arm that was trained by itself has no neighbours, and the table says so."""
    from ablation_tables import tables

    plan = ablation.Plan(points=2)
    arms = {
        name: ablation.legs(ablation.GROUPS["times"][name], plan, Path(name))
        for name in ("power", "uniform", "min_snr")
    }
    ablation.train([arms["power"][:1], arms["uniform"][:1]])
    ablation.train([arms["power"]])
    ablation.train([arms["uniform"], arms["min_snr"]])
    assert [p["arm_neighbours"] for p in points(Path("power"))] == [1, 0]
    quality = {"psnr": [30.0, 31.0], "ssim": [0.9, 0.8]}
    curves = {
        name: [
            {
                key: p[f"arm_{key}"]
                for key in ("seconds", "images", "processor_seconds", "neighbours")
            }
            | {"parameters": 1000, "gnc": quality, "tv": quality}
            for p in points(Path(name))
        ]
        for name in arms
    }
    made = {"reproduce": "command", "hardware": "", "date": "", "group": "times"}
    told = {"train": ["command"], "diverged": None}
    lines = tables([made | {"arms": {n: told | {"curve": curve} for n, curve in curves.items()}}])
    head, _, power, uniform, min_snr = (
        line.split(" | ") for line in lines if line.startswith("| ")
    )
    assert head[3:5] == ["processor min", "arms at a time"]
    assert [row[4] for row in (power, uniform, min_snr)] == ["1 to 2", "2", "1 to 2"]
    assert float(power[3]) == pytest.approx(curves["power"][1]["processor_seconds"] / 60, rel=1e-2)


LOST = "training diverged: the loss is nan after 12 steps"


def test_an_arm_that_diverges_does_not_stop_the_others(ablation, trainings, monkeypatch):
    """It keeps what it had, is told of in result, table and figure, and is not trained again."""
    from ablation_tables import draw, tables

    plan = ablation.Plan(minutes=30, points=3)
    names = ["power", "uniform", "min_snr"]
    folders = {n: ablation.arm_folder("times", n, ablation.GROUPS["times"][n], plan) for n in names}
    trainings.failures = {
        (folders["uniform"].name, 10): f"gnc-train: error: {LOST}; prior.safetensors keeps 10",
        (folders["min_snr"].name, 0): f"gnc-train: error: {LOST}; there were no good weights",
    }
    quality = {"gnc": {"psnr": [30.0, 31.0], "ssim": [0.9, 0.8]}, "tv": {"psnr": [9.0, 9.0]}}
    quality["tv"]["ssim"] = [0.1, 0.2]

    def judge(prior, *_):
        training = from_pretrained(prior)[1].training
        known = ("seconds", "images", "processor_seconds", "neighbours")
        return {key: training[f"arm_{key}"] for key in known} | {"parameters": 9} | quality

    monkeypatch.setattr(ablation, "judge", judge)
    for _ in range(2):
        ablation.run("times", names, plan)
        found = ablation.load("ablation-times")
        curves = {name: arm["curve"] for name, arm in found["arms"].items()}
        assert {name: len(curve) for name, curve in curves.items()} == dict(
            power=3, uniform=1, min_snr=0
        )
        assert [point["neighbours"] for point in curves["power"]] == [2, 1, 0]
        ends = {name: arm["diverged"] for name, arm in found["arms"].items()}
        assert ends == {
            "power": None,
            "uniform": {"leg": 2, "minutes": 20, "reason": LOST},
            "min_snr": {"leg": 1, "minutes": 10, "reason": LOST},
        }
    assert len(trainings.starts) == 6
    rows = [line.split(" | ") for line in tables([found]) if line.startswith("| ")]
    assert [row[-1] for row in rows[2:]] == [
        " |",
        f"diverged before 20 min: {LOST} |",
        f"diverged before 10 min: {LOST} |",
    ]
    assert len({len(row) for row in rows}) == 1
    assert [row[6] for row in rows[2:]] == ["30.50 / 0.850", "", ""]
    draw([found], Path("figure.png"))
    assert Path("figure.png").stat().st_size > 1000


def test_what_else_fails_is_said_once_the_others_have_ended(ablation, trainings):
    plan = ablation.Plan(points=2)
    arms = [ablation.legs(ablation.GROUPS["times"]["power"], plan, Path(name)) for name in "ab"]
    trainings.failures = {("a", 0): "gnc-train: error: the disk is full"}
    with pytest.raises(SystemExit, match=r"training failed, see a/points/1\.log"):
        ablation.train(arms)
    assert "the disk is full" in Path("a/points/1.log").read_text()
    assert len(points(Path("b"))) == 1
    trainings.failures = {}
    ablation.train(arms)
    assert [point["arm_neighbours"] for point in points(Path("a"))] == [0, 1]


@pytest.mark.parametrize(
    ("steps", "exported", "message"),
    [
        (10, None, r"expected one \.safetensors file in a/stage-0, found 0 .*see a/points/1.log"),
        (20, 10, "a/stage-0 holds weights after 10 steps and a checkpoint after 20"),
    ],
)
def test_weights_of_another_step_are_not_kept(steps, exported, message, ablation, trainings):
    """As after a kill between checkpoint and export; then the same command trains the leg again."""
    plan = ablation.Plan(points=3)
    arms = [ablation.legs(ablation.GROUPS["times"]["power"], plan, Path("a"))]
    trainings.exported = {steps: exported}
    with pytest.raises(SystemExit, match=message):
        ablation.train(arms)
    trainings.exported = {}
    ablation.train(arms)
    assert [start for *_, start in trainings.starts] == sorted([0, 10, 20, steps - 10])
    assert [point["steps"] for point in points(Path("a"))] == [10, 20, 30]


def test_a_leg_without_a_step_is_no_new_point(ablation, trainings, monkeypatch):
    """Weights of before would pass for those of a longer training."""
    plan = ablation.Plan(points=2)
    legs = ablation.legs(ablation.GROUPS["times"]["power"], plan, Path("a"))
    ablation.train([legs[:1]])
    idle = lambda *_, **__: trainings.popen(["true"])  # noqa: E731
    monkeypatch.setattr("ablation_training.subprocess.Popen", idle)
    with pytest.raises(SystemExit, match="after 10 steps and a checkpoint after 10, which should"):
        ablation.train([legs])
    assert len(points(Path("a"))) == 1
