"""Model cards: what they say is what the weights' description says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from gnclightning.priors import (
    Form,
    NetworkEnergy,
    NetworkPrior,
    NetworkScore,
    PriorMetadata,
    from_pretrained,
    save_pretrained,
)
from gnclightning.sde import VESDE, VPSDE
from tiny_priors import tiny_network
from trainings import train

EARLIER = {
    "data": "folder",
    "steps": 11,
    "images_seen": 88,
    "hours": 0.25,
    "initialised_from": None,
}
METADATA = PriorMetadata(
    image_shape=(16, 24),
    intensity_unit="fraction of the range from 0 to 80 (HU)",
    pixel_size=0.7,
    length_unit="mm",
    training={
        "data": "folder",
        "parametrisation": "energy",
        "initialised_from": EARLIER,
        "teacher": {**EARLIER, "steps": 7},
        "range": [0.0, 80.0],
        "times": {"name": "power", "t_min": 0.001},
        "steps": 5,
        "hardware": "1 x GPU | 80 GB",
        "validation": {"after_steps": 4, "psnr": 31.4159, "noise": 0.1},
    },
)


def card(folder: Path, kind: type[NetworkPrior] = NetworkEnergy, **arguments) -> str:
    prior = kind(arguments.pop("sde", VPSDE()), tiny_network(dtype=torch.float32), Form.SCALED)
    save_pretrained(prior, arguments.pop("metadata", METADATA), folder, **arguments)
    return (folder / "README.md").read_text(encoding="utf-8")


def front_matter(text: str) -> dict:
    _, front, _ = text.split("---\n", 2)
    return yaml.safe_load(front)


def rows(text: str) -> dict[str, list[str]]:
    """The tables' rows by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_front_matter_is_that_of_hugging_face(tmp_path):
    assert front_matter(card(tmp_path, license="cc-by-4.0")) == {
        "license": "cc-by-4.0",
        "library_name": "gnclightning",
        "pipeline_tag": "image-to-image",
        "tags": [
            "computed-tomography",
            "inverse-problems",
            "diffusion",
            "energy-based-model",
        ],
    }
    score = front_matter(card(tmp_path, NetworkScore))
    assert score["tags"][-1] == "score-based-model"
    assert score["license"] == "unknown"


def test_its_numbers_are_those_of_the_description(tmp_path):
    found = rows(card(tmp_path, sde=VESDE(0.02, 30.0)))
    prior, metadata = from_pretrained(tmp_path)
    assert found["image"] == ["16 x 24 pixels of 0.7 mm"]
    assert found["values"] == [f"0 to 1, {metadata.intensity_unit}"]
    assert found["SDE"] == ["VESDE: name ve, sigma_min 0.02, sigma_max 30.0"]
    assert found["energy"][0].startswith("`scaled`: 1/2 &#124;h(x, t)&#124;^2 of nu_t^(1/2)")
    assert int(found["parameters"][0]) == sum(p.numel() for p in prior.parameters())
    assert "multipliers [1, 2], blocks [1, 1]" in found["network"][0]
    # A column for each training, in the order of their times.
    assert found["steps"] == ["7", "11", "5"]
    assert found["images seen"] == ["88", "88", ""]
    assert found["hours"] == ["0.25", "0.25", ""]
    assert found["range"] == ["", "", "[0.0, 80.0]"]
    assert found["times"] == ["", "", "name power, t_min 0.001"]
    assert found["hardware"][-1] == "1 x GPU &#124; 80 GB"
    assert found["psnr"] == ["31.4159"]
    assert found["after steps"] == ["4"]


def test_without_metrics_it_says_so(tmp_path):
    text = card(tmp_path, metadata=replace(METADATA, training={"data": "folder"}))
    assert "None was measured" in text
    assert "psnr" not in text


@pytest.mark.parametrize("kind", [NetworkEnergy, NetworkScore])
def test_its_lines_run(kind, tmp_path):
    text = card(tmp_path, kind)
    (lines,) = (part.split("```")[0] for part in text.split("```python\n")[1:])
    lines = "\n".join(line for line in lines.splitlines() if "reconstruct(" not in line)
    names = {"x": torch.zeros(2, 1, 16, 24), "t": torch.tensor([0.3, 0.5])}
    exec(lines.replace("FOLDER", str(tmp_path)), names)
    assert names["score"].shape == (2, 1, 16, 24)
    assert names["metadata"] == METADATA


def test_a_readme_about_something_else_stays(tmp_path):
    first = card(tmp_path)
    assert card(tmp_path, license="mit") != first
    for text in (b"# My project\n", b"# M\xfcnchen\n"):
        (tmp_path / "README.md").write_bytes(text)
        save_pretrained(*from_pretrained(tmp_path), tmp_path)
        assert (tmp_path / "README.md").read_bytes() == text


def test_each_training_writes_one(tmp_path):
    train(tmp_path, 4)
    found = rows((tmp_path / "README.md").read_text(encoding="utf-8"))
    training = from_pretrained(tmp_path)[1].training
    for name in ("steps", "images_seen", "ema_decay", "precision", "hardware", "hours"):
        assert found[name.replace("_", " ")] == [str(training[name])]
    validation = training["validation"]
    assert validation["after_steps"] == 4
    assert (validation["images"], validation["iterations"]) == (2, 2)
    assert found["psnr"] == [str(validation["psnr"])]
    assert found["ssim"] == [str(validation["ssim"])]
