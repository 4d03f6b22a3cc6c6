"""On a CUDA device the same commands give what they give on the CPU. Run with `-m gpu`."""

import pytest
import torch

import gnclightning
from gnclightning import cli
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import NetworkEnergy
from gnclightning.sde import VPSDE
from run_folders import arrays, run, tiny_network, tiny_prior
from trainings import TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_and_its_adjoint(dtype):
    operator = Radon(ParallelBeam2D.for_image(33, 20)).to(dtype)
    x = torch.randn(2, 1, 33, 33, dtype=dtype)
    y = operator(x)
    back = operator.adjoint(y)
    on_gpu = operator.cuda()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert relative(on_gpu(x.cuda()).cpu(), y) < tolerance
    assert relative(on_gpu.adjoint(y.cuda()).cpu(), back) < tolerance


def test_energy_and_score():
    prior = NetworkEnergy(VPSDE(), tiny_network()).double()
    x, t = torch.rand(2, 1, 16, 16).double(), torch.tensor([0.01, 0.6]).double()
    energy, score = prior.energy_and_score(x, t)
    there, score_there = prior.cuda().energy_and_score(x.cuda(), t.cuda())
    assert relative(there.cpu(), energy) < 1e-9
    assert relative(score_there.cpu(), score) < 1e-9


def test_a_reconstruction(tmp_path):
    prior = tiny_prior(tmp_path / "tiny.safetensors")
    cpu, gpu = (run(prior, tmp_path / d, f"device={d}") for d in ("cpu", "cuda"))
    a, b = arrays(cpu), arrays(gpu)
    assert a.keys() == b.keys()
    for name, values in a.items():
        assert relative(torch.from_numpy(b[name]), torch.from_numpy(values)) < 1e-3


def test_tensors_from_python_stay_on_their_device(tmp_path):
    prior = tiny_prior(tmp_path / "tiny.safetensors")
    folder = run(prior, tmp_path / "run", "methods=[]", "solver.steps=1")
    y = torch.from_numpy(arrays(folder)["sinogram"])
    geometry = ParallelBeam2D.for_image(32, 20)
    more = {"prior": prior, "noise": 0.1, "starts": 2, "settings": ["solver.steps=3"]}
    there = gnclightning.reconstruct(y.cuda(), geometry, **more)
    here = gnclightning.reconstruct(y, geometry, device="cpu", **more)
    assert there.image.device.type == there.mean.device.type == "cuda"
    assert relative(there.image.cpu(), here.image) < 1e-3


@pytest.mark.parametrize("kind", ["score", "energy"])
def test_a_training_in_mixed_precision(kind, tmp_path):
    settings = [s for s in TINY if "accelerator" not in s]
    mixed = ["trainer.accelerator=gpu", "trainer.devices=1", "trainer.precision=bf16-mixed"]
    steps = [f"prior.parametrisation={kind}", "trainer.max_steps=3", f"output={tmp_path}"]
    assert cli.train([*settings, *mixed, *steps]) == 0
    assert (tmp_path / "prior.safetensors").is_file()
