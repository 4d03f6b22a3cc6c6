"""Layers of the U-Net; all of them have second derivatives, which energy priors need."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
EPSILON = 1e-5
"""Added to mean squares before features are divided by their root, as GroupNorm does."""


class Conv2d(nn.Module):
    """A convolution whose kernel is stored as the matrix (out, height * width * in).

    As a matrix it can be trained by Muon (`torch.optim.Muon` takes matrices only), and the layout
    is channels-last without a copy.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, zero: bool = False):
        super().__init__()
        self.size, self.stride = size, stride
        fan_in = inputs * size * size
        bound = 0.0 if zero else fan_in**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, fan_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        kernel = self.weight.view(self.weight.shape[0], self.size, self.size, -1)
        padding = self.size // 2 if self.stride == 1 else 0
        return F.conv2d(x, kernel.permute(0, 3, 1, 2), self.bias, self.stride, padding)


class NoiseEmbedding(nn.Module):
    """Fourier features of the log noise-to-signal ratio, then a two-layer perceptron.

    The log of nu_t/gamma_t, not t, is embedded: it resolves small t, where images are decided.
    """

    frequencies: Tensor

    def __init__(self, width: int):
        super().__init__()
        frequencies = torch.logspace(math.log10(0.2), math.log10(8.0), 16)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, noise_to_signal: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        phase = noise_to_signal.log()[:, None] * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], dim=1))


class Modulation(nn.Module):
    """Scale and shift of feature maps by the embedding; starts as the identity."""

    def __init__(self, embedding: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C, H, W)."""
        log_scale, shift = self.linear(embedding)[:, :, None, None].chunk(2, dim=1)
        return h * log_scale.exp() + shift


class RMSNorm(nn.Module):
    """Each pixel's features over their root mean square, times a learnt gain for each channel.

    Zhang and Sennrich 2019 (arXiv 1910.07467, eq. 4), over the channels of a pixel.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); in float32 at least, as GroupNorm under autocast."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        size = (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()
        return x * size * self.gain[:, None, None]


Normalisation = Literal["group", "rms"]


def normalise(kind: Normalisation, channels: int) -> nn.Module:
    """A new layer that normalises feature maps (B, C, H, W)."""
    return RMSNorm(channels) if kind == "rms" else nn.GroupNorm(GROUPS, channels)


class Attention(nn.Module):
    """x + conv(attend(conv(norm(x)))): each pixel looks at all; starts as the identity.

    One head of Vaswani et al. 2017 (arXiv 1706.03762, eq. 1), as in U-Nets since Ho et al. 2020.
    Written out, since fused kernels do not differentiate twice; it takes the square of the number
    of pixels of memory.
    """

    def __init__(self, channels: int, normalisation: Normalisation):
        super().__init__()
        self.norm = normalise(normalisation, channels)
        self.parts = Conv2d(channels, 3 * channels, 1)
        self.out = Conv2d(channels, channels, 1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.parts(self.norm(x)).flatten(2).chunk(3, dim=1)
        weights = torch.softmax(q.mT @ k / q.shape[1] ** 0.5, dim=-1)
        return x + self.out((v @ weights.mT).view_as(x))


class ResidualBlock(nn.Module):
    """x + conv(silu(modulate(conv(silu(norm(x)))))); starts as the identity."""

    def __init__(self, channels: int, embedding: int, normalisation: Normalisation):
        super().__init__()
        self.norm = normalise(normalisation, channels)
        self.first = Conv2d(channels, channels, 3)
        self.modulation = Modulation(embedding, channels)
        self.second = Conv2d(channels, channels, 3, zero=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C, H, W)."""
        h = self.first(F.silu(self.norm(x)))
        return x + self.second(F.silu(self.modulation(h, embedding)))


class Level(nn.ModuleList):
    """The residual blocks of one resolution."""

    def __init__(self, count: int, channels: int, embedding: int, normalisation: Normalisation):
        super().__init__(ResidualBlock(channels, embedding, normalisation) for _ in range(count))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C, H, W)."""
        for block in self:
            h = block(h, embedding)
        return h
