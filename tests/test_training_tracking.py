"""What a training leaves in W&B: configuration, losses, reconstructions and their pictures."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from gnclightning import cli
from gnclightning.data.ellipses import phantoms
from gnclightning.losses import PowerTimes
from gnclightning.priors import from_pretrained
from gnclightning.sampling import draw_samples
from gnclightning.sde import VPSDE
from gnclightning.training import monitoring
from gnclightning.training.module import DenoisingModule, _generator
from gnclightning.training.monitoring import EDGES, band_names
from gnclightning.training.optimizers import MuonAdam
from trainings import TINY
from wandb_files import Logged


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("training")
    settings = [s for s in TINY if not s.startswith("logger.")]
    tracked = ["logger.mode=offline", "trainer.max_steps=4", f"output={output}"]
    assert cli.train([*settings, *tracked, "prior.parametrisation=energy"]) == 0
    return output


def rows(folder: Path, column: str) -> dict[int, float]:
    """Step and value of a column of Lightning's CSV file."""
    with (folder / "logs/version_0/metrics.csv").open(newline="") as file:
        return {int(r["step"]): float(r[column]) for r in csv.DictReader(file) if r[column]}


@pytest.mark.parametrize(
    "name", ["train/loss", "validation/loss", "validation/psnr", "validation/ssim"]
)
def test_curves_are_those_of_the_csv_file(name, folder):
    found = values(folder, name)
    assert found == pytest.approx(rows(folder, name))
    assert len(found) == (4 if name == "train/loss" else 2)
    assert all(math.isfinite(value) for value in found.values())


def test_reconstructions_come_every_so_many_steps(tmp_path):
    """Validations after 1, 2, 3, 4 and 5 steps, reconstructions due every 2."""
    often = ["trainer.val_check_interval=1", "trainer.max_steps=5"]
    assert cli.train([*TINY, *often, f"output={tmp_path}"]) == 0
    assert len(rows(tmp_path, "validation/loss")) == 5
    # Lightning's loggers count the step that is under way, from 0 on.
    assert sorted(rows(tmp_path, "validation/psnr")) == [1, 3]


def values(folder: Path, name: str) -> dict[int, float]:
    """Step and value of a curve in W&B."""
    logged = Logged(folder).history
    return {row["trainer/global_step"]: row[name] for row in logged if name in row}


def test_losses_by_noise_level_average_to_the_loss(folder):
    """Weighted by how many of the step's images are in each band, which the seed tells."""
    loss = values(folder, "train/loss")
    bands = {name: values(folder, f"train/loss_noise_{name}") for name in band_names()}
    assert len(bands) == 5
    for step in range(4):
        ratios = VPSDE().noise_to_signal(PowerTimes()(VPSDE(), 2, _generator(0, step)))
        numbers = torch.bucketize(ratios, torch.tensor(EDGES)).tolist()
        names = [band_names()[number] for number in numbers]
        assert {name for name, curve in bands.items() if step in curve} == set(names)
        mean = sum(bands[name][step] for name in names) / len(names)
        assert mean == pytest.approx(loss[step], rel=1e-5)


def test_learning_rates_are_those_of_the_schedule(folder):
    """Of the step itself: warm-up over 100 steps."""
    for kind, peak in (("matrix", 0.02), ("other", 1e-3)):
        expected = {step: peak * (step + 1) / 101 for step in range(4)}
        assert values(folder, f"train/learning_rate_{kind}") == pytest.approx(expected)


def test_speed_and_memory_are_plausible(folder):
    """Two images each step; a process with PyTorch in it holds more than 100 MB."""
    speed = values(folder, "train/images_per_second")
    assert list(speed) == [0, 1, 2, 3]
    assert all(0.1 < value < 1e4 for value in speed.values())
    memory = values(folder, "train/peak_memory_gb")
    assert all(0.1 < value < 100 for value in memory.values())
    assert list(memory.values()) == sorted(memory.values())


