"""`report.html` in a browser: what it shows, what it asks for, and what its controls do."""

import json
from pathlib import Path

import numpy as np
import pytest

import reports
from browser import Browser, browser, needs_browser
from reports import NASTY, content, made_up
from run_folders import arrays

pytestmark = needs_browser

PIXELS = (
    "const c = document.getElementById('view');"
    "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
)
COLOURS = "page card text muted accent bad good bad-back good-back"
DRAWN = "document.getElementById('view').dataset.drawn"


@pytest.fixture(scope="module")
def folder(prior, tmp_path_factory) -> Path:
    return reports.eight(prior, tmp_path_factory.mktemp("eight") / "run")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory) -> Path:
    return reports.thousand(tmp_path_factory.mktemp("thousand"))


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser") / "profile") as window:
        yield window


@pytest.fixture
def page(window):
    """Opens a report; at the end nothing was complained about, and nothing else asked for."""
    opened = []

    def opening(path: Path):
        window.requests()
        window.console()
        window.open(path / "report.html")
        window.wait(DRAWN)
        opened.append((path / "report.html").resolve().as_uri())
        return window

    yield opening
    assert window.console() == []
    assert window.requests() == opened


def image(window: Browser) -> np.ndarray:
    """What the viewer shows, (rows, columns, 3)."""
    side = window.run("return document.getElementById('view').width")
    return np.array(window.run(PIXELS)).reshape(-1, side, 4)[..., :3]


def move(window: Browser, element: str, value: object) -> None:
    """Move a control, and wait until the image has followed."""
    before = window.run(f"return {DRAWN}")
    window.run(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'))",
        element,
        value,
    )
    window.wait(f"{DRAWN} !== {json.dumps(before)}")


def grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.round(255 * (image.astype(np.float64) - low) / (high - low)), 0, 255)


def test_slider_and_window_show_the_images(page, folder):
    window, stored = page(folder), arrays(folder)
    worst = content(folder)["gallery"]["images"][0]["number"]
    left, right = stored["fbp"][worst], stored["preconditioned"][worst]
    for split, columns in ((1000, 32), (0, 0), (500, 16), (250, 8)):
        move(window, "split", split)
        shown = image(window)
        expected = np.concatenate([left[:, :columns], right[:, columns:]], axis=1)
        assert np.abs(shown - grey(expected, 0, 1)[..., None]).max() <= 1
    move(window, "level", 0.3)
    move(window, "width", 0.2)
    shown = image(window)
    assert np.abs(shown - grey(expected, 0.2, 0.4)[..., None]).max() <= 2
    assert np.ptp(shown[..., 0]) == 255


def test_other_layers(page, folder):
    window, stored = page(folder), arrays(folder)
    worst = content(folder)["gallery"]["images"][0]["number"]
    move(window, "split", 1000)
    move(window, "left", "ground_truth")
    truth = stored["ground_truth"][worst]
    assert np.abs(image(window) - grey(truth, 0, 1)[..., None]).max() <= 1
    move(window, "left", "error")
    shown = image(window).astype(int)
    error = np.abs(stored["preconditioned"][worst] - truth)
    assert np.corrcoef(shown.sum(-1).ravel(), error.ravel())[0, 1] > 0.9
    assert np.ptp(shown, axis=-1).max() > 50  # in colours


def test_a_real_mouse_moves_the_slider(page, folder):
    window = page(folder)
    before = image(window)
    box = window.run("return document.getElementById('view').getBoundingClientRect().toJSON()")
    place = {"x": int(box["left"] + 0.9 * box["width"]), "y": int(box["top"] + 50)}
    window.click(**place)
    window.wait(f"parseFloat({DRAWN}.split(' ')[3]) > 0.85")
    assert (image(window) != before).any()


