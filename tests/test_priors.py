"""Scores, energies and their signs; closed forms; storage."""

import pytest
import torch

from gnclightning.errors import UserError
from gnclightning.networks import UNet
from gnclightning.priors import (
    Form,
    GaussianMixture,
    NetworkEnergy,
    NetworkScore,
    PriorMetadata,
    ScaledEnergy,
)
from gnclightning.priors.network import coefficients
from gnclightning.sde import VESDE, VPSDE, ExponentialVESDE
from tiny_priors import TINY, mixture, tiny_network

METADATA = PriorMetadata(image_shape=(16, 16))


def energy_gradient(prior, x, t):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.energy(x, t).sum(), x)
    return gradient


@pytest.mark.parametrize("sde", [VPSDE(), ExponentialVESDE()])
def test_mixture_energy_is_minus_log_of_the_density(sde):
    prior = mixture(sde)
    x = torch.randn(6, 3, dtype=torch.float64)
    t = torch.linspace(0.01, 1, 6, dtype=torch.float64)
    gamma, nu = sde.mean_scale(t), sde.std(t)
    u = prior.eigenvectors
    covariances = u @ torch.diag_embed(prior.eigenvalues) @ u.mT
    for i in range(6):
        components = torch.distributions.MultivariateNormal(
            gamma[i] * prior.means,
            gamma[i] ** 2 * covariances + nu[i] ** 2 * torch.eye(3, dtype=torch.float64),
        )
        density = (prior.log_weights.exp() * components.log_prob(x[i]).exp()).sum()
        assert prior.energy(x[i : i + 1], t[i : i + 1]).item() == pytest.approx(
            -density.log().item(), rel=1e-10
        )


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(), ExponentialVESDE()])
def test_mixture_score_is_minus_the_energy_gradient(sde):
    prior = mixture(sde)
    x = 2 * torch.randn(8, 3, dtype=torch.float64)
    t = torch.rand(8, dtype=torch.float64) * 0.99 + 0.01
    energy, score = prior.energy_and_score(x, t)
    torch.testing.assert_close(score, -energy_gradient(prior, x, t), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(energy, prior.energy(x, t))
    torch.testing.assert_close(prior.score(x, t), score)


def test_isotropic_mixtures_are_no_special_case():
    """The same numbers as with covariances that are equal but for rounding."""
    sde, means = VPSDE(), 2 * torch.randn(4, 3, dtype=torch.float64)
    variances = torch.rand(4, dtype=torch.float64)[:, None, None] + 0.1
    isotropic = GaussianMixture(sde, means, variances * torch.eye(3).double())
    skewed = torch.diag(torch.tensor([1.0, 1 + 1e-12, 1 - 1e-12], dtype=torch.float64))
    general = GaussianMixture(sde, means, variances * skewed)
    assert isotropic.eigenvectors is None
    assert general.eigenvectors is not None
    x = torch.randn(6, 3, dtype=torch.float64)
    for t in (torch.linspace(0.01, 1, 6).double(), torch.full((6,), 0.2).double()):
        ours, theirs = (prior.energy_and_score(x, t) for prior in (isotropic, general))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_single_gaussian_has_the_exact_quadratic_energy():
    sde = VPSDE()
    prior = GaussianMixture(
        sde, torch.zeros(1, 2, dtype=torch.float64), 4 * torch.eye(2, dtype=torch.float64)[None]
    )
    x, t = torch.tensor([[3.0, -1.0]]).double(), torch.tensor([0.5]).double()
    variance = 4 * sde.mean_scale(t) ** 2 + sde.std(t) ** 2
    torch.testing.assert_close(prior.score(x, t), -x / variance)
    gap = prior.energy(x, t) - prior.energy(torch.zeros_like(x), t)
    torch.testing.assert_close(gap, 10 / (2 * variance))


def test_mixture_rejects_inconsistent_shapes():
    with pytest.raises(UserError, match="covariances must have shape"):
        GaussianMixture(VPSDE(), torch.zeros(2, 3), torch.eye(3)[None])
    with pytest.raises(UserError, match="semi-definite"):
        GaussianMixture(VPSDE(), torch.zeros(1, 2), -torch.eye(2)[None])


def test_scaled_prior_obeys_the_chain_rule():
    sde = VPSDE()
    prior = ScaledEnergy(mixture(sde), sde)
    x = torch.randn(5, 3, dtype=torch.float64)
    t = torch.linspace(0.05, 1, 5, dtype=torch.float64)
    energy, score = prior.energy_and_score(x, t)
    torch.testing.assert_close(score, -energy_gradient(prior, x, t), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(prior.score(x, t), score)
    torch.testing.assert_close(energy, mixture(sde).energy(sde.mean_scale(t)[:, None] * x, t))


@pytest.mark.parametrize("form", list(Form))
def test_network_energy_and_score_agree_by_finite_differences(form):
    prior = NetworkEnergy(VPSDE(), tiny_network(), form)
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    t = torch.tensor([0.02, 0.6], dtype=torch.float64)
    direction = torch.randn_like(x)
    h = 1e-6
    slope = (prior.energy(x + h * direction, t) - prior.energy(x - h * direction, t)) / (2 * h)
    expected = -(prior.score(x, t) * direction).flatten(1).sum(1)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", list(Form))
def test_the_network_is_told_the_noise_that_it_sees(form):
    """Its input holds as much noise as its third argument says, whatever the preconditioning."""
    seen = []

    class Spy(UNet):
        def forward(self, x, noise_to_signal, noise_std):
            seen.append((x, noise_std))
            return super().forward(x, noise_to_signal, noise_std)

    sde, t = VESDE(0.01, 5.0), torch.tensor([0.1, 0.8], dtype=torch.float64)
    prior = NetworkScore(sde, Spy(TINY).double(), form)
    noise = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    prior.score(sde.perturb(torch.zeros_like(noise), t, noise), t)
    ((x, std),) = seen
    torch.testing.assert_close(x, std[:, None, None, None] * noise)


@pytest.mark.parametrize("form", list(Form))
def test_energy_is_half_the_squared_noise_prediction(form):
    network = tiny_network()
    energy = NetworkEnergy(VPSDE(), network, form)
    x, t = torch.rand(3, 1, 8, 8, dtype=torch.float64), torch.full((3,), 0.1).double()
    score = NetworkScore(VPSDE(), network, form).score(x, t)
    nu = VPSDE().std(t)
    expected = 0.5 * nu**2 * score.flatten(1).square().sum(1)
    torch.testing.assert_close(energy.energy(x, t), expected)


def test_the_scaled_energy_is_the_square_of_what_its_network_gives_over_twice_the_noise():
    """As in the published experiments: 1/2 |H|^2 / nu_t with H what the paper's form calls h."""
    network, t = tiny_network(), torch.tensor([0.1, 0.6]).double()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    given = NetworkEnergy(VPSDE(), network, Form.PAPER).noise_prediction(x, t)
    scaled = NetworkEnergy(VPSDE(), network, Form.SCALED)
    expected = 0.5 * given.square().sum((1, 2, 3)) / VPSDE().std(t)
    torch.testing.assert_close(scaled.energy(x, t), expected)


def test_energy_and_score_take_one_forward_and_one_backward_pass():
    prior = NetworkEnergy(VPSDE(), tiny_network()).requires_grad_(False)
    passes = []
    prior.network.register_forward_hook(lambda *_: passes.append("forward"))
    prior.network.leave.register_full_backward_hook(lambda *_: passes.append("backward"))
    prior.energy_and_score(torch.rand(2, 1, 8, 8).double(), torch.full((2,), 0.1).double())
    assert passes == ["forward", "backward"]


@pytest.mark.parametrize("of_scaled_images", [False, True])
def test_curvature_is_that_of_a_noise_prediction(of_scaled_images):
    """H = x/nu, as for gamma -> 0: the energy's second derivative must be what is stated."""
    sde = VPSDE()

    class Linear(NetworkEnergy):
        def noise_prediction(self, x, t):
            return x / sde.std(t)[:, None, None, None]

    prior = Linear(sde, tiny_network())
    if of_scaled_images:
        prior = ScaledEnergy(prior, sde)
    t = torch.tensor([0.01, 0.7], dtype=torch.float64)
    d = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    second = 2 * (prior.energy(d, t) - prior.energy(0 * d, t))
    torch.testing.assert_close(second, prior.curvature(t) * d.square().sum((1, 2, 3)))


def test_gradient_step_form_is_a_denoiser_residual():
    """With a silent network D(x) = c_skip x / gamma: the Wiener filter of white data."""
    network = tiny_network()
    for parameter in network.leave.parameters():
        torch.nn.init.zeros_(parameter)
    sde = VESDE(0.01, 5.0)
    prior = NetworkEnergy(sde, network, Form.GRADIENT_STEP)
    x, t = torch.rand(1, 1, 8, 8, dtype=torch.float64), torch.tensor([0.4]).double()
    nu2 = sde.std(t).item() ** 2
    denoised = 0.25**2 / (0.25**2 + nu2) * x
    expected = 0.5 * ((x - denoised) ** 2).sum().item() / nu2
    assert prior.energy(x, t).item() == pytest.approx(expected, rel=1e-12)
    # What the network gives is added to the denoised image, in units of c_out.
    torch.nn.init.constant_(network.leave.bias, 0.7)
    c_out = 0.25 * nu2**0.5 / (0.25**2 + nu2) ** 0.5
    shift = -c_out * 0.7 / nu2**0.5
    silent = (x - denoised) / nu2**0.5
    torch.testing.assert_close(prior.noise_prediction(x, t), silent + shift)


def test_at_t_one_the_paper_energy_is_convex():
    """gamma_1 is 0.0066: the noise prediction is nearly x itself, so the curvature is near 1."""
    torch.manual_seed(0)
    prior = NetworkEnergy(VPSDE(), UNet(TINY).double())
    x, d = torch.randn(2, 1, 1, 16, 16, dtype=torch.float64)
    t, h = torch.ones(1, dtype=torch.float64), 1e-3
    curvature = (
        prior.energy(x + h * d, t) - 2 * prior.energy(x, t) + prior.energy(x - h * d, t)
    ) / h**2
    assert curvature.item() == pytest.approx(d.square().sum().item(), rel=0.05)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_energy_score_works_where_gradients_are_off(context):
    prior = NetworkEnergy(VPSDE(), tiny_network())
    x, t = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.tensor([0.1, 0.5]).double()
    expected = prior.score(x, t)
    with context():
        energy, score = prior.energy_and_score(x.clone(), t.clone())
    assert not score.requires_grad
    assert not energy.requires_grad
    torch.testing.assert_close(score, expected.detach())


@pytest.mark.parametrize("kind", [NetworkScore, NetworkEnergy])
def test_batch_equals_one_by_one(kind):
    prior = kind(VPSDE(), tiny_network()).requires_grad_(False)
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    t = torch.tensor([0.001, 0.1, 0.9], dtype=torch.float64)
    together = prior.score(x, t)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], prior.score(x[i : i + 1], t[i : i + 1]))