def test_the_gradient_s_norm_is_that_before_clipping(tmp_path, monkeypatch):
    """As without clipping, where the optimiser sees it."""
    norms, step = [], MuonAdam.step

    def watched(self, closure=None):
        def closure_then_norm():
            loss = closure()
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(sum(g.square().sum() for g in gradients if g is not None).sqrt().item())
            return loss

        return step(self, closure_then_norm)

    monkeypatch.setattr(MuonAdam, "step", watched)
    few = ["trainer.max_steps=1", "reconstruction.every_n_steps=0", f"output={tmp_path / 'free'}"]
    assert cli.train([*TINY, *few, "optimizer.gradient_clip=0"]) == 0
    few[-1] = f"output={tmp_path / 'clipped'}"
    assert cli.train([*TINY, *few, "optimizer.gradient_clip=1e-3"]) == 0
    for name in ("free", "clipped"):
        assert rows(tmp_path / name, "train/gradient_norm") == pytest.approx({0: norms[0]})
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_an_interval_s_values_are_of_all_its_steps(tmp_path, monkeypatch):
    """Of three steps of two batches of two images each, one second per batch."""
    now = [0.0]
    monkeypatch.setattr(monitoring.time, "monotonic", lambda: now[0])
    taken, training_step = [], DenoisingModule.training_step

    def watched(self, batch, batch_idx):
        now[0] += 1
        outputs = training_step(self, batch, batch_idx)
        taken.append((outputs["losses"], outputs["ratios"]))
        return outputs

    def validating(self, batch, batch_idx):
        now[0] += 50

    monkeypatch.setattr(DenoisingModule, "training_step", watched)
    monkeypatch.setattr(DenoisingModule, "validation_step", validating)
    few = ["trainer.max_steps=6", "trainer.log_every_n_steps=3", "reconstruction.every_n_steps=0"]
    parts = ["trainer.accumulate_grad_batches=2", f"output={tmp_path}"]
    assert cli.train([*TINY, *few, *parts]) == 0
    assert rows(tmp_path, "train/images_per_second") == pytest.approx({2: 2.0, 5: 2.0})
    for step, batches in ((2, taken[:6]), (5, taken[6:])):
        losses, ratios = (torch.cat(part) for part in zip(*batches, strict=True))
        ends = [0.0, *EDGES, float("inf")]
        for name, low, high in zip(band_names(), ends, ends[1:], strict=False):
            inside = losses[(ratios > low) & (ratios <= high)]
            found = rows(tmp_path, f"train/loss_noise_{name}").get(step)
            assert (found is None) == (len(inside) == 0)
            assert found is None or found == pytest.approx(inside.mean().item(), rel=1e-5)


def test_panels_have_steps_as_axis_and_the_best_values_in_the_summary(folder):
    logged = Logged(folder)
    groups = {"train/*", "validation/*", "images/*"}
    assert groups <= {k for k, v in logged.step_metrics.items() if v == "trainer/global_step"}
    names = {name for row in logged.history for name in row if "/" in name}
    kinds = {name.partition("/")[0] for name in names}
    assert kinds == {"train", "validation", "images", "trainer"}


def test_the_configuration_is_the_resolved_one(folder):
    config = Logged(folder).config
    assert config["network"]["channels"] == 8
    assert config["optimizer"]["warmup_steps"] == 100  # a default


def pictures(folder: Path, name: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"wandb/offline-run-*/files/media/images/images/{name}_*.png"))
    return [imread(path) for path in paths]


def test_samples_and_denoised_images_come_with_the_reconstructions(folder):
    """Those of the final weights are what these give: at the second of two validations."""
    samples, denoised = pictures(folder, "samples"), pictures(folder, "denoised")
    assert len(samples) == 4
    prior, _ = from_pretrained(folder)
    drawn = draw_samples(prior, prior.sde, (1, 16, 16), range(2)).clamp(0, 1)[:, 0].numpy()
    for image in drawn:
        assert min(np.abs(image - sample).max() for sample in samples) <= 0.51 / 255
    assert len(denoised) == 2
    assert all(0.2 < picture[..., :3].mean() < 0.95 for picture in denoised)


def test_pictures_show_the_validation_images_beside_their_reconstructions(folder):
    """At both validations, two images each, all in [0,1]."""
    paths = sorted(
        folder.glob("wandb/offline-run-*/files/media/images/images/reconstructions_*.png")
    )
    assert len(paths) == 4
    pictures = np.stack([imread(path) for path in paths])
    truth, reconstructed = pictures[..., :16], pictures[..., 16:]
    assert reconstructed.shape == (4, 16, 16)
    images = phantoms(range(2), 0, "validation", 16)[:, 0]
    for image, reconstruction in zip(truth, reconstructed, strict=True):
        assert np.abs(image - images).max(axis=(1, 2)).min() <= 0.51 / 255
        assert 0.01 < np.abs(image - reconstruction).mean() < 0.5
