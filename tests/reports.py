"""Reports to look at, and what stands in them; shared by the tests of the page."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from batches import result, run_folder
from gnclightning.reconstruction import figures
from gnclightning.reconstruction.report import gallery, write_report
from run_folders import run

NASTY = "</script><script>alert(1)</script><b>&amp;$title ${data}"


class Page(HTMLParser):
    """Collects the page's data, elements and the addresses that it names."""

    def __init__(self):
        super().__init__()
        self.text, self.tags, self.addresses, self._inside = "", [], [], False

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        self._inside = attributes.get("id") == "data"

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.text += data


def parsed(folder: Path) -> tuple[dict, Page]:
    parser = Page()
    parser.feed((folder / "report.html").read_text(encoding="utf-8"))
    return json.loads(parser.text), parser


def content(folder: Path) -> dict:
    return parsed(folder)[0]


def unpacked(layer: dict, shape: tuple[int, int]) -> np.ndarray:
    """The page's image, unpacked by another way than the page's own."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    high, low = planes.reshape(2, *shape).astype(np.int64)
    levels = (256 * high + low).cumsum(1) % 65536
    assert levels.max() < gallery.LEVELS
    return layer["low"] + levels * (layer["high"] - layer["low"]) / (gallery.LEVELS - 1)


def made_up(
    path: Path, names: list[str], known: bool = True, left_out: Mapping[str, str] | None = None
) -> Path:
    """A run folder of images with made-up numbers: PSNR 20, 21, ... dB."""
    observer = run_folder(path, len(names), left_out)
    (path / "config.yaml").write_text(f"output: {json.dumps(NASTY)}\n")
    one = result(*names)
    method = one.methods[0]
    rows = [
        row._replace(psnr=20.0 + n, residual=(0.7, 1.1, 1.6)[n % 3])
        for n, row in enumerate(method.metrics)
    ]
    batch = one.batch if known else replace(one.batch, truth=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda results: {})  # they are slow, and not looked at
        finished = replace(one, batch=batch, methods=[replace(method, metrics=rows)])
        observer.close([finished])
    write_report(path)
    return path


def eight(prior: Path, path: Path) -> Path:
    """A run of eight phantoms with two starts each."""
    return run(prior, path, "data.count=8", "starts=2", "batch_size=16", "methods=[fbp]")


def thousand(path: Path) -> Path:
    """A run folder of a thousand images."""
    return made_up(path, [f"slice {n:04d}" for n in range(1000)])
