"""The parts of the U-Net."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gnclightning.errors import UserError
from gnclightning.losses import denoising_score_matching
from gnclightning.networks import UNet, UNetConfig
from gnclightning.networks.layers import Attention, Conv2d, NoiseEmbedding, RMSNorm
from gnclightning.networks.unet import local_differences
from gnclightning.priors import NetworkEnergy, PriorMetadata, from_pretrained, save_pretrained
from gnclightning.sde import VPSDE

TINY = UNetConfig(channels=8, multipliers=(1, 2), blocks=(1, 1), embedding=16)


VARIANTS = {
    "default": TINY,
    "rms": replace(TINY, normalisation="rms"),
    "attention": replace(TINY, attention=True),
    "both": replace(TINY, normalisation="rms", attention=True),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def network(config: UNetConfig = TINY) -> UNet:
    torch.manual_seed(0)
    net = UNet(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (1, 1), (2, 2)])
def test_convolution_with_a_matrix_is_a_convolution(size, stride):
    conv = Conv2d(3, 5, size, stride).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    y = conv(x)
    patches = F.unfold(x, size, padding=size // 2 if stride == 1 else 0, stride=stride)
    # unfold orders (channel, row, column); the matrix (row, column, channel).
    patches = patches.view(2, 3, size * size, -1).transpose(1, 2).reshape(2, -1, y[0, 0].numel())
    expected = conv.weight @ patches + conv.bias[:, None]
    torch.testing.assert_close(y.flatten(2), expected)


def test_output_moves_with_the_image():
    """Away from the borders a shift by the stride shifts the output, up to GroupNorm's means."""
    net = network().double().requires_grad_(False)
    x = torch.zeros(1, 1, 48, 48, dtype=torch.float64)
    x[..., 20:26, 18:23] = 1.0
    level = torch.tensor([0.3], dtype=torch.float64)
    moved = net(x.roll(TINY.stride, dims=-1), level, level)
    expected = net(x, level, level).roll(TINY.stride, dims=-1)
    centre = (..., slice(16, 32), slice(16, 32))
    torch.testing.assert_close(moved[centre], expected[centre], rtol=1e-2, atol=1e-2)


def test_every_noise_level_has_its_own_embedding():
    embedding = NoiseEmbedding(16).double()
    levels = torch.logspace(-3, math.log10(150), 60, dtype=torch.float64)
    features = embedding.layers[0](
        torch.cat(
            [f(levels.log()[:, None] * embedding.frequencies) for f in (torch.sin, torch.cos)], 1
        )
    )
    distances = torch.cdist(features, features) + 1e9 * torch.eye(60, dtype=torch.float64)
    assert distances.min() > 1e-2
    assert embedding(levels).shape == (60, 16)


@every_variant
def test_second_derivatives_exist_and_match_finite_differences(config):
    net = network(config).double().requires_grad_(False)
    level = torch.tensor([0.1], dtype=torch.float64)
    v, w = torch.randn(2, 1, 1, 8, 8, dtype=torch.float64)

    def slope(x: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        x = x if x.requires_grad else x.requires_grad_()
        energy = net(x, level, level).square().sum()
        (g,) = torch.autograd.grad(energy, x, create_graph=create_graph)
        return (g * v).sum()

    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (hessian_v,) = torch.autograd.grad(slope(x, create_graph=True), x)
    h = 1e-5
    plus, minus = (slope((x + s * h * w).detach()) for s in (1, -1))
    assert (hessian_v * w).sum().item() == pytest.approx((plus - minus).item() / (2 * h), rel=1e-5)


def test_local_differences_are_unit_noise_where_the_image_is_flat():
    """Whatever the noise level; their variances are 2, 2 and 8/9 of the noise's."""
    noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0)).double()
    std = torch.tensor([1e-3, 0.5], dtype=torch.float64)
    found = local_differences(0.7 + std[:, None, None, None] * noise.expand(2, 1, 200, 200), std)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-9)
    inner = found[0, :, 1:-1, 1:-1]
    right = noise[0, 0, 1:-1, 2:] - noise[0, 0, 1:-1, 1:-1]
    torch.testing.assert_close(inner[0], right, rtol=0, atol=1e-9)
    variance = inner.var((1, 2))
    torch.testing.assert_close(variance, torch.tensor([2, 2, 8 / 9]).double(), rtol=0.03, atol=0)


def test_the_output_grows_with_noise_beyond_its_level():
    """An energy that saturates there would be of no use in a line search."""
    net = network().double().requires_grad_(False)
    noise = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    level = torch.tensor([0.01], dtype=torch.float64)
    sizes = torch.stack([net(0.5 + s * 0.01 * noise, level, level).std() for s in (10.0, 100.0)])
    assert sizes[1] > 8 * sizes[0]