def test_odd_sizes_are_refused_with_the_stride():
    with pytest.raises(UserError, match=r"multiples of 4, got \(16, 18\)"):
        UNet(TINY)(torch.zeros(1, 1, 16, 18), torch.ones(1), torch.ones(1))


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(0.01, 50.0)])
def test_edm_is_gradient_step_at_a_quarter_and_paper_at_one(sde):
    """Karras et al. 2022, Table 1: c_skip, c_out and c_in for noise sigma and data deviation s."""
    t = torch.tensor([1e-3, 0.1, 0.9], dtype=torch.float64)
    gamma, nu = sde.mean_scale(t), sde.std(t)
    sigma = nu / gamma

    def edm(s):
        total = (sigma**2 + s**2).sqrt()
        skip, out, into = s**2 / total**2, sigma * s / total, 1 / total
        # D(x / gamma) = skip x / gamma + out F(into x / gamma), and h = (x - gamma D) / nu.
        return (1 - skip) / nu, -out * gamma / nu, into / gamma

    def found(form):
        c = coefficients(sde, form, t)
        return c.skip, c.output, c.input

    torch.testing.assert_close(found(Form.GRADIENT_STEP), edm(0.25))
    skip, output, into = found(Form.PAPER)
    torch.testing.assert_close((skip, -output, into), edm(1.0))
