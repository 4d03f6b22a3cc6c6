"""Images unlike the phantoms that priors are trained on."""

from types import SimpleNamespace

import numpy as np
import pytest

from gnclightning.build_measurement import build_images
from gnclightning.config import load_reconstruct_config
from gnclightning.data import unseen
from gnclightning.data.ellipses import Ellipses
from gnclightning.data.samples import above_air, ct_slice
from gnclightning.data.unseen import CT_SLICES, rectangles, shepp_logan, text, unseen_images
from gnclightning.errors import UserError


def value(image, x, y):
    """Of the pixel whose centre is nearest to (x, y) on [-1, 1]^2, y up."""
    last = len(image) - 1
    return image[round((1 - y) / 2 * last), round((1 + x) / 2 * last)]


def test_shepp_logan_has_its_values_where_they_belong():
    image = shepp_logan(257)
    points = {
        (0, 0.9): 1.0, (0.67, 0): 1.0, (0.95, 0): 0.0, (0, -0.5): 0.2, (0, 0.35): 0.3,
        (0.22, 0): 0.0, (-0.22, 0): 0.0, (0, 0.08): 0.3, (0, -0.1): 0.3, (0, -0.605): 0.3,
        (0.06, -0.605): 0.3,
    }  # fmt: skip
    for (x, y), expected in points.items():
        assert value(image, x, y) == pytest.approx(expected, abs=1e-7), (x, y)
    # The right ventricle is the smaller one, and both lean outwards at the top.
    assert (image[:, :128] == 0).sum() != (image[:, 129:] == 0).sum()
    assert value(image, 0.29, 0.22) == 0
    assert value(image, 0.29, -0.22) == pytest.approx(0.2)
    area = np.pi * sum(i * a * b for i, a, b, *_ in unseen._SHEPP_LOGAN)
    assert image.mean() * 4 == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_rectangles_have_their_sides_and_directions(monkeypatch, angle):
    one = Ellipses(
        np.array([[0.4], [0.2]]), np.array([[0.1], [0.3]]), np.array([angle]), np.array([0.7])
    )
    monkeypatch.setattr(unseen, "draw_ellipses", lambda _: one)
    image = rectangles(np.random.default_rng(0), 401)
    assert set(np.unique(image)) == {0.0, 1.0}
    assert image.sum() * (2 / 400) ** 2 == pytest.approx(4 * 0.4 * 0.2, rel=0.02)
    cos, sin = np.cos(angle), np.sin(angle)
    for along, across, expected in [(0.38, 0.18, 1), (-0.38, 0.18, 1), (0.43, 0, 0), (0, 0.23, 0)]:
        x, y = 0.1 + cos * along - sin * across, 0.3 + sin * along + cos * across
        assert value(image, x, y) == expected


def test_texts_lie_within_the_image_and_are_mostly_background():
    for seed in range(60):
        image = text(np.random.default_rng(seed), 48)
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert not edge.any(), seed
        assert 0.03 < (image > 0.2).mean() < 0.4


def test_an_image_depends_on_its_place_and_seed_alone():
    few, many, other = unseen_images(6, 32), unseen_images(10, 32), unseen_images(10, 32, seed=1)
    np.testing.assert_array_equal(few.images, many.images[:6])
    assert many.names == (
        "shepp_logan[0]", "ct[0]", "ct[1]", "ct[2]", "rectangles[0]", "text[0]", "rectangles[1]",
        "text[1]", "rectangles[2]", "text[2]",
    )  # fmt: skip
    assert many.seeds == tuple(range(10))
    same = [bool((a == b).all()) for a, b in zip(many.images, other.images, strict=True)]
    assert same == [True] * 4 + [False] * 6
    assert len({image.numpy().tobytes() for image in many.images}) == 10
    assert many.images.amax((1, 2, 3)).tolist() == [1.0] * 10


def test_ct_slices_keep_what_they_attenuate():
    images = unseen_images(4, 128).images[1:, 0].numpy()
    np.testing.assert_array_equal(images[0], ct_slice().images[0, 0])
    for name, image in zip(CT_SLICES, images, strict=True):
        values = above_air(name)
        scale = values.mean() / image.mean()  # HU above air of the value 1
        assert 0.5 * values.max() < scale < 1.001 * values.max()
        blocks = values.reshape(128, len(values) // 128, 128, -1).mean((1, 3))
        assert np.corrcoef(blocks.ravel(), image.ravel())[0, 1] > 0.99


def test_a_missing_slice_is_reported(monkeypatch):
    monkeypatch.setattr("gnclightning.data.samples.get_testdata_file", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"693_J2KI\.dcm in the pydicom package, got none"):
        above_air("693_J2KI.dcm")


def test_settings_choose_them():
    config = load_reconstruct_config(None, ["data.name=unseen", "data.count=5", "data.size=24"])
    images = build_images(config)
    np.testing.assert_array_equal(images.images, unseen_images(5, 24).images)
    with pytest.raises(UserError, match=r"data\.count"):
        load_reconstruct_config(None, ["data.name=unseen", "data.count=0"])


def test_rectangles_are_drawn_until_one_hits_a_pixel(monkeypatch):
    tiny = Ellipses(np.full((2, 1), 1e-9), np.full((2, 1), 0.01), np.zeros(1), np.ones(1))
    wide = Ellipses(np.full((2, 1), 0.4), np.zeros((2, 1)), np.zeros(1), np.ones(1))
    drawn = iter([tiny, wide])
    monkeypatch.setattr(unseen, "draw_ellipses", lambda _: next(drawn))
    assert rectangles(SimpleNamespace(), 16).max() == 1