def test_images_are_chosen_in_gallery_and_table(page, folder):
    window = page(folder)
    first = window.run("return document.getElementById('name').textContent")
    window.run("document.getElementById('gallery').children[2].click()")
    window.wait(f"{DRAWN}.startsWith('2 ')")
    names = [image["name"] for image in content(folder)["gallery"]["images"]]
    assert first == names[0]
    assert window.run("return document.getElementById('name').textContent") == names[2]
    assert window.run("return document.getElementById('curve-name').textContent") == names[2]
    window.run("document.querySelectorAll('#table th')[1].click()")  # PSNR, ascending
    window.run("document.querySelectorAll('#table th')[1].click()")  # descending: best first
    window.run("document.querySelector('#table tbody tr').click()")
    assert window.run("return document.getElementById('name').textContent") == names[-1]
    window.wait(f"{DRAWN}.startsWith('7 ')")


def test_charts_are_drawn(page, folder):
    window = page(folder)
    assert window.run("return document.querySelectorAll('#curves svg').length") == 5
    assert window.run("return document.querySelectorAll('#histograms svg').length") == 4
    assert "NaN" not in window.run("return document.querySelector('main').innerHTML")


def test_marks_of_an_axis_differ_in_a_narrow_range(page, folder):
    window = page(folder)
    for low, high in ((1.0091, 1.0096), (20000, 20100), (-2.231, -2.209), (0.0, 1.0)):
        marks = window.run(f"return texts(ticks({low}, {high}, 6))")
        assert len(set(marks)) == len(marks) > 3
        step = float(marks[1]) - float(marks[0])
        np.testing.assert_allclose(np.diff([float(mark) for mark in marks]), step, rtol=1e-3)
    assert window.run("return texts([0, 0.2, 0.4, 20000])") == ["0", "0.2", "0.4", "2e4"]


def test_a_thousand_images_are_unpacked_when_they_are_seen(page, thousand):
    window = page(thousand)
    count = "document.querySelectorAll('#gallery canvas[data-drawn]').length"
    window.wait(f"{count} > 0")
    assert window.run("return document.querySelectorAll('#gallery button').length") == 64
    assert window.run("return document.querySelectorAll('#table tbody tr').length") == 100
    window.run("document.getElementById('more').click()")
    assert window.run("return document.querySelectorAll('#table tbody tr').length") == 1000
    window.run("document.getElementById('gallery').lastChild.scrollIntoView()")
    window.wait("document.querySelector('#gallery button:last-child canvas[data-drawn]')")


def test_names_are_shown_as_they_are(page, tmp_path):
    window = page(made_up(tmp_path, [NASTY, "b"], left_out={NASTY: f"no {NASTY}"}))
    assert window.run("return document.getElementById('name').textContent") == NASTY
    assert NASTY in window.run("return document.getElementById('config').textContent")
    assert window.run("return document.querySelectorAll('main b').length") == 3  # the tiles'
    assert not window.run("return document.getElementById('left-out').hidden")
    shown = "return document.querySelector('#left-out-reasons {}').textContent"
    assert window.run(shown.format("dt")) == NASTY
    assert window.run(shown.format("dd")) == f"no {NASTY}"


def test_where_nothing_is_left_out_nothing_is_said(page, folder):
    assert page(folder).run("return document.getElementById('left-out').offsetHeight") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_both_schemes(page, window, folder, dark):
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3) of body and muted text."""
    window.dark(dark)
    page(folder)
    styles = window.run(
        "const s = getComputedStyle(document.documentElement);"
        "return Object.fromEntries(arguments[0].map((n) => [n, s.getPropertyValue(n).trim()]))",
        [f"--{name}" for name in COLOURS.split()],
    )
    pairs = [(text, back) for text in ("--text", "--muted", "--accent") for back in ("--card",)]
    pairs += [("--muted", "--page"), ("--bad", "--bad-back"), ("--good", "--good-back")]
    for text, back in pairs:
        one, two = sorted((luminance(styles[text]), luminance(styles[back])))
        assert (two + 0.05) / (one + 0.05) >= 4.5, (text, back)
    assert (luminance(styles["--page"]) < 0.1) == dark


def luminance(colour: str) -> float:
    channels = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
