"""Denoised images at all noise levels, and their PSNR, for a trained prior."""

import numpy as np
import pytest
import torch

from gnclightning.data.ellipses import phantoms
from gnclightning.metrics import psnr
from gnclightning.priors import from_pretrained
from gnclightning.training.module import VALIDATION_TIMES, DenoisingModule, TrainingPlan
from gnclightning.training.pictures import denoised_levels, draw_levels, side_by_side

TIMES = torch.tensor(VALIDATION_TIMES)


@pytest.fixture(scope="module")
def prior():
    return from_pretrained("ellipses-128")[0]


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(phantoms(range(1), 0, "validation", 64))[0]


def test_denoised_images_are_far_better_than_noisy_ones(prior, image):
    """The noise is nu_t / gamma_t on the scale of the image, and the same each time."""
    levels = denoised_levels(prior, image, TIMES)
    assert levels.shape == (3, 5, 1, 64, 64)
    assert torch.equal(levels[0], image.expand(5, 1, 64, 64))
    noisy, denoised = (psnr(x, levels[0]) for x in levels[1:])
    expected = -20 * prior.sde.noise_to_signal(TIMES).log10()
    torch.testing.assert_close(noisy.float(), expected, rtol=0, atol=0.2)
    assert (denoised > noisy + 2).all()
    assert (denoised[1:] > noisy[1:] + 6).all()
    assert torch.equal(denoised_levels(prior, image, TIMES), levels)


def test_the_validation_logs_the_psnr_of_denoised_images(prior, image, monkeypatch):
    """From the loss; the same as from the images that the noise of the validation makes."""
    logged = {}
    monkeypatch.setattr(
        DenoisingModule, "log", lambda self, name, value, **_: logged.update({name: value.item()})
    )
    noises, loss = [], DenoisingModule._loss

    def watched(self, x, t, noise, *rest):
        noises.append(noise)
        return loss(self, x, t, noise, *rest)

    monkeypatch.setattr(DenoisingModule, "_loss", watched)
    batch = torch.stack([image, image.flip(1)])
    module = DenoisingModule(prior, TrainingPlan(steps=1))
    with torch.no_grad():
        module.validation_step(batch, 0)
    for time, noise in zip(VALIDATION_TIMES, noises, strict=True):
        t = torch.full((2,), time)
        x = prior.sde.perturb(batch, t, noise)
        std, scale = (f(t).reshape(2, 1, 1, 1) for f in (prior.sde.std, prior.sde.mean_scale))
        denoised = (x + std**2 * prior.score(x, t)) / scale
        expected = psnr(denoised, batch).mean().item()
        found = logged[f"validation/denoised_psnr_t={time:g}"]
        assert found == pytest.approx(expected, abs=0.02)
        assert found > -20 * prior.sde.noise_to_signal(t).log10()[0].item()
    # Each image has noise of its own, that of its number among all images.
    assert not torch.equal(noises[0][0], noises[0][1])


def test_the_picture_of_the_levels_has_a_panel_for_each(prior, image):
    """Clean panels hold the same pixels; the noisy ones more and more noise."""
    levels = denoised_levels(prior, image, TIMES)
    picture = draw_levels(levels, prior.sde.noise_to_signal(TIMES).tolist())
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    height, width, channels = picture.shape
    assert channels == 3
    assert width / height == pytest.approx(5 / 3, rel=0.15)
    blank = draw_levels(torch.zeros_like(levels), [1.0] * 5)
    changed = (picture != blank).any(-1).mean()
    assert 0.2 < changed < 0.95


def test_images_lie_side_by_side_as_bytes():
    a, b = torch.tensor([[[[0.0, 0.5]]]]), torch.tensor([[[[-1.0, 2.0]]]])
    (joined,) = side_by_side(a, b)
    assert joined.tolist() == [[0, 128, 0, 255]]
