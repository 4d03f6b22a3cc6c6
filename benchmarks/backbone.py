"""Own U-Net against `diffusers.UNet2DModel` of similar size, trained equally long in one run.

    python -m pip install diffusers==0.35.2   # not a dependency of gnclightning
    python benchmarks/backbone.py --seconds 120

Both predict noise from ELLIPSES phantoms at the same times, with the same optimiser and batches, in
bfloat16 autocast, one after the other for the same processor time. Prints the noise-prediction
error per time, milliseconds per image of training and of evaluation, and the number of images seen.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gnclightning.data.ellipses import phantoms
from gnclightning.losses import PowerTimes, denoising_score_matching
from gnclightning.networks import UNet, UNetConfig
from gnclightning.priors import NetworkScore
from gnclightning.sde import VPSDE

TIMES = (1e-3, 1e-2, 0.05, 0.15, 0.4)
BATCH, VALIDATION = 8, 32


def diffusers_model(channels: int, size: int, **options: str) -> nn.Module:
    """A `UNet2DModel` of about as many parameters as `UNet`, without attention."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
        **options,
    )


class InShell(UNet):
    """diffusers' U-Net as the core of ours, with the same noise-level embedding."""

    def __init__(self) -> None:
        super().__init__(UNetConfig(blocks=(0, 0, 0, 0)))
        del self.shrink, self.grow
        self.model = diffusers_model(self.config.channels, 64, class_embed_type="identity")

    def _core(self, h: Tensor, embedding: Tensor) -> Tensor:
        return self.model(h, 0, class_labels=embedding).sample


class Diffusers(nn.Module):
    """diffusers' U-Net behind the interface of `UNet`, optionally on an unshuffled image."""

    def __init__(self, unshuffle: int):
        super().__init__()
        self.config = UNetConfig(unshuffle=unshuffle)
        self.unshuffle = unshuffle
        self.model = diffusers_model(unshuffle**2, 128 // unshuffle)

    def forward(self, x: Tensor, noise_to_signal: Tensor, noise_std: Tensor) -> Tensor:
        """As `UNet`: the embedding is given a monotone function of the noise level."""
        packed = nn.functional.pixel_unshuffle(x, self.unshuffle)
        out = self.model(packed, 100 * noise_to_signal.log()).sample
        return nn.functional.pixel_shuffle(out, self.unshuffle)


def validation_loss(prior: NetworkScore) -> list[float]:
    """Noise-prediction error at `TIMES` on fixed phantoms and noise."""
    x = torch.from_numpy(phantoms(range(VALIDATION), 0, "validation"))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        losses = [
            denoising_score_matching(prior, prior.sde, x, torch.full((len(x),), t), noise)
            for t in TIMES
        ]
    return [loss.mean().item() for loss in losses]


def train(prior: NetworkScore, seconds: float) -> tuple[int, float]:
    """Train with Adam for `seconds` of processor time; images seen and milliseconds per image."""
    peak = 1e-3
    optimizer = torch.optim.Adam(prior.parameters(), peak, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    images, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, images / (50 * BATCH)) * (1 - spent / seconds)
        x = torch.from_numpy(phantoms(range(images, images + BATCH), 0, "train"))
        t = PowerTimes()(prior.sde, BATCH, generator)
        noise = torch.randn(x.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss = denoising_score_matching(prior, prior.sde, x, t, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        images += BATCH
    return images, 1e3 * spent / images


def main() -> None:
    """Train and report every arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="processor time per arm")
    seconds = parser.parse_args().seconds
    arms: dict[str, Callable[[], nn.Module]] = {
        "gnclightning UNet, unshuffle 2": lambda: UNet(UNetConfig()),
        "diffusers UNet2DModel in its shell": InShell,
        "diffusers UNet2DModel, unshuffle 2": lambda: Diffusers(2),
        "diffusers UNet2DModel, full resolution": lambda: Diffusers(1),
    }
    print("| network | parameters | images | ms/image: training | evaluation |", end=" ")
    print(*(f"t = {t:g}" for t in TIMES), "", sep=" | ")
    for name, make in arms.items():
        torch.manual_seed(0)
        prior = NetworkScore(VPSDE(), make())  # pyright: ignore[reportArgumentType]
        images, cost = train(prior, seconds)
        size = sum(p.numel() for p in prior.parameters())
        start = time.process_time()
        losses = " | ".join(f"{loss:.4f}" for loss in validation_loss(prior))
        forward = 1e3 * (time.process_time() - start) / (len(TIMES) * VALIDATION)
        row = f"{size / 1e6:.2f} M | {images} | {cost:.1f} | {forward:.1f} | {losses}"
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
