"""The shipped prior: what its file says, and what it can do."""

import json

import pytest
import torch

from gnclightning.alpha import Alpha
from gnclightning.baselines import total_variation, tv_weight
from gnclightning.cli import reconstruct
from gnclightning.data.ellipses import phantoms
from gnclightning.losses import denoising_score_matching
from gnclightning.metrics import psnr
from gnclightning.objectives import GraduatedObjective
from gnclightning.operators import ParallelBeam2D, add_noise
from gnclightning.operators.radon import Radon
from gnclightning.priors import NetworkEnergy, from_pretrained, shipped_priors
from gnclightning.priors.card import model_card
from gnclightning.sde import VPSDE
from gnclightning.solvers import Armijo, FixedFirstStep, log_schedule, preconditioned, solve
from gnclightning.training.callbacks import ValidationProblem
from problems import ScoreOnly


@pytest.fixture(scope="module")
def prior() -> NetworkEnergy:
    loaded, _ = from_pretrained("ellipses-128")
    assert isinstance(loaded, NetworkEnergy)
    return loaded


def test_the_file_is_small_and_describes_itself():
    file = shipped_priors()["ellipses-128"]
    assert file.stat().st_size < 20e6
    prior, metadata = from_pretrained("ellipses-128")
    assert prior.sde == VPSDE(0.1, 20.0)
    assert metadata.image_shape == (128, 128)
    assert metadata.intensity_range == (0.0, 1.0)
    for key in ("data", "images_seen", "hours", "hardware", "ema_decay"):
        assert metadata.training[key]


def test_its_model_card_is_that_of_its_file():
    """With the licence of the package; after another training `make weights` writes both."""
    card = shipped_priors()["ellipses-128"].with_name("README.md").read_text(encoding="utf-8")
    assert card == model_card(*from_pretrained("ellipses-128"), license="mit")


@pytest.mark.parametrize(("t", "most"), [(1e-3, 0.07), (1e-2, 0.06), (0.05, 0.03), (0.15, 0.012)])
def test_it_predicts_the_noise_of_phantoms_never_seen(prior, t, most):
    """1 would be a prior that knows nothing. In bfloat16 too: noise is measured in float32."""
    x = torch.from_numpy(phantoms(range(4), 0, "test"))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    times = torch.full((4,), t)
    loss = denoising_score_matching(prior, prior.sde, x, times, noise).mean()
    assert loss < most
    with torch.autocast("cpu", torch.bfloat16):
        rounded = denoising_score_matching(prior, prior.sde, x, times, noise).mean()
    assert rounded == pytest.approx(loss.item(), rel=0.1)


@pytest.mark.parametrize(("t", "most"), [(1e-3, 1.3), (1e-2, 1.1), (0.025, 1.05)])
@pytest.mark.parametrize("excess", [1.0, 4.0, 20.0, None])
def test_its_energy_grows_with_the_noise_far_beyond_its_level(prior, t, most, excess):
    """As s^2/2 per pixel for s times the noise of level t, up to the random starts (None).

    Its last training hardly saw t = 1e-3, where it takes some of the image for noise.
    """
    x = torch.from_numpy(phantoms(range(8), 0, "test"))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    times = torch.full((8,), t)
    s = 1 / prior.sde.std(times) if excess is None else torch.full((8,), excess)
    noisy = prior.sde.perturb(x, times, s[:, None, None, None] * noise)
    with torch.no_grad():
        energy = prior.energy(noisy, times)
    ratio = energy / (0.5 * s.double() ** 2 * x[0].numel())
    assert (ratio > 0.9).all()
    assert (ratio < most).all()


def test_its_score_is_the_gradient_of_its_energy(prior):
    """By finite differences in float64: float32 energies of 8000 resolve no small change."""
    double = NetworkEnergy(prior.sde, prior.network.double(), prior.form)
    x = torch.from_numpy(phantoms([0], 0, "test")).double()
    x = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    t, h = torch.tensor([1e-2], dtype=torch.float64), 1e-5
    up, down = (double.energy(x + s * h * direction, t) for s in (1, -1))
    expected = -(double.score(x, t) * direction).sum()
    prior.network.float()
    assert ((up - down) / (2 * h)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_it_reconstructs_better_than_total_variation(prior):
    """With twice the iterations of the default, and one step towards the mean in place of four."""
    truth = torch.from_numpy(phantoms(range(2), 0, "test"))
    problem = ValidationProblem(truth, steps=20)
    operator = Radon(ParallelBeam2D.for_image(128, 60))
    y, sigma = add_noise(operator(truth), relative=0.1, seeds=range(2))
    tv = total_variation(operator, y, tv_weight(sigma)).image
    assert (psnr(problem.reconstruct(prior), truth) - psnr(tv, truth) > 1).all()


def test_its_score_alone_reconstructs_as_well(prior):
    """With f integrated from the score in place of the energy, to 0.01 dB, by the same steps."""
    truth = torch.from_numpy(phantoms([0], 0, "validation"))
    operator = Radon(ParallelBeam2D.for_image(128, 60))
    y, sigma = add_noise(operator(truth), relative=0.1, seeds=[0])
    alpha = Alpha.from_noise_level(prior.sde, sigma, 0.025, operator.mean_gain())
    solver = preconditioned(
        log_schedule(1.0, 0.025, 6), search=Armijo(), first_step=FixedFirstStep()
    )
    start = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for each in (prior, ScoreOnly(prior)):
        objective = GraduatedObjective(operator, y, each, alpha, 0.025, sigma_y=sigma)
        solution = solve(solver, objective, start)
        assert solution.certificate.gradient_like.all()
        found.append(psnr(objective.posterior_mean(solution.state.point)[0], truth).item())
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert 0 < solution.certificate.integration_error < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "most", "floor"), [("preconditioned", 10, 1.7), ("gnc_flow", 300, 1.5)]
)
def test_it_keeps_its_promises(solver, most, floor, tmp_path):
    """Four of the 100 phantoms of docs/results.md, through the command line."""
    output = tmp_path / "run"
    data = ["data.name=ellipses", "data.count=4", "methods=[tv]"]
    quiet = ["logger.mode=disabled", "progress=false", f"output={output}"]
    assert reconstruct([*data, *quiet, f"solver.name={solver}"]) == 0
    methods = json.loads((output / "summary.json").read_text())["methods"]
    ours, tv = methods[solver], methods["tv"]
    assert ours["iterations"]["mean"] <= most
    assert ours["psnr"]["mean"] > max(33.5, tv["psnr"]["mean"] + floor)
    assert ours["ssim"]["mean"] > 0.93
    assert ours["certificate"]["gradient_like"] == 4
