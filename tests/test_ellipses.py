import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from gnclightning.data.ellipses import (
    STREAM_LENGTH,
    EllipsesDataset,
    draw_ellipses,
    phantom,
    phantoms,
    rasterise,
)
from gnclightning.errors import UserError

UNITS = 2**40


def draws(count):
    return [draw_ellipses(np.random.default_rng(seed)) for seed in range(count)]


def brute_force(ellipses, size):
    """Sum of indicator functions, and the pixels whose centres lie on a boundary to rounding."""
    axis = np.linspace(-1, 1, size)
    x, y = axis[None, :], -axis[:, None]
    total, boundary = np.zeros((size, size)), np.zeros((size, size), bool)
    (axes_1, axes_2), (centres_x, centres_y) = ellipses.semi_axes, ellipses.centre
    parameters = zip(
        axes_1, axes_2, centres_x, centres_y, ellipses.angle, ellipses.intensity, strict=True
    )
    for a, b, centre_x, centre_y, angle, intensity in parameters:
        dx, dy = x - centre_x, y - centre_y
        u = (np.cos(angle) * dx + np.sin(angle) * dy) / a
        v = (np.cos(angle) * dy - np.sin(angle) * dx) / b
        distance = u**2 + v**2
        total += intensity * (distance <= 1)
        boundary |= np.abs(distance - 1) < 1e-9
    return total, boundary


def unnormalised(ellipses, size):
    return rasterise([ellipses], size)[0] / UNITS


@given(st.integers(0, 10_000), st.integers(3, 70))
def test_images_equal_the_sum_of_indicator_functions(seed, size):
    ellipses = [draw_ellipses(np.random.default_rng((seed, i))) for i in range(3)]
    for image, one in zip(rasterise(ellipses, size) / UNITS, ellipses, strict=True):
        expected, boundary = brute_force(one, size)
        assert boundary.mean() < 0.01
        np.testing.assert_array_equal(image[~boundary], expected[~boundary])


@pytest.mark.parametrize(("seed", "split", "stream"), [(0, "test", 2), (5, "train", 0)])
def test_a_phantom_is_the_normalised_sum_of_its_own_stream(seed, split, stream):
    """Fixes the phantoms that published numbers refer to, background and maximum included."""
    for index in (0, 7):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
        expected, boundary = brute_force(draw_ellipses(rng), 128)
        image = phantom(seed, split, index)
        assert not boundary.any()
        np.testing.assert_array_equal(image, (expected / expected.max()).astype(np.float32))
        assert image.max() == 1
        assert 0.2 < (image == 0).mean() < 0.9


def test_the_first_test_phantom_never_changes():
    image = phantom(0, "test", 0).astype(np.float64)
    assert [image.mean(), image[64, 64], image[40, 80]] == pytest.approx(
        [0.0821529327, 0.3014513254, 0.2477026433], rel=1e-6
    )


def test_ellipses_have_the_published_distribution():
    drawn = draws(4000)
    counts = np.array([e.angle.size for e in drawn], float)
    lengths = np.concatenate([e.semi_axes.ravel() for e in drawn])
    centres = np.concatenate([e.centre.ravel() for e in drawn])
    angles = np.concatenate([e.angle for e in drawn])
    intensities = np.concatenate([e.intensity for e in drawn])
    # (values, mean, variance, fourth central moment) of Poisson, uniform and exponential.
    for values, mean, variance, fourth in (
        (counts, 20, 20, 20 + 3 * 20**2),
        (lengths, 0.25, 0.5**2 / 12, 0.5**4 / 80),
        (centres, 0, 1 / 12, 1 / 80),
        (angles, np.pi, (2 * np.pi) ** 2 / 12, (2 * np.pi) ** 4 / 80),
        (intensities, 0.4, 0.4**2, 9 * 0.4**4),
    ):
        assert values.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / values.size))
        error = np.sqrt((fourth - variance**2) / values.size)
        assert ((values - mean) ** 2).mean() == pytest.approx(variance, abs=5 * error)
    assert (lengths.min(), lengths.max()) == pytest.approx((0, 0.5), abs=1e-4)
    assert (centres.min(), centres.max()) == pytest.approx((-0.5, 0.5), abs=1e-4)
    assert (angles.min(), angles.max()) == pytest.approx((0, 2 * np.pi), abs=1e-3)
    columns = np.concatenate([np.vstack([e.semi_axes, e.centre, e.angle]) for e in drawn], axis=1)
    correlations = np.corrcoef(columns) - np.eye(5)
    assert np.abs(correlations).max() < 5 / np.sqrt(angles.size)


