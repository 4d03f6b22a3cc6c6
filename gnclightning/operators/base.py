"""The interface of every linear measurement operator."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual  # pyright: ignore[reportUnknownVariableType]

from gnclightning.errors import UserError
from gnclightning.operators.checks import mean_gain, operator_norm

_Map = Callable[[Tensor], Tensor]


class _Linear(torch.autograd.Function):
    """A linear map whose derivatives are itself (forward mode) and its transpose (reverse mode).

    Both are applied through this same function, so derivatives of any order exist.
    """

    @staticmethod
    def forward(x: Tensor, times: _Map, times_transposed: _Map) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _exactly(times, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.times, ctx.times_transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        return _linear(grad_outputs[0], ctx.times_transposed, ctx.times), None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return _linear(grad_inputs[0], ctx.times, ctx.times_transposed)


def _linear(x: Tensor, times: _Map, times_transposed: _Map) -> Tensor:
    if not torch.is_grad_enabled() and unpack_dual(x).tangent is None:
        return _exactly(times, x)  # `apply` inspects signatures at every call
    # PyTorch leaves `apply` without types.
    return cast(Tensor, _Linear.apply(x, times, times_transposed))  # pyright: ignore[reportUnknownMemberType]


def _exactly(times: _Map, x: Tensor) -> Tensor:
    """In the operator's own precision: rounded products are no transposes of each other."""
    with torch.autocast(x.device.type, enabled=False):
        return times(x)


class LinearOperator(nn.Module, ABC):
    """A linear operator A from images to measurements, with its exact transpose.

    Call it for A(x); inputs and outputs have any number of leading batch and channel dimensions,
    as in (B, C, *domain_shape). Derivatives of A are A and its adjoint, to any order. Being a
    module, it follows `.to(device)` and `.to(dtype)`; autocast passes it by.

    Args:
        domain_shape: trailing dimensions of an image x.
        range_shape: trailing dimensions of a measurement y.
        dtype: floating-point type that the operator starts with.
    """

    _reference: Tensor

    def __init__(
        self,
        domain_shape: tuple[int, ...],
        range_shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._domain_shape = domain_shape
        self._range_shape = range_shape
        self._norms: dict[tuple[int, int], float] = {}
        self._gain: float | None = None
        # Follows `.to`, so that the operator knows its dtype and device without other buffers.
        self.register_buffer("_reference", torch.empty(0, dtype=dtype), persistent=False)

    @property
    def domain_shape(self) -> tuple[int, ...]:
        """Trailing dimensions of an image x."""
        return self._domain_shape

    @property
    def range_shape(self) -> tuple[int, ...]:
        """Trailing dimensions of a measurement y."""
        return self._range_shape

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type in which the operator computes."""
        return self._reference.dtype

    @property
    def device(self) -> torch.device:
        """Device on which the operator computes."""
        return self._reference.device

    def forward(self, x: Tensor) -> Tensor:
        """A(x): (..., *domain_shape) -> (..., *range_shape)."""
        self.check_domain(x)
        return _linear(x, self._matvec, self._rmatvec)

    def adjoint(self, y: Tensor) -> Tensor:
        """Exact transpose A*(y): (..., *range_shape) -> (..., *domain_shape)."""
        self.check_range(y)
        return _linear(y, self._rmatvec, self._matvec)

    def norm(self, iterations: int = 30, seed: int = 0) -> float:
        """Operator norm, see `operator_norm`; computed once and remembered."""
        key = (iterations, seed)
        if key not in self._norms:
            self._norms[key] = operator_norm(self, iterations, seed)
        return self._norms[key]

    def squared_norm(self) -> float | Tensor:
        """Square of the operator norm; of each image, or a bound of it, if they differ, (B,)."""
        return self.norm() ** 2

    def mean_gain(self) -> float:
        """Mean diagonal entry of A*A, see `checks.mean_gain`; computed once and remembered."""
        if self._gain is None:
            self._gain = mean_gain(self)
        return self._gain

    @property
    def observed(self) -> Tensor | None:
        """Entries of a measurement that are measured, bool (*range_shape); None: all of them."""
        return None

    def select(self, index: Tensor) -> "LinearOperator":
        """The operator of the images `index` (n,) of a batch; this one, unless images differ."""
        return self

    def check_domain(self, x: Tensor) -> None:
        """Raise `UserError` unless `x` is an image (..., *domain_shape) that A can take."""
        self._check(x, self._domain_shape, "image")

    def check_range(self, y: Tensor) -> None:
        """Raise `UserError` unless `y` is a measurement (..., *range_shape) that A* can take."""
        self._check(y, self._range_shape, "measurement")

    def _check(self, tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
        if tensor.shape[-len(shape) :] != shape:
            expected = ", ".join(str(size) for size in ("...", *shape))
            raise UserError(
                f"expected {name} of shape ({expected}), got {tuple(tensor.shape)}: "
                f"resize the {name} or build {type(self).__name__} for this shape"
            )

    @abstractmethod
    def _matvec(self, x: Tensor) -> Tensor:
        """A(x) without checks or derivatives."""

    @abstractmethod
    def _rmatvec(self, y: Tensor) -> Tensor:
        """A*(y) without checks or derivatives."""
