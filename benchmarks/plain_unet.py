"""A conventional U-Net of PyTorch's own modules, for benchmarks to compare ours with."""

import bisect

import torch
from torch import Tensor, nn

GROUPS = 4


class Block(nn.Module):
    """Residual block: GroupNorm, SiLU, convolution, twice, with the embedding added between."""

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.embed = nn.Linear(embedding, outputs)
        self.second = nn.Sequential(
            nn.GroupNorm(GROUPS, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C', H, W)."""
        h = self.first(x) + self.embed(embedding)[:, :, None, None]
        return self.skip(x) + self.second(h)


class Attention(nn.Module):
    """Self-attention of all pixels; written out, as fused kernels do not differentiate twice."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.parts = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.parts(self.norm(x)).flatten(2).chunk(3, dim=1)
        weights = torch.softmax(q.mT @ k / q.shape[1] ** 0.5, dim=-1)
        return x + self.out((v @ weights.mT).view_as(x))


class PlainUNet(nn.Module):
    """Two blocks a level at full resolution and below, attention at the lowest.

    Its interface is that of `gnclightning.networks.UNet`.

    Args:
        channels: width of the finest level.
        multipliers: width of each level as a multiple.
    """

    def __init__(self, channels: int, multipliers: tuple[int, ...] = (1, 2, 2, 2)):
        super().__init__()
        width = 4 * channels
        self.embedding = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.enter = nn.Conv2d(1, channels, 3, padding=1)
        widths = [channels * m for m in multipliers]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        skips, now = [channels], channels
        for level, wide in enumerate(widths):
            for _ in range(2):
                self.down.append(Block(now, wide, width))
                skips.append(now := wide)
            if level < len(widths) - 1:
                self.shrink.append(nn.Conv2d(wide, wide, 3, stride=2, padding=1))
                skips.append(wide)
        self.middle = nn.ModuleList([Block(now, now, width), Block(now, now, width)])
        self.attention = Attention(now)
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(3):
                self.up.append(Block(now + skips.pop(), wide, width))
                now = wide
            if level:
                self.grow.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, now), nn.SiLU(), nn.Conv2d(now, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, noise_to_signal: Tensor, noise_std: Tensor) -> Tensor:
        """(B, 1, H, W), (B,), unused -> (B, 1, H, W)."""
        embedding = self.embedding(noise_to_signal.to(x.dtype).log()[:, None])
        h = self.enter(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for number, block in enumerate(self.down):
            h = block(h, embedding)
            skips.append(h)
            if number % 2 and number // 2 < len(self.shrink):
                h = self.shrink[number // 2](h)
                skips.append(h)
        first, second = self.middle
        h = second(self.attention(first(h, embedding)), embedding)
        for number, block in enumerate(self.up):
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
            if number % 3 == 2 and number // 3 < len(self.grow):
                h = self.grow[number // 3](nn.functional.interpolate(h, scale_factor=2))
        return self.leave(h).to(x.dtype)


def plain_unet(parameters: float) -> PlainUNet:
    """The one whose number of parameters is nearest, with the faster layout of memory."""

    def size(channels: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in PlainUNet(channels).parameters())

    widths = range(GROUPS, 400, GROUPS)
    above = bisect.bisect_left(widths, parameters, 1, key=size)
    channels = min(widths[above - 1 : above + 1], key=lambda c: abs(size(c) - parameters))
    return PlainUNet(channels).to(memory_format=torch.channels_last)