def test_the_mean_phantom_has_the_symmetries_of_the_square():
    images = phantoms(range(6000), 3, "train", size=16)[:, 0].astype(np.float64)
    error = images.std(0) / np.sqrt(len(images))
    mean = images.mean(0)
    for turns in range(4):
        turned = np.rot90(mean, turns)
        for other in (turned, turned.T):
            assert np.abs(other - mean).max() < 6 * error.max()
    assert (mean[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert mean[8, 8] > 10 * mean[8, 1] > 0


@pytest.mark.parametrize("size", [3, 4, 31, 128])
def test_values_run_from_exactly_zero_to_exactly_one(size):
    images = phantoms(range(50), 1, "validation", size)
    assert images.shape == (50, 1, size, size)
    assert images.dtype == np.float32
    assert (images.max((1, 2, 3)) == 1).all()
    assert (images.min((1, 2, 3)) == 0).all()


def test_finer_grids_sample_the_same_phantom():
    """Every second point of `linspace(-1, 1, 65)` makes `linspace(-1, 1, 33)`."""
    for ellipses in draws(20):
        coarse, fine = unnormalised(ellipses, 33), unnormalised(ellipses, 65)
        np.testing.assert_array_equal(fine[::2, ::2], coarse)


def test_turning_all_ellipses_turns_the_image():
    for ellipses in draws(10):
        x, y = ellipses.centre
        turned = type(ellipses)(
            ellipses.semi_axes, np.stack([-y, x]), ellipses.angle + np.pi / 2, ellipses.intensity
        )
        expected = np.rot90(unnormalised(ellipses, 64))
        np.testing.assert_array_equal(unnormalised(turned, 64), expected)


def test_no_ellipse_makes_an_empty_image():
    nothing = draw_ellipses(np.random.default_rng(0))
    nothing = type(nothing)(*(part[..., :0] for part in vars(nothing).values()))
    images = rasterise([nothing, *draws(1), nothing], 16)
    assert not images[[0, 2]].any()
    np.testing.assert_array_equal(images[1], rasterise(draws(1), 16)[0])


def test_empty_images_are_redrawn_and_leave_the_others_alone():
    indices = range(2000)
    first = [
        draw_ellipses(np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0, index))))
        for index in indices
    ]
    empty = ~rasterise(first, 3).any((1, 2))
    assert 3 <= empty.sum() <= 200
    images = phantoms(indices, 0, "train", size=3)
    assert (images.max((1, 2, 3)) == 1).all()
    for index in np.flatnonzero(empty):
        np.testing.assert_array_equal(images[index, 0], phantom(0, "train", int(index), 3))


@given(st.lists(st.integers(0, STREAM_LENGTH - 1), min_size=1, max_size=40), st.integers(0, 2**70))
def test_a_phantom_depends_on_neither_batch_nor_order(indices, seed):
    together = phantoms(indices, seed, "test", size=12)
    for index, image in zip(indices, together, strict=True):
        np.testing.assert_array_equal(image[0], phantom(seed, "test", index, size=12))


def test_splits_seeds_and_indices_never_share_a_phantom():
    images = [
        phantoms(range(2000), seed, split, size=16)
        for seed in (0, 1)
        for split in ("train", "validation", "test")
    ]
    assert len({image.tobytes() for image in np.concatenate(images)}) == 12_000


def test_an_empty_request_gives_no_images():
    assert phantoms([], 0, "train", 8).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], 0, "training"), "a split among train, validation, test, got 'training'"),
        (([0], -1, "train"), "seed of at least 0, got -1"),
        (([0], 0, "train", 2), "at least 3 pixels a side, got 2"),
        (([3, -1], 0, "train"), "indices from 0 to 4294967295, got -1 to 3"),
        (([STREAM_LENGTH], 0, "train"), "got 4294967296 to 4294967296"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(UserError, match=message):
        phantoms(*arguments)


def test_the_data_set_holds_the_phantoms_in_order():
    data_set = EllipsesDataset("validation", 20, seed=4, size=10)
    expected = torch.from_numpy(phantoms(range(20), 4, "validation", 10))
    assert len(data_set) == 20
    assert torch.equal(torch.stack(list(data_set)), expected)
    assert torch.equal(torch.stack(data_set.__getitems__([5, 0, 19])), expected[[5, 0, 19]])
    for index in (20, -1):
        with pytest.raises(IndexError, match=f"phantom {index} of 20"):
            data_set[index]
    for count, message in ((0, "at least 1 phantom"), (STREAM_LENGTH + 1, "phantom indices")):
        with pytest.raises(UserError, match=message):
            EllipsesDataset("validation", count)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_same_batches_with_any_number_of_workers(workers):
    data_set = EllipsesDataset("train", 7, size=10)
    batches = list(DataLoader(data_set, batch_size=3, num_workers=workers))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    expected = torch.from_numpy(phantoms(range(7), 0, "train", 10))
    assert torch.equal(torch.cat(batches), expected)
