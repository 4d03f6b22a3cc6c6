"""deepinv's problems here and ours there, with stand-ins for its base classes or with itself.

`make test-deepinv` runs those with deepinv itself, which needs torchvision.
"""

import math
import sys
import warnings

import pytest
import torch

import deepinv_stand_in
from gnclightning.data.ellipses import phantoms
from gnclightning.deepinv import PhysicsOperator, as_denoiser, as_physics, as_prior
from gnclightning.errors import UserError
from gnclightning.operators import (
    Matrix,
    ParallelBeam2D,
    Radon,
    Scaled,
    add_noise,
    dot_test,
    fbp,
)
from gnclightning.priors import GaussianMixture, NetworkEnergy, from_pretrained
from gnclightning.sde import VPSDE
from tiny_priors import tiny_network

F64 = torch.float64
SHAPE = (1, 6, 5)
MEAN, VARIANCE = 0.4, 0.3


@pytest.fixture(params=["stand-in", pytest.param("itself", marks=pytest.mark.deepinv)])
def physics(request, monkeypatch):
    """The module `deepinv.physics`."""
    if request.param == "itself":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip("deepinv.physics", reason="make test-deepinv has deepinv")
    for name, module in deepinv_stand_in.MODULES.items():
        monkeypatch.setitem(sys.modules, name, module)
    return deepinv_stand_in.PHYSICS


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_matrix(physics, factor: float = 1.0):
    """A physics of 7 measurements, whose adjoint is `factor` times the transpose; its matrix."""
    matrix = random(7, math.prod(SHAPE), seed=1)
    return physics.LinearPhysics(
        A=lambda x, **_: x.flatten(1) @ matrix.T,
        A_adjoint=lambda y, **_: factor * (y @ matrix).reshape(-1, *SHAPE),
        img_size=SHAPE,
    ), matrix


@pytest.mark.parametrize("adjoint", ["own", "autograd"])
def test_physics_as_operator(physics, adjoint):
    given, matrix = by_matrix(physics)
    operator, expected = PhysicsOperator(given, SHAPE, adjoint), Matrix(matrix)
    assert (operator.domain_shape, operator.range_shape) == (SHAPE, (7,))
    x, y = random(4, 2, *SHAPE), random(4, 2, 7)
    torch.testing.assert_close(operator(x), expected(x.flatten(2)))
    torch.testing.assert_close(operator.adjoint(y).flatten(2), expected.adjoint(y))
    with torch.inference_mode():
        torch.testing.assert_close(operator.adjoint(y).flatten(2), expected.adjoint(y))
    followed = x.clone().requires_grad_()
    operator(followed).square().sum().backward()
    torch.testing.assert_close(followed.grad, 2 * operator.adjoint(operator(x)))


def test_adjoints_that_are_none_are_refused(physics):
    given, matrix = by_matrix(physics, factor=1.001)
    with pytest.raises(UserError, match=r"transpose of LinearPhysics\.A.*adjoint='autograd'"):
        PhysicsOperator(given, SHAPE)
    operator = PhysicsOperator(given, SHAPE, "autograd")
    y = random(3, 7)
    torch.testing.assert_close(operator.adjoint(y), (y @ matrix).reshape(3, *SHAPE))


def test_measurements_of_another_kind_are_refused(physics):
    for made, kind in [(lambda x: [x, x], "list"), (lambda x: x + 0j, r"complex64 \(1, 1, 6, 5\)")]:
        given = physics.LinearPhysics(A=lambda x, made=made, **_: made(x), A_adjoint=lambda y: y)
        with pytest.raises(UserError, match=f"one float32 tensor .*got .*{kind}"):
            PhysicsOperator(given, SHAPE)


def test_operator_as_physics_and_back(physics):
    radon = Radon(ParallelBeam2D.for_image((6, 5), 7))
    given = as_physics(radon)
    assert tuple(given.img_size) == SHAPE
    x, y = random(3, *SHAPE), random(3, 1, *radon.range_shape)
    torch.testing.assert_close(given.A(x), radon(x))
    torch.testing.assert_close(given.A_adjoint(y), radon.adjoint(y))
    back = PhysicsOperator(given, SHAPE)
    assert dot_test(back) < 1e-7
    torch.testing.assert_close(back(x), radon(x))


@pytest.fixture
def gaussian() -> GaussianMixture:
    n = math.prod(SHAPE)
    return GaussianMixture(
        VPSDE(), torch.full((1, n), MEAN, dtype=F64), VARIANCE * torch.eye(n, dtype=F64)[None]
    )


LEVELS = [0.7, torch.tensor(0.7), torch.tensor([0.7, 0.2]), torch.tensor([0.7, 0.2])[:, None, None]]


@pytest.mark.parametrize("sigma", LEVELS)
def test_denoiser_is_the_posterior_mean(physics, gaussian, sigma):
    x = random(2, *SHAPE).double()
    noise = torch.as_tensor(sigma).double().flatten().expand(2)[:, None, None, None] ** 2
    expected = (VARIANCE * x + noise * MEAN) / (VARIANCE + noise)
    denoiser = as_denoiser(gaussian, gaussian.sde)
    torch.testing.assert_close(denoiser(x, sigma), expected, rtol=1e-6, atol=1e-7)


