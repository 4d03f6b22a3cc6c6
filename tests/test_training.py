"""Training: optimiser, loss over times, averaged weights, resumption, through the command line."""

import json
import math
from pathlib import Path

import pytest
import torch
import wandb
from safetensors.torch import load_file
from wandb.errors import AuthenticationError

from dicom_trees import write_series
from gnclightning import cli
from gnclightning.alpha import Alpha
from gnclightning.data.ellipses import phantoms
from gnclightning.networks import UNet, UNetConfig
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.priors import Form, NetworkEnergy, NetworkScore, from_pretrained
from gnclightning.sde import VPSDE
from gnclightning.solvers import Armijo, FixedFirstStep, log_schedule, preconditioned, solve
from gnclightning.training.callbacks import ValidationProblem
from gnclightning.training.module import BOUNDARY, DenoisingModule, TrainingPlan
from gnclightning.training.optimizers import MuonAdam, split_parameters
from trainings import TINY, differing, train

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["score", "energy"])
def test_a_stopped_and_resumed_training_equals_a_whole_one(kind, tmp_path):
    """Same batches, times, noise, optimiser, averaging; the stop is within an epoch."""
    setting = f"prior.parametrisation={kind}"
    whole = train(tmp_path / "whole", 5, setting)
    # Within the warm-up the learning rate does not depend on the length of the run.
    train(tmp_path / "parts", 3, setting)
    parts = train(tmp_path / "parts", 5, setting)
    metadata = from_pretrained(tmp_path / "parts")[1].training
    assert (metadata["steps"], metadata["images_seen"], metadata["ema_decay"]) == (5, 10, 0.999)
    assert differing(parts, whole) == []
    assert differing(train(tmp_path / "other", 5, setting, "seed=1"), whole)


@pytest.mark.parametrize("decay", [0.9, 0])
def test_a_run_killed_in_its_last_validation_has_its_final_weights_when_started_again(
    decay, tmp_path, monkeypatch
):
    """Its checkpoint is of the last step, and its file of the validation before."""
    setting = f"ema.decay={decay}"
    whole = train(tmp_path / "whole", 6, setting)
    start = DenoisingModule.on_validation_epoch_start

    def killed(self):
        if self.global_step == 6:
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(DenoisingModule, "on_validation_epoch_start", killed)
    killed_run = [*TINY, setting, f"output={tmp_path / 'killed'}", "trainer.max_steps=6"]
    assert cli.train(killed_run) == 130
    assert from_pretrained(tmp_path / "killed")[1].training["steps"] == 4
    monkeypatch.undo()
    assert differing(train(tmp_path / "killed", 6, setting), whole) == []
    training = from_pretrained(tmp_path / "killed")[1].training
    assert (training["steps"], training["images_seen"]) == (6, 12)


def test_a_new_training_replaces_the_weights_of_one_with_as_many_steps(tmp_path, monkeypatch):
    """Also if it was killed before its only validation."""
    old = train(tmp_path / "a", 2)
    new = train(tmp_path / "b", 2, "seed=1")

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(DenoisingModule, "on_validation_epoch_start", killed)
    settings = [*TINY, f"output={tmp_path / 'a'}", "trainer.max_steps=2", "seed=1"]
    assert cli.train([*settings, "resume=false"]) == 130
    assert differing(load_file(tmp_path / "a" / "prior.safetensors"), old) == []
    monkeypatch.undo()
    assert differing(train(tmp_path / "a", 2, "seed=1"), new) == []


