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
        self.popen = subprocess.Popen

    def __call__(self, command, env, stdout, stderr):
        assert env["OMP_NUM_THREADS"] == "1"
        output = Path(next(word for word in command if word.startswith("output="))[7:])
        last = output / "last.ckpt"
        before = torch.load(last)["global_step"] if last.is_file() else 0
        self.starts.append((output.parent.name, output.name, before))
        self.write(output, before + 10, before + 10)
        if len(self.starts) == self.interrupt_after:
            raise KeyboardInterrupt
        return self.popen(["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"])

    def write(self, output: Path, steps: int, exported: int) -> None:
        output.mkdir(parents=True, exist_ok=True)
        timer = {"Timer": {"time_elapsed": {"train": steps / 10}}}
        torch.save({"global_step": steps, "callbacks": timer}, output / "last.ckpt")
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
    lines = tables([made | {"arms": {name: {"curve": curve} for name, curve in curves.items()}}])
    head, _, power, uniform, min_snr = (
        line.split(" | ") for line in lines if line.startswith("| ")
    )
    assert head[3:5] == ["processor min", "arms at a time"]
    assert [row[4] for row in (power, uniform, min_snr)] == ["1 to 2", "2", "1 to 2"]
    assert float(power[3]) == pytest.approx(curves["power"][1]["processor_seconds"] / 60, rel=1e-2)
