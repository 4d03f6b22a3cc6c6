"""Images unlike the phantoms that the shipped prior was trained on, to see what it makes of them.

Their order is fixed: the Shepp-Logan phantom, the three CT slices that the pydicom package carries,
then rectangles and texts in turn without end. Each made-up image has a random stream of its own, so
that it does not depend on how many others there are. They cover [-1, 1]^2 as `ellipses` do.
"""

import numpy as np
import torch
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gnclightning.data.dicom.preprocessing import resize
from gnclightning.data.ellipses import Ellipses, draw_ellipses, rasterise
from gnclightning.data.images import ImageSet
from gnclightning.data.samples import above_air

CT_SLICES = ("CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm")
"""A spine, 128x128 pixels, and two heads, 512x512."""

_STREAM = 7  # `ellipses` has the streams 0 to 2 of the same seeds
_FINER = 4  # texts are drawn so many times as fine, and averaged

# Intensity, semi-axes, centre and angle in degrees of each ellipse; see `shepp_logan`.
_SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.605, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def unseen_images(count: int, size: int = 128, seed: int = 0) -> ImageSet:
    """The first images of the series, named by kind and number among their kind.

    Args:
        count: number of images, at least 1.
        size: pixels along each side, at least 3.
        seed: of the rectangles and texts, >= 0.

    Raises:
        UserError: pydicom is installed without its CT slices.
    """
    made = [_image(index, size, seed) for index in range(count)]
    stack = np.stack([image for _, image in made])[:, None]
    return ImageSet(torch.from_numpy(stack), tuple(name for name, _ in made), tuple(range(count)))


def shepp_logan(size: int) -> NDArray[np.float32]:
    """The head phantom of Shepp and Logan (1974), (size, size) in [0, 1].

    The contrasts are those of P. Toft, The Radon transform: theory and implementation, 1996, which
    can be seen.
    """
    intensity, a, b, x, y, degrees = np.array(_SHEPP_LOGAN, dtype=np.float64).T
    units = np.rint(intensity * 10)  # whole numbers, whose sums are exact
    sums = rasterise(
        [Ellipses(np.stack([a, b]), np.stack([x, y]), np.radians(degrees), units)], size
    )
    return (sums[0] / sums.max()).astype(np.float32)


def rectangles(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Rectangles by the law of the ELLIPSES phantoms, half sides in place of semi-axes.

    (size, size) in [0, 1], maximum 1, background 0.
    """
    axis = np.linspace(-1, 1, size)
    total = np.zeros((size, size))
    while not total.any():
        drawn = draw_ellipses(rng)
        for half, (x, y), angle, intensity in zip(
            drawn.semi_axes.T, drawn.centre.T, drawn.angle, drawn.intensity, strict=True
        ):
            right, up = axis[None, :] - x, -axis[:, None] - y
            u = np.cos(angle) * right + np.sin(angle) * up
            v = np.cos(angle) * up - np.sin(angle) * right
            total += intensity * ((abs(u) <= half[0]) & (abs(v) <= half[1]))
    return (total / total.max()).astype(np.float32)


def text(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Lines of random letters and digits in DejaVu Sans, which the matplotlib package carries.

    Each line has its own height and intensity, uniform in [0.3, 1]; all are turned by one angle.
    (size, size) in [0, 1], maximum 1, background 0.
    """
    side = _FINER * size
    canvas = Image.new("F", (side, side))
    pen = ImageDraw.Draw(canvas)
    font = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    # Within these margins nothing leaves the image when it is turned.
    top, bottom, left, width = 0.15 * side, 0.82 * side, 0.15 * side, 0.7 * side
    while top + (height := rng.uniform(0.07, 0.2) * side) < bottom:
        letters = ImageFont.truetype(font, height)
        line = "".join(rng.choice(list(_LETTERS), 20))
        while pen.textlength(line, letters) > width:
            line = line[:-1]
        pen.text((left, top), line, fill=rng.uniform(0.3, 1.0), font=letters)
        top += 1.2 * height
    turned = np.asarray(canvas.rotate(rng.uniform(-30, 30), Image.Resampling.BILINEAR))
    image = turned.reshape(size, _FINER, size, _FINER).mean((1, 3))
    return (image / image.max()).astype(np.float32)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _image(index: int, size: int, seed: int) -> tuple[str, NDArray[np.float32]]:
    if index == 0:
        return "shepp_logan[0]", shepp_logan(size)
    if index <= len(CT_SLICES):
        return f"ct[{index - 1}]", _slice(CT_SLICES[index - 1], size)
    number, kind = divmod(index - len(CT_SLICES) - 1, 2)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, index)))
    name, draw = (("rectangles", rectangles), ("text", text))[kind]
    return f"{name}[{number}]", draw(rng, size)


def _slice(file: str, size: int) -> NDArray[np.float32]:
    """A CT slice above air by its maximum; shrunk by averaging."""
    values = resize(above_air(file), size, antialias=True)
    return (values / values.max()).astype(np.float32)