def test_score_then_energy_then_reload(tmp_path):
    train(tmp_path / "score", 2)
    init = tmp_path / "score" / "prior.safetensors"
    times = ["time_sampling.name=lognormal", "time_sampling.median=0.3"]
    train(tmp_path / "energy", 2, "prior.parametrisation=energy", f"init={init}", *times)
    prior, metadata = from_pretrained(tmp_path / "energy")
    assert isinstance(prior, NetworkEnergy)
    assert metadata.image_shape == (16, 16)
    assert metadata.symmetric
    assert metadata.training["images_seen"] == 4
    assert metadata.training["times"]["median"] == 0.3
    assert metadata.training["initialised_from"]["parametrisation"] == "score"
    lines = (tmp_path / "energy" / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    columns = lines[0].split(",")
    for name in ("train/loss", "validation/loss", "validation/psnr", "validation/ssim"):
        values = [row.split(",")[columns.index(name)] for row in lines[1:]]
        assert all(math.isfinite(float(v)) for v in values if v)
        assert any(values)


def test_two_steps_of_training_then_a_reconstruction(tmp_path):
    """The whole way, through the command line."""
    train(tmp_path / "prior", 2, "prior.parametrisation=energy")
    settings = [
        f"prior.path={tmp_path / 'prior'}",
        "data.name=ellipses",
        "data.size=16",
        "data.count=2",
        "geometry.angles=20",
        "solver.steps=4",
        "tv.iterations=20",
        "logger.mode=disabled",
        "progress=false",
    ]
    assert cli.reconstruct([*settings, f"output={tmp_path / 'run'}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["images"] == 2
    assert set(summary["methods"]) == {"fbp", "tv", "preconditioned"}
    certificate = summary["methods"]["preconditioned"]["certificate"]
    assert certificate["armijo_share"] == 1
    assert certificate["descent_share"] == 1


def test_the_weighting_of_levels_changes_what_is_learnt(tmp_path):
    plain = train(tmp_path / "plain", 2)
    weighted = train(tmp_path / "weighted", 2, "time_sampling.weighting=min_snr")
    assert differing(plain, weighted)


def test_weights_are_the_moving_average(tmp_path):
    """Of the weights after each step, starting from those after the first, by hand.

    The second step's decay is still that of the warm-up, 2 / 11; the third's is ema.decay.
    """
    decay = ["ema.decay=0.2", "optimizer.lr=1e-2"]
    raw = [train(tmp_path / f"raw{k}", k, "ema.decay=0", "optimizer.lr=1e-2") for k in (1, 2, 3)]
    averaged = train(tmp_path / "ema", 3, *decay)
    assert differing(raw[0], raw[1])
    for name, value in averaged.items():
        second = 2 / 11 * raw[0][name] + 9 / 11 * raw[1][name]
        expected = 0.2 * second + 0.8 * raw[2][name]
        torch.testing.assert_close(value, expected)
    before = (tmp_path / "ema" / "prior.safetensors").read_bytes()
    assert differing(train(tmp_path / "ema", 3, *decay), averaged) == []  # nothing left to do
    assert (tmp_path / "ema" / "prior.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prior.parametrisation=energy", "another prior"),
        ("sde.beta_max=5", "another sde"),
        ("data.seed=3", "another data"),
        ("seed=5", "another seed"),
        ("ema.decay=0.5", "another ema"),
        ("time_sampling.skew=1", "another time_sampling"),
        ("time_sampling.name=lognormal", "another time_sampling"),
        ("optimizer.lr=1e-5", "another optimizer"),
        ("trainer.accelerator=gpu", "trainer.*"),
        ("trainer.strategy=nonsense", "choose auto, or ddp for several devices"),
        ("trainer.strategy=dpp", "choose ddp"),
    ],
)
def test_what_does_not_fit_the_run_folder_or_machine_is_refused(setting, message, tmp_path, capsys):
    weights = train(tmp_path, 1)
    assert cli.train([*TINY, f"output={tmp_path}", "trainer.max_steps=2", setting]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert differing(load_file(tmp_path / "prior.safetensors"), weights) == []


def test_a_foreign_checkpoint_is_refused(tmp_path, capsys):
    train(tmp_path, 1)
    arguments = [*TINY, f"output={tmp_path}", "trainer.max_steps=2"]
    assert cli.train([*arguments, "network.channels=16"]) == 2
    assert "another network" in capsys.readouterr().err
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    assert cli.train(arguments) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_images_that_do_not_fit_the_network_are_refused(tmp_path, capsys):
    assert cli.train([*TINY, f"output={tmp_path}", "data.size=18"]) == 2
    assert "multiples of 4, got (18, 18)" in capsys.readouterr().err


def test_the_loss_falls_on_a_fixed_batch():
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16))
    prior = NetworkEnergy(VPSDE(), network)
    module = DenoisingModule(prior, TrainingPlan(steps=30, warmup=1))
    optimizer = MuonAdam(*split_parameters(prior, BOUNDARY), matrix_lr=0.02, lr=3e-3)
    x = torch.from_numpy(phantoms(range(4), 0, "train", 16))
    t = torch.tensor([0.02, 0.1, 0.3, 0.6])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(30):
        loss = module._loss(x, t, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def reconstructed(prior: NetworkEnergy, images: torch.Tensor) -> torch.Tensor:
    """What a run with 10 % noise, 20 angles and three iterations makes of the images."""
    operator = Radon(ParallelBeam2D.for_image(16, 20))
    y, sigma = add_noise(operator(images), relative=0.1, seeds=range(2))
    alpha = Alpha.from_noise_level(prior.sde, sigma, 0.025, operator.mean_gain())
    objective = GraduatedObjective(operator, y, prior, alpha, 0.025, sigma_y=sigma)
    start = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    schedule = log_schedule(1.0, 0.025, 3)
    solver = preconditioned(schedule, search=Armijo(), first_step=FixedFirstStep())
    return objective.posterior_mean(solve(solver, objective, start).state.point, steps=1)[0]


def test_validation_reconstruction_is_repeatable_and_in_place_under_inference_mode():
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16))
    images = torch.from_numpy(phantoms(range(2), 0, "validation", 16))
    problem = ValidationProblem(images, steps=3, angles=20)
    first = problem.reconstruct(NetworkScore(VPSDE(), network))
    with torch.inference_mode():
        second = problem.reconstruct(NetworkEnergy(VPSDE(), network, Form.PAPER))
    assert torch.equal(first, second.clone())
    by_hand = reconstructed(NetworkEnergy(VPSDE(), network), images)
    torch.testing.assert_close(first, by_hand, rtol=0, atol=1e-5)
    assert (first - images).abs().mean() < 0.5  # 0.8 for the random start