@every_variant
def test_an_energys_gradient_and_its_training_match_finite_differences(config):
    """The score along a direction, and the slope of a loss of scores along one of the weights."""
    prior = NetworkEnergy(VPSDE(), network(config).double())
    generator = torch.Generator().manual_seed(1)
    x, v = torch.randn(2, 2, 1, 8, 8, generator=generator, dtype=torch.float64)
    t, h = torch.tensor([0.02, 0.6], dtype=torch.float64), 1e-6
    with torch.no_grad():
        change = prior.energy(x + h * v, t) - prior.energy(x - h * v, t)
        slope = -(prior.score(x, t) * v).sum((1, 2, 3))
    torch.testing.assert_close(change / (2 * h), slope, rtol=1e-6, atol=1e-6)

    weights = list(prior.parameters())
    ways = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]

    def loss(s: float) -> torch.Tensor:
        for weight, way in zip(weights, ways, strict=True):
            weight.data.add_(way, alpha=s)
        value = denoising_score_matching(prior, prior.sde, x, t, v).sum()
        for weight, way in zip(weights, ways, strict=True):
            weight.data.add_(way, alpha=-s)
        return value

    gradients = torch.autograd.grad(
        denoising_score_matching(prior, prior.sde, x, t, v).sum(), weights
    )
    expected = sum((g * way).sum() for g, way in zip(gradients, ways, strict=True))
    difference = (loss(1e-7) - loss(-1e-7)).item() / 2e-7
    assert difference == pytest.approx(expected.item(), rel=1e-4)
    assert all(g.abs().max() > 0 for g in gradients)


@every_variant
def test_a_batch_is_its_images_one_by_one(config):
    net = network(config).double().requires_grad_(False)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    level = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    alone = [net(x[i : i + 1], level[i : i + 1], level[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(net(x, level, level), torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_rms_normalisation_is_that_of_a_pixels_channels():
    """Where features are not tiny, by their own formula; in float32 for bfloat16."""
    x = 3 * torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0)).double() + 1
    norm = RMSNorm(4).double()
    norm.gain.data = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    expected = F.rms_norm(x.permute(0, 2, 3, 1), (4,), norm.gain, 1e-5).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(1e3 * x), norm(x), rtol=1e-5, atol=1e-5)
    assert RMSNorm(4)(x.bfloat16()).dtype == torch.float32


def test_attention_is_pytorchs_and_sees_all_pixels():
    attention = Attention(8, "group").double()
    x = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(2)).double()
    assert torch.equal(attention(x), x)  # a fresh one
    torch.nn.init.normal_(attention.out.weight, generator=torch.Generator().manual_seed(0))
    q, k, v = (p.mT for p in attention.parts(attention.norm(x)).flatten(2).chunk(3, dim=1))
    seen = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
    torch.testing.assert_close(attention(x), x + attention.out(seen))
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(1))

    def shuffle(h: torch.Tensor) -> torch.Tensor:
        return h.flatten(2)[..., shuffled].view(h.shape)

    torch.testing.assert_close(attention(shuffle(x)), shuffle(attention(x)))


@every_variant
def test_weights_are_read_back_as_the_network_they_are_of(config, tmp_path):
    prior = NetworkEnergy(VPSDE(), network(config))
    save_pretrained(prior, PriorMetadata((8, 8)), tmp_path / "p.safetensors")
    loaded, _ = from_pretrained(tmp_path / "p.safetensors")
    assert loaded.network.config.to_dict() == config.to_dict()
    x, t = torch.rand(1, 1, 8, 8), torch.tensor([0.1])
    assert torch.equal(loaded.energy(x, t), prior.energy(x, t))


def test_options_leave_the_other_weights_of_a_seed_as_they_are():
    """By default nothing is added, and the weights are those of before there were options."""
    torch.manual_seed(0)
    before = UNet(TINY).state_dict()
    torch.manual_seed(0)
    after = UNet(VARIANTS["attention"]).state_dict()
    assert not any("attention" in name for name in before)
    assert {name for name in after.keys() - before.keys()} == {
        f"attention.{name}"
        for name in (
            "norm.weight",
            "norm.bias",
            "parts.weight",
            "parts.bias",
            "out.weight",
            "out.bias",
        )
    }
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_fresh_network_has_identity_blocks():
    """Zero-initialised second convolutions: depth does not matter before training."""
    torch.manual_seed(0)
    shallow = UNet(TINY)
    deep = UNet(UNetConfig(channels=8, multipliers=(1, 2), blocks=(3, 2), embedding=16))
    deep.load_state_dict(shallow.state_dict(), strict=False)
    x, level = torch.rand(1, 1, 16, 16), torch.tensor([0.2])
    torch.testing.assert_close(deep(x, level, level), shallow(x, level, level))


def test_inconsistent_shapes_are_refused():
    with pytest.raises(UserError, match="one entry per level"):
        UNetConfig(multipliers=(1, 2), blocks=(1,))
    with pytest.raises(UserError, match=r"one entry per level, got \[\] and \[\]"):
        UNetConfig(multipliers=(), blocks=())
    with pytest.raises(UserError, match="multiple of 8, got 12"):
        UNetConfig(channels=12)
    with pytest.raises(UserError, match="one of group, rms, got 'layer'"):
        UNetConfig(normalisation="layer")  # pyright: ignore[reportArgumentType]
    assert UNetConfig().stride == 16