def test_without_noise_the_denoiser_gives_the_image(physics, gaussian):
    network = NetworkEnergy(VPSDE(), tiny_network(dtype=F64))
    for prior, shape in ((gaussian, SHAPE), (network, (1, 8, 8))):
        denoiser, x = as_denoiser(prior, prior.sde), random(2, *shape).double().requires_grad_()
        found = denoiser(x, 0)
        assert torch.equal(found, x)
        (slope,) = torch.autograd.grad(found.sum(), x)
        assert torch.equal(slope, torch.ones_like(x))
        mixed = denoiser(x, torch.tensor([0.0, 0.3], dtype=F64))
        assert torch.equal(mixed[0], x[0])
        torch.testing.assert_close(mixed[1:], denoiser(x[1:], 0.3))


@pytest.mark.parametrize("sigma", LEVELS)
def test_prior_is_minus_the_log_density_of_noisy_images(physics, gaussian, sigma):
    x, other = random(2, *SHAPE).double(), random(2, *SHAPE, seed=1).double()
    noise = torch.as_tensor(sigma).double().flatten().expand(2) ** 2
    total = VARIANCE + noise
    prior = as_prior(gaussian, gaussian.sde)
    assert prior.explicit_prior

    def energy(z: torch.Tensor) -> torch.Tensor:
        return (z - MEAN).square().flatten(1).sum(1) / (2 * total)

    found = prior(x, sigma) - prior(other, sigma)
    torch.testing.assert_close(found, energy(x) - energy(other), rtol=1e-6, atol=1e-6)
    gradient = (x - MEAN) / total[:, None, None, None]
    torch.testing.assert_close(prior.grad(x, sigma), gradient, rtol=1e-6, atol=1e-6)


def test_networks_keep_their_type_and_are_followed(physics):
    """Deepinv's algorithms compute in float64, and DPS differentiates the denoiser."""
    prior = NetworkEnergy(VPSDE(), tiny_network(dtype=torch.float32))
    denoiser = as_denoiser(prior, prior.sde)
    x = random(2, 1, 8, 8).double()
    assert denoiser(x, 0.3).dtype == F64
    assert not denoiser(x, 0.3).requires_grad
    assert len(list(denoiser.parameters())) == len(list(prior.parameters()))
    twin = NetworkEnergy(VPSDE(), tiny_network(dtype=F64))
    denoiser, explicit = (make(twin, twin.sde) for make in (as_denoiser, as_prior))
    direction, step = random(2, 1, 8, 8, seed=1).double(), 1e-5
    followed = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((denoiser(followed, 0.3) * direction).sum(), followed)
    ends = [denoiser(x + sign * step * direction, 0.3) for sign in (1, -1)]
    expected = ((ends[0] - ends[1]) * direction).sum() / (2 * step)
    torch.testing.assert_close((slope * direction).sum(), expected, rtol=1e-5, atol=1e-6)
    ends = [explicit(x + sign * step * direction, 0.3).sum() for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    found = (explicit.grad(x, 0.3) * direction).sum()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_without_deepinv_it_is_said_how_to_get_it(monkeypatch, gaussian):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    for make in (
        lambda: as_physics(Matrix(torch.eye(2))),
        lambda: as_denoiser(gaussian, gaussian.sde),
        lambda: as_prior(gaussian, gaussian.sde),
    ):
        with pytest.raises(UserError, match=r"pip install 'gnclightning\[deepinv\]'"):
            make()


@pytest.mark.deepinv
@pytest.mark.filterwarnings("ignore")
class TestDeepinvItself:
    def test_only_matched_tomography_is_accepted(self):
        physics = pytest.importorskip("deepinv.physics")
        options = {"angles": 20, "img_width": 32, "normalize": False}
        matched = physics.Tomography(**options, adjoint_via_backprop=True)
        assert dot_test(PhysicsOperator(matched, (1, 32, 32))) < 1e-7
        unmatched = physics.Tomography(**options, adjoint_via_backprop=False)
        # Its A brings a derivative of its own, the same one.
        for adjoint, remedy in (("own", "autograd"), ("autograd", "derivative")):
            with pytest.raises(UserError, match=rf"transpose of Tomography\.A.*{remedy}"):
                PhysicsOperator(unmatched, (1, 32, 32), adjoint)

    def test_our_operators_pass_its_own_test(self):
        pytest.importorskip("deepinv")
        given = as_physics(Radon(ParallelBeam2D.for_image(16, 9)))
        assert float(given.adjointness_test(random(2, 1, 16, 16))) < 1e-5

    def test_its_algorithms_run_on_the_shipped_weights(self):
        sampling = pytest.importorskip("deepinv.sampling")
        optim = pytest.importorskip("deepinv.optim")
        prior, _ = from_pretrained("ellipses-128")
        geometry = ParallelBeam2D.for_image(128, 60)
        radon = Radon(geometry)
        truth = torch.from_numpy(phantoms([0], 0, "test"))
        norm = radon.norm()  # its algorithms expect problems of norm 1
        y, sigma = add_noise(radon(truth) / norm, relative=0.1, seeds=[0])
        given = as_physics(Scaled(radon, 1 / norm))
        denoiser = as_denoiser(prior, prior.sde)

        def psnr(x: torch.Tensor) -> float:
            return float(-10 * (x.clamp(0, 1) - truth).square().mean().log10())

        diffpir = sampling.DiffPIR(denoiser, optim.L2(), sigma=float(sigma), max_iter=15)
        assert psnr(diffpir(y, given)) > psnr(fbp(norm * y, geometry)) + 3
        dps = sampling.DPS(denoiser, num_steps=15, rng=torch.Generator().manual_seed(0))
        found = dps(y, given)
        assert (radon(found.float()) / norm - y).norm() < 0.5 * y.norm()
