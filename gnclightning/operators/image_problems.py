"""Inverse problems on images other than projections, by the names and settings of `operator.*`."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator
from gnclightning.operators.blur import Blur, PeriodicBlur, gaussian_kernel
from gnclightning.operators.downsampling import Downsampling
from gnclightning.operators.fourier import UndersampledFourier
from gnclightning.operators.identity import Identity
from gnclightning.operators.mask import Mask

_fft: Any = torch.fft  # comes without types

_Shape = tuple[int, int]


def image_operator(name: str, shape: tuple[int, int], **settings: object) -> LinearOperator:
    """The operator of a problem, float32, on the CPU.

    Args:
        name: identity, mask, blur, super_resolution or fourier.
        shape: rows and columns of the image.
        settings: those of the problem, as `gnc-reconstruct --help` lists them below `operator`.

    Raises:
        UserError: the problem is another, or its settings do not fit the image.
    """
    builders: dict[str, Callable[..., LinearOperator]] = {
        "identity": Identity,
        "mask": _mask,
        "blur": _blur,
        "super_resolution": Downsampling,
        "fourier": _fourier,
    }
    if name not in builders:
        raise UserError(f"expected a problem among {list(builders)}, got {name!r}")
    return builders[name](shape, **settings)


def direct_reconstruction(operator: LinearOperator, y: Tensor) -> Tensor:
    """What measurements of `image_operator` give without iterations and without a prior.

    Means over blocks are interpolated (bicubic); what is not known of pixels or coefficients is 0;
    measurements that are images themselves stay as they are.

    Args:
        operator: A.
        y: measurements (B, C, *range of A).

    Returns:
        (B, C, rows, columns).
    """
    match operator:
        case Downsampling():
            # With antialias the kernel is the one that is exact on planes (Keys, a = -1/2).
            return torch.nn.functional.interpolate(
                y, size=operator.domain_shape, mode="bicubic", align_corners=False, antialias=True
            )
        case Mask() | UndersampledFourier():
            return operator.adjoint(y)
        case Identity() | Blur() | PeriodicBlur():
            return y.clone()
        case _:
            raise TypeError(f"expected an operator of image_operator, got {operator}")


def _mask(shape: _Shape, share: float, seed: int) -> Mask:
    """As many pixels as the share says, at least one, drawn without replacement."""
    pixels = shape[0] * shape[1]
    known = torch.zeros(pixels, dtype=torch.bool)
    known[_drawn(pixels, max(1, round(share * pixels)), seed)] = True
    return Mask(known.reshape(shape))


def _blur(
    shape: _Shape, kernel: Literal["gaussian", "uniform"], width: float, boundary: str
) -> LinearOperator:
    if kernel == "gaussian":
        values = gaussian_kernel(width)
    else:
        edge = int(width)
        values = torch.full((edge, edge), 1 / edge**2)
    if any(side > size for side, size in zip(values.shape, shape, strict=True)):
        raise UserError(
            f"expected a kernel no larger than the image, {shape[0]}x{shape[1]}, got operator.width"
            f"={width:g}, which needs {values.shape[0]}x{values.shape[1]}: lower it"
        )
    return (PeriodicBlur if boundary == "periodic" else Blur)(shape, values)


def _fourier(shape: _Shape, acceleration: float, centre: float, seed: int) -> UndersampledFourier:
    """Whole columns: those of the lowest frequencies, and random ones until they are enough."""
    columns = shape[1]
    wanted = max(1, round(columns / acceleration))
    by_frequency: Tensor = _fft.fftfreq(columns).abs().argsort(stable=True)
    fixed = min(wanted, round(centre * columns))
    others = by_frequency[fixed:]
    known = torch.zeros(columns, dtype=torch.bool)
    known[by_frequency[:fixed]] = True
    known[others[_drawn(len(others), wanted - fixed, seed)]] = True
    return UndersampledFourier(known.expand(shape).clone())


def _drawn(count: int, wanted: int, seed: int) -> Tensor:
    """`wanted` numbers below `count`, without replacement."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:wanted]
