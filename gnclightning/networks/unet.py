"""Time-conditional U-Net: a shell at full resolution around a core on the pixel-unshuffled image.

The core works at half resolution (or less), which is four times cheaper than a plain U-Net of equal
size. The shell, convolutions before unshuffling and after shuffling back, keeps the phases of the
unshuffled image together: without it reconstructions carry stripes of two pixels' period.

At t = 1e-3 the noise (0.01) is below the resolution of bfloat16 for an image in [0,1]. The network
therefore sees, besides the image, its `local_differences` in units of the noise, taken in float32;
all that follows may run in bfloat16. They enter twice: compressed by asinh, for the features that
decide what is an edge, and as they are, for a linear path that those features gate. The output can
thus grow with the noise, as it must for an image noisier than level t: an energy that saturates
there has no use in a line search.

Smooth activations, either normalisation and the attention have second derivatives, which energy
priors need.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnclightning.errors import UserError
from gnclightning.networks.layers import (
    GROUPS,
    Attention,
    Conv2d,
    Level,
    Modulation,
    NoiseEmbedding,
    Normalisation,
    normalise,
)
from gnclightning.tensors import expand


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a `UNet`.

    Attributes:
        channels: width at the finest level of the core; a multiple of 8.
        multipliers: width of each level as a multiple of `channels`.
        blocks: residual blocks of each level (on the way down, and again on the way up).
        unshuffle: factor of the pixel unshuffling before the core.
        shell: width at full resolution, before unshuffling and after shuffling back.
        embedding: width of the noise-level embedding.
        image_channels: channels of the image.
        normalisation: "group": GroupNorm, over the pixels of a group of channels; "rms": `RMSNorm`.
        attention: whether the pixels of the lowest level attend to each other, after its blocks.
    """

    channels: int = 32
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks: Sequence[int] = (1, 1, 1, 1)
    unshuffle: int = 2
    shell: int = 16
    embedding: int = 128
    image_channels: int = 1
    normalisation: Normalisation = "group"
    attention: bool = False

    def __post_init__(self) -> None:
        if not self.multipliers or len(self.multipliers) != len(self.blocks):
            raise UserError(
                "network.multipliers and network.blocks need one entry per level, got "
                f"{list(self.multipliers)} and {list(self.blocks)}"
            )
        if self.channels % GROUPS:
            raise UserError(f"network.channels must be a multiple of {GROUPS}, got {self.channels}")
        if self.normalisation not in (known := get_args(Normalisation)):
            raise UserError(
                f"network.normalisation must be one of {', '.join(known)}, got "
                f"{self.normalisation!r}"
            )

    @property
    def stride(self) -> int:
        """Height and width of an image must be multiples of this."""
        return self.unshuffle * 2 ** (len(self.multipliers) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a checkpoint."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, list | tuple) else v for k, v in values.items()}


DIFFERENCES = 3


def local_differences(x: Tensor, std: Tensor) -> Tensor:
    """Differences of neighbouring pixels in units of the noise.

    To the right neighbour, to the lower one, and to the mean of the 3 x 3 neighbourhood; the
    borders are replicated. Where the image is flat, this is the noise at unit size whatever t.

    Args:
        x: images (B, C, H, W).
        std: standard deviation of their noise, (B,).

    Returns:
        (B, 3 C, H, W).
    """
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    right, below = padded[..., 1:-1, 2:], padded[..., 2:, 1:-1]
    mean = F.avg_pool2d(padded, 3, stride=1)
    return torch.cat([right - x, below - x, mean - x], dim=1) / expand(std, x)


class UNet(nn.Module):
    """F(x, nu/gamma, std): (B, C, H, W), (B,), (B,) -> (B, C, H, W), float32 in and out."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        images, shell = config.image_channels, config.shell
        packed = shell * config.unshuffle**2
        base, embedding = config.channels, config.embedding
        self.embedding = NoiseEmbedding(embedding)
        self.enter = Conv2d((1 + DIFFERENCES) * images, shell, 3)
        self.enter_modulation = Modulation(embedding, shell)
        self.linear = Conv2d((1 + DIFFERENCES) * images, shell, 3)
        self.linear_modulation = Modulation(embedding, shell)
        self.squeeze = Conv2d(packed, base, 1)
        levels = list(zip(config.blocks, widths, strict=True))
        norm = config.normalisation
        self.down_levels = nn.ModuleList(Level(n, w, embedding, norm) for n, w in levels)
        self.up_levels = nn.ModuleList(Level(n, w, embedding, norm) for n, w in levels[:-1])
        steps = list(itertools.pairwise(widths))
        self.shrink = nn.ModuleList(Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.grow = nn.ModuleList(Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.spread_norm = normalise(norm, base)
        self.spread = Conv2d(base, packed, 1)
        self.merge = Conv2d(2 * shell, shell, 3)
        self.merge_modulation = Modulation(embedding, shell)
        self.gate = Conv2d(shell, shell, 3, zero=True)
        self.leave = Conv2d(2 * shell, images, 3)
        # Last, so that a seed gives the other layers the same weights with and without it.
        self.attention = Attention(widths[-1], norm) if config.attention else nn.Identity()

    def forward(self, x: Tensor, noise_to_signal: Tensor, noise_std: Tensor) -> Tensor:
        """Evaluate the network.

        Args:
            x: noisy images, scaled as the network shall see them; (B, C, H, W), H and W multiples
                of `config.stride`.
            noise_to_signal: nu_t / gamma_t, (B,), positive.
            noise_std: standard deviation of the noise in `x`, (B,), positive.
        """
        self.check_size(x.shape[-2:])
        with torch.autocast(x.device.type, enabled=False):
            noise_to_signal = noise_to_signal.to(x.dtype)
            embedding = self.embedding(noise_to_signal)
            differences = local_differences(x, noise_std.to(x.dtype))
            seen = torch.cat([x, differences.asinh()], dim=1)
            linear = torch.cat([x, differences], dim=1)
            seen = seen.contiguous(memory_format=torch.channels_last)
            linear = linear.contiguous(memory_format=torch.channels_last)
        fine = F.silu(self.enter_modulation(self.enter(seen), embedding))
        h = self._core(self.squeeze(F.pixel_unshuffle(fine, self.config.unshuffle)), embedding)
        h = self.spread(F.silu(self.spread_norm(h)))
        h = self.merge(torch.cat([F.pixel_shuffle(h, self.config.unshuffle), fine], dim=1))
        h = F.silu(self.merge_modulation(h, embedding))
        gated = self.gate(h) * self.linear_modulation(self.linear(linear), embedding)
        return self.leave(torch.cat([h, gated], dim=1)).to(x.dtype)

    def _core(self, h: Tensor, embedding: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, shrink in zip(self.down_levels, self.shrink, strict=False):
            h = level(h, embedding)
            skips.append(h)
            h = shrink(h)
        h = self.attention(self.down_levels[-1](h, embedding))
        for level, grow, skip in zip(
            reversed(self.up_levels), reversed(self.grow), reversed(skips), strict=True
        ):
            h = level(F.pixel_shuffle(grow(h), 2) + skip, embedding)
        return h

    def check_size(self, shape: Sequence[int]) -> None:
        """Raise `UserError` unless images of this (H, W) fit the network's stride."""
        stride = self.config.stride
        if any(n % stride for n in shape):
            raise UserError(
                f"the network needs image sides that are multiples of {stride}, got "
                f"{tuple(shape)}; pad or crop the images"
            )
