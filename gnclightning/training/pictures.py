"""Pictures of what a prior does, as arrays of bytes."""

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from gnclightning.metrics import psnr
from gnclightning.priors import NetworkPrior
from gnclightning.priors.base import Prior
from gnclightning.sampling import denoise
from gnclightning.tensors import expand

Picture = NDArray[np.uint8]
_ROWS = ("clean", "noisy", "denoised")
_PANEL = 1.6
"""Width of an image in inches."""


def side_by_side(*images: Tensor) -> list[Picture]:
    """Each image (H, W) of several batches (B, 1, H, W) beside those of the others.

    As bytes: of floating-point images W&B would choose the range itself.
    """
    joined = torch.cat([x.clamp(0, 1).float().cpu() for x in images], dim=-1)[:, 0]
    return list((255 * joined).round().byte().numpy())


@torch.no_grad()
def denoised_levels(prior: NetworkPrior, image: Tensor, times: Tensor) -> Tensor:
    """An image (1, H, W) clean, noisy and denoised at T times: (3, T, 1, H, W).

    The noise is the same whenever it is asked for; the noisy image is divided by gamma_t.
    """
    assert isinstance(prior, Prior)
    x = image.expand(len(times), *image.shape)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    noisy = prior.sde.perturb(x, times, noise.expand_as(x))
    scale = expand(prior.sde.mean_scale(times), x)
    return torch.stack([x, noisy / scale, denoise(prior, prior.sde, noisy, times)])


def draw_levels(levels: Tensor, ratios: list[float]) -> Picture:
    """What `denoised_levels` gives, with the levels' noise-to-signal ratios and PSNR; (h, w, 3)."""
    rows, columns, _, height, width = levels.shape
    size = (_PANEL * columns + 0.3, (_PANEL * height / width + 0.25) * rows + 0.3)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    images = levels[:, :, 0].float().cpu().numpy()
    for row, name in enumerate(_ROWS):
        grid[row, 0].set_ylabel(name)
        values = psnr(levels[row], levels[0]).tolist()
        for column, panel in enumerate(grid[row]):
            panel.imshow(images[row, column], cmap="gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
            if row:
                panel.set_xlabel(f"{values[column]:.1f} dB", fontsize=8)
            else:
                panel.set_title(f"noise {ratios[column]:.2g}", fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