@pytest.mark.parametrize("kind", ["score", "energy"])
def test_a_diverging_training_stops_and_keeps_what_it_had(kind, tmp_path, capsys):
    settings = [*TINY, f"output={tmp_path}", f"prior.parametrisation={kind}"]
    assert cli.train([*settings, "trainer.max_steps=2"]) == 0
    before = (tmp_path / "prior.safetensors").read_bytes()
    checkpoint = (tmp_path / "last.ckpt").read_bytes()
    capsys.readouterr()
    wild = ["optimizer.lr=1e30", "optimizer.warmup_steps=0", "resume=false"]
    assert (
        cli.train([*settings, *wild, "trainer.max_steps=9", "trainer.checkpoint_every_n_steps=9"])
        == 2
    )
    error = capsys.readouterr().err
    assert "training diverged: the loss is" in error
    assert "lower optimizer.matrix_lr and optimizer.lr" in error
    assert "Traceback" not in error
    assert (tmp_path / "last.ckpt").read_bytes() == checkpoint
    assert (tmp_path / "prior.safetensors").read_bytes() == before


def test_a_refused_login_leaves_a_training_without_tracking(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "abc")

    def refuse(**settings):
        raise AuthenticationError("The API key you provided is either invalid or missing.")

    monkeypatch.setattr(wandb, "init", refuse)
    settings = ["logger.mode=online", "reconstruction.every_n_steps=0"]
    with pytest.warns(UserWarning, match="no W&B tracking, only CSV files"):
        train(tmp_path, 2, *settings)
    assert (tmp_path / "logs" / "version_0" / "metrics.csv").is_file()


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(tmp_path, monkeypatch):
    norms, step = [], MuonAdam.step

    def watched(self, closure=None):
        def closure_then_norm():
            loss = closure()
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(torch.stack([g.norm() for g in gradients if g is not None]).norm().item())
            return loss

        return step(self, closure_then_norm)

    monkeypatch.setattr(MuonAdam, "step", watched)
    train(tmp_path / "clipped", 2, "optimizer.gradient_clip=1e-3")
    train(tmp_path / "free", 2, "optimizer.gradient_clip=0")
    assert norms[:2] == pytest.approx([1e-3, 1e-3], rel=1e-3)
    assert min(norms[2:]) > 1e-2


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "configs/train").glob("*.yaml")))
def test_every_shipped_recipe_trains(name, tmp_path):
    """One step of it, with its own network and image size."""
    short = [
        f"output={tmp_path}",
        "optimizer.batch_size=1",
        "data.validation_count=1",
        "trainer.accelerator=cpu",
        "trainer.max_steps=1",
        "trainer.log_every_n_steps=1",
        "trainer.val_check_interval=1",
        "reconstruction.every_n_steps=0",
        "logger.mode=disabled",
        "progress=false",
    ]
    if name.startswith("ldct"):
        for patient in ("C001", "C002"):
            write_series(tmp_path / "ct", patient, 2)
        folders = [f"data.path={tmp_path / 'ct'}", f"data.cache={tmp_path / 'cache'}"]
        short += [*folders, "data.conversion_workers=0", "data.workers=0"]
    assert cli.train(["--config", str(ROOT / f"configs/train/{name}.yaml"), *short]) == 0
    prior, metadata = from_pretrained(tmp_path)
    assert prior.parametrisation in name
    assert metadata.training["images_seen"] == 1
