"""Averages with several decays: exact in checkpoints, chosen by reconstructions."""

import csv
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gnclightning import cli
from gnclightning.data.ellipses import phantoms
from gnclightning.metrics import psnr, ssim
from gnclightning.priors import from_pretrained
from gnclightning.training.averaging import AverageChoice, warmed_up_decay
from gnclightning.training.callbacks import ValidationProblem
from trainings import TINY, differing, train

FEW = ["reconstruction.every_n_steps=0", "optimizer.lr=1e-2", "optimizer.warmup_steps=0"]
SEVERAL = [*FEW, "ema.decay=0.2", "ema.alternatives=[0,0.9]"]
FILES = {0.2: "ema-0.2", 0.0: "no-ema", 0.9: "ema-0.9"}


def averages(folder: Path) -> dict[float, dict[str, torch.Tensor]]:
    paths = {d: folder / "averages" / f"{name}.safetensors" for d, name in FILES.items()}
    return {decay: load_file(path) for decay, path in paths.items()}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "averages" / "averages.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def average_of(values: list[float], decay: float) -> float:
    average = values[0]
    for count, value in enumerate(values[1:], start=1):
        kept = warmed_up_decay(decay, count)
        average = kept * average + (1 - kept) * value
    return average


def test_an_average_of_few_weights_forgets_the_first_ones():
    """How much weight it gives to the first, and how far back it looks, as laws say.

    The product of (1 + n) / (10 + n) over n < N is 10! N! / (N + 9)!; ages have the mean
    decay / (1 - decay) where the decay holds, and about N / 10 before.
    """
    first = average_of([1.0, *[0.0] * 299], 0.999)
    expected = math.exp(math.lgamma(11) + math.lgamma(301) - math.lgamma(310))
    assert first == pytest.approx(expected, rel=1e-9)
    assert first < 1e-14 < 1 - 0.999 < 0.999**299
    ages = [float(n) for n in reversed(range(1000))]
    assert average_of(ages, 0.9999) == pytest.approx(100, rel=0.02)
    assert average_of(ages, 0.98) == pytest.approx(0.98 / (1 - 0.98), rel=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("several")
    train(output, 5, *SEVERAL)
    return output


def test_each_average_is_that_of_a_training_with_its_decay_alone(folder, tmp_path):
    for decay, weights in averages(folder).items():
        alone = train(tmp_path / str(decay), 5, *FEW, f"ema.decay={decay}")
        assert differing(weights, alone) == []
        path = folder / "averages" / f"{FILES[decay]}.safetensors"
        assert from_pretrained(path)[1].training["ema_decay"] == decay
        assert not (tmp_path / str(decay) / "averages").exists()


def test_the_best_reconstructions_decide_what_is_shipped(folder, capsys):
    """The table's numbers are those of the files' own reconstructions."""
    images = torch.from_numpy(phantoms(range(2), 0, "validation", 16))
    problem = ValidationProblem(images, steps=2)
    rows = table(folder)
    assert [float(row["ema_decay"]) for row in rows] == list(FILES)
    for row in rows:
        prior, _ = from_pretrained(folder / "averages" / row["file"])
        x = problem.reconstruct(prior)
        assert float(row["psnr"]) == pytest.approx(psnr(x, images).mean().item(), abs=1e-4)
        assert float(row["ssim"]) == pytest.approx(ssim(x, images).mean().item(), abs=1e-5)
    assert len({row["psnr"] for row in rows}) == 3
    best = max(rows, key=lambda row: float(row["psnr"]))
    assert [row["shipped"] for row in rows] == [str(row is best) for row in rows]
    shipped = load_file(folder / "prior.safetensors")
    assert differing(shipped, averages(folder)[float(best["ema_decay"])]) == []
    training = from_pretrained(folder)[1].training
    assert training["ema_decay"] == float(best["ema_decay"])
    assert training["images_seen"] == 10


def test_the_choice_is_told(tmp_path, capsys):
    train(tmp_path, 1, *SEVERAL)
    told = capsys.readouterr().out
    assert "2 validation images" in told
    for row in table(tmp_path):
        assert f"{float(row['psnr']):.2f}" in told
    assert told.count("shipped") == 1


def test_a_stopped_and_resumed_training_has_the_averages_of_a_whole_one(folder, tmp_path):
    warm = [s for s in SEVERAL if "warmup" not in s]
    train(tmp_path / "whole", 5, *warm)
    train(tmp_path / "parts", 3, *warm)
    stale = averages(tmp_path / "parts")
    train(tmp_path / "parts", 5, *warm)
    whole, parts = averages(tmp_path / "whole"), averages(tmp_path / "parts")
    for decay in FILES:
        assert differing(parts[decay], whole[decay]) == []
        assert differing(parts[decay], stale[decay])
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


def test_a_run_killed_while_it_chose_chooses_when_started_again(folder, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(AverageChoice, "_choose", killed)
    settings = [*TINY, *SEVERAL, f"output={tmp_path}", "trainer.max_steps=5"]
    assert cli.train(settings) == 130
    assert not (tmp_path / "averages" / "averages.csv").exists()
    monkeypatch.undo()
    train(tmp_path, 5, *SEVERAL)
    assert table(tmp_path) == table(folder)
    for decay, weights in averages(tmp_path).items():
        assert differing(weights, averages(folder)[decay]) == []
    assert from_pretrained(tmp_path)[1].training == {
        **from_pretrained(folder)[1].training,
        "hours": from_pretrained(tmp_path)[1].training["hours"],
    }


def test_a_finished_run_chooses_no_more(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "again")
    monkeypatch.setattr(AverageChoice, "_choose", None)
    assert differing(train(tmp_path / "again", 5, *SEVERAL), train_weights(folder)) == []


def train_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "prior.safetensors")


@pytest.mark.parametrize(
    ("alternatives", "message"),
    [
        ("[0.999]", "ema.alternatives: expected decays other than ema.decay=0.999 and each other"),
        ("[0.9,0.9]", "ema.alternatives: expected decays other than"),
        ("[1]", "ema.alternatives: expected >= 0, < 1, got 1"),
        ("0.9", "ema.alternatives: expected list of number, written ema.alternatives=[0.9]"),
    ],
)
def test_unfit_decays_are_refused(alternatives, message, tmp_path, capsys):
    assert cli.train([*TINY, f"output={tmp_path}", f"ema.alternatives={alternatives}"]) == 2
    assert message in capsys.readouterr().err


def test_other_decays_are_not_resumed(folder, tmp_path, capsys):
    settings = [*TINY, *FEW, f"output={folder}", "trainer.max_steps=6", "ema.decay=0.5"]
    assert cli.train(settings) == 2
    assert "another ema" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "unknown")
    (tmp_path / "unknown" / "config.yaml").unlink()
    settings[settings.index(f"output={folder}")] = f"output={tmp_path / 'unknown'}"
    assert cli.train([*settings, "ema.alternatives=[0]"]) == 2
    assert "another ema" in capsys.readouterr().err  # the checkpoint itself knows
