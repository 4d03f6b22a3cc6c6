"""Trainings that begin with weights or learn from them: a score, a smaller network, a teacher."""

import numpy as np
import pytest
import torch

from gnclightning import cli
from gnclightning.data.ellipses import phantoms
from gnclightning.losses import denoising_score_matching
from gnclightning.networks import UNet
from gnclightning.priors import NetworkEnergy, from_pretrained
from gnclightning.sde import VPSDE
from trainings import TINY, differing, train


def test_a_warm_start_copies_the_weights(tmp_path):
    """With a vanishing learning rate the energy keeps the score's averaged weights."""
    score = train(tmp_path / "score", 2)
    init = tmp_path / "score" / "prior.safetensors"
    still = ["optimizer.lr=1e-30", "optimizer.matrix_lr=1e-30"]
    energy = train(tmp_path / "e", 1, "prior.parametrisation=energy", f"init={init}", *still)
    assert differing(score, energy) == []


def test_an_energy_learns_the_score_of_its_teacher(tmp_path):
    """Once warm-started from it the energy is off by its asymmetry alone, and gets nearer."""
    train(tmp_path / "score", 6)
    score = tmp_path / "score" / "prior.safetensors"
    given = ["prior.parametrisation=energy", f"teacher={score}", "time_sampling.t_min=0.05"]
    more = ["optimizer.warmup_steps=2", "optimizer.batch_size=8", "ema.decay=0"]
    train(tmp_path / "energy", 40, *given, *more)
    teacher, _ = from_pretrained(score)
    energy, metadata = from_pretrained(tmp_path / "energy")
    assert metadata.training["teacher"]["steps"] == 6
    x = torch.from_numpy(phantoms(range(4), 0, "validation", 16))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.2, 0.4, 0.6])
    fresh = NetworkEnergy(VPSDE(), UNet(energy.network.config))

    def loss(prior):
        arguments = (VPSDE(), x, t, noise, None, teacher)
        return denoising_score_matching(prior, *arguments).mean().item()

    assert loss(teacher) == 0
    assert loss(energy) < 0.5 * loss(fresh)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sde.beta_max=5"], "another sde"),
        (["data.size=32"], "another image size: expected (32, 32), got (16, 16)"),
        (
            ["data.name=folder", "data.path={images}", "data.range=[-1,2]"],
            "another range of values: expected [-1.0, 2.0], got None",
        ),
    ],
)
def test_an_unfit_teacher_is_refused(settings, message, tmp_path, capsys):
    train(tmp_path / "score", 1)
    teacher = f"teacher={tmp_path / 'score' / 'prior.safetensors'}"
    np.save(tmp_path / "images.npy", phantoms(range(4), 0, "train", 16)[:, 0])
    settings = [setting.format(images=tmp_path / "images.npy") for setting in settings]
    tiny = [s for s in TINY if "name=folder" not in str(settings) or not s.startswith("data.")]
    assert cli.train([*tiny, f"output={tmp_path / 'e'}", teacher, *settings]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_deeper_network_goes_on_where_a_shallower_one_was(tmp_path):
    """Before it learns anything it predicts the same noise; afterwards its new blocks matter."""
    train(tmp_path / "shallow", 2)
    init = [f"init={tmp_path / 'shallow' / 'prior.safetensors'}", "network.blocks=[2,3]"]
    still = ["optimizer.lr=1e-30", "optimizer.matrix_lr=1e-30"]
    train(tmp_path / "deep", 1, *init, *still)
    train(tmp_path / "trained", 2, *init, "optimizer.matrix_lr=0.1")
    folders = [tmp_path / name for name in ("shallow", "deep", "trained")]
    priors = [from_pretrained(folder / "prior.safetensors")[0] for folder in folders]
    assert list(priors[1].network.config.blocks) == [2, 3]
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1e-3, 0.5])
    shallow, deep, trained = (prior.noise_prediction(x, t) for prior in priors)
    torch.testing.assert_close(deep, shallow, rtol=0, atol=0)
    assert (trained - shallow).abs().max() > 1e-3
    assert priors[2].network.down_levels[1][2].second.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("network.channels=16", "another network"),
        ("network.multipliers=[1,2,2] network.blocks=[1,1,1]", "another network"),
        ("sde.beta_max=5", "another sde"),
        ("prior.form=gradient_step", "another prior.form"),
        ("prior.form=scaled", "another prior.form"),
        ("init=absent.safetensors", "no prior at"),
    ],
)
def test_an_unfit_warm_start_is_refused(setting, message, tmp_path, capsys):
    train(tmp_path / "score", 1)
    arguments = [*TINY, f"output={tmp_path / 'e'}", "prior.parametrisation=energy"]
    init = f"init={tmp_path / 'score' / 'prior.safetensors'}"
    assert cli.train([*arguments, init, *setting.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_shallower_network_does_not_start_from_a_deeper_one(tmp_path, capsys):
    train(tmp_path / "deep", 1, "network.blocks=[2,1]")
    init = f"init={tmp_path / 'deep' / 'prior.safetensors'}"
    assert cli.train([*TINY, f"output={tmp_path / 'shallow'}", init]) == 2
    assert "another network" in capsys.readouterr().err
