"""The Python examples of the documentation, run as they stand."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deepinv_stand_in
from gnclightning.data.ellipses import phantoms
from gnclightning.deepinv import PhysicsOperator, as_physics
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, Radon, add_noise
from gnclightning.solvers import solve

ROOT = Path(__file__).parents[1]
WHITE, PIXEL = 0.02, 0.7


def example(name: str, section: str = "") -> str:
    """The first Python example of a page, or of one of its sections."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = text[text.index(section) :]
    return text.partition("```python\n")[2].partition("```")[0]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_reconstruct_a_scan(page, tmp_path, monkeypatch, capsys):
    """With the shipped prior, from a phantom's sinogram in the example's units."""
    truth = torch.from_numpy(phantoms(range(1), 0, "test", 128))
    operator = Radon(ParallelBeam2D.for_image(128, 60))
    y, _ = add_noise(operator(truth), relative=0.1, absolute=None, seeds=[0])
    np.save(tmp_path / "scan.npy", WHITE * PIXEL * y[0, 0].numpy())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example(page), names)
    out = capsys.readouterr().out
    assert out.startswith("(128, 128) 1 of 1 runs gradient-like")
    image = names["found"].image
    psnr = -10 * np.log10(np.square(image - truth[0, 0].numpy()).mean())
    assert psnr > 34  # filtered back-projection has 24


@pytest.mark.slow
def test_the_example_of_any_operator_reconstructs_and_so_does_deepinvs(monkeypatch):
    """A blurred picture with holes; the same problem as deepinv's, by a stand-in."""
    for name, module in deepinv_stand_in.MODULES.items():
        monkeypatch.setitem(sys.modules, name, module)
    code = example("docs/python.md", "## Any operator")
    ours: dict[str, Any] = {}
    exec(code, ours)
    truth, image = ours["truth"], ours["image"]
    filled = (ours["y"] - truth)[..., ours["known"]].square().mean()  # blurred, where it is known
    assert (image - truth).square().mean() < filled / 4
    physics = as_physics(ours["operator"])
    objective = GraduatedObjective(
        PhysicsOperator(physics, (1, 128, 128)),
        *(ours[name] for name in ("y", "prior", "alpha", "t_min")),
        sigma_y=ours["sigma"],
    )
    solution = solve(ours["solver"], objective, ours["start"])
    torch.testing.assert_close(solution.x, ours["solution"].x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_name_what_there_is(page):
    code = compile(example(page), page, "exec")
    assert {"gnclightning", "reconstruct", "ParallelBeam2D", "for_image"} <= set(code.co_names)
