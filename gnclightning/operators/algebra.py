"""Operators made of operators: composition, multiples, sums and stacks, with exact adjoints."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from gnclightning.errors import UserError
from gnclightning.operators.base import LinearOperator


class Composition(LinearOperator):
    """A(x) = outer(inner(x)).

    Args:
        outer: applied last.
        inner: applied first; its measurements are the outer one's images.

    Raises:
        UserError: if they do not fit, or differ in dtype or device.
    """

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain_shape != inner.range_shape:
            raise UserError(
                f"expected an outer operator on {inner.range_shape}, what the inner one gives, "
                f"got one on {outer.domain_shape}"
            )
        _check_alike(outer, inner)
        super().__init__(inner.domain_shape, outer.range_shape, inner.dtype)
        self.outer = outer
        self.inner = inner

    @property
    def observed(self) -> Tensor | None:
        """What the outer operator observes, see `LinearOperator`."""
        return self.outer.observed

    def select(self, index: Tensor) -> "Composition":
        """The operator of the images `index` (n,) of a batch."""
        return Composition(self.outer.select(index), self.inner.select(index))

    def _matvec(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Scaled(LinearOperator):
    """A(x) = factor B(x).

    Args:
        operator: B.
        factor: a finite number.

    Raises:
        UserError: if the factor is not finite.
    """

    def __init__(self, operator: LinearOperator, factor: float) -> None:
        if not math.isfinite(factor):
            raise UserError(f"expected a finite factor, got {factor}")
        super().__init__(operator.domain_shape, operator.range_shape, operator.dtype)
        self.operator = operator
        self.factor = factor

    @property
    def observed(self) -> Tensor | None:
        """What B observes, see `LinearOperator`."""
        return self.operator.observed

    def select(self, index: Tensor) -> "Scaled":
        """The operator of the images `index` (n,) of a batch."""
        return Scaled(self.operator.select(index), self.factor)

    def _matvec(self, x: Tensor) -> Tensor:
        return self.factor * self.operator(x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.adjoint(y)


class Sum(LinearOperator):
    """A(x) = B_1(x) + ... + B_n(x).

    Args:
        operators: at least one, all between the same spaces.

    Raises:
        UserError: if there are none, or they differ in shapes, dtype or device.
    """

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        first = _first(operators)
        for other in operators[1:]:
            if (other.domain_shape, other.range_shape) != (first.domain_shape, first.range_shape):
                raise UserError(
                    f"expected operators from {first.domain_shape} to {first.range_shape}, got one "
                    f"from {other.domain_shape} to {other.range_shape}"
                )
        super().__init__(first.domain_shape, first.range_shape, first.dtype)
        self.operators = nn.ModuleList(operators)

    @property
    def observed(self) -> Tensor | None:
        """What any of the operators observes, see `LinearOperator`."""
        parts = _parts(self.operators)
        if any(part.observed is None for part in parts):
            return None
        return reduce(torch.logical_or, (_observed(part) for part in parts))

    def select(self, index: Tensor) -> "Sum":
        """The operator of the images `index` (n,) of a batch."""
        return Sum([part.select(index) for part in _parts(self.operators)])

    def _matvec(self, x: Tensor) -> Tensor:
        return reduce(torch.add, (part(x) for part in _parts(self.operators)))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return reduce(torch.add, (part.adjoint(y) for part in _parts(self.operators)))


class Stack(LinearOperator):
    """All measurements of several operators, one after the other in one vector.

    Args:
        operators: at least one, all on the same images.

    Raises:
        UserError: if there are none, or they differ in the images' shape, dtype or device.
    """

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        first = _first(operators)
        for other in operators[1:]:
            if other.domain_shape != first.domain_shape:
                raise UserError(
                    f"expected operators on images {first.domain_shape}, got one on "
                    f"{other.domain_shape}"
                )
        self._sizes = [math.prod(part.range_shape) for part in operators]
        super().__init__(first.domain_shape, (sum(self._sizes),), first.dtype)
        self.operators = nn.ModuleList(operators)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurements (..., n) of each operator, in its own shape."""
        self.check_range(y)
        pieces = torch.split(y, self._sizes, -1)
        return [
            piece.reshape(*y.shape[:-1], *part.range_shape)
            for piece, part in zip(pieces, _parts(self.operators), strict=True)
        ]

    @property
    def observed(self) -> Tensor | None:
        """What each operator observes of its own measurements, see `LinearOperator`."""
        parts = _parts(self.operators)
        if all(part.observed is None for part in parts):
            return None
        return torch.cat([_observed(part).flatten() for part in parts])

    def select(self, index: Tensor) -> "Stack":
        """The operator of the images `index` (n,) of a batch."""
        return Stack([part.select(index) for part in _parts(self.operators)])

    def _matvec(self, x: Tensor) -> Tensor:
        results = ((part, part(x)) for part in _parts(self.operators))
        return torch.cat([y.flatten(-len(part.range_shape)) for part, y in results], -1)

    def _rmatvec(self, y: Tensor) -> Tensor:
        pieces = zip(_parts(self.operators), self.split(y), strict=True)
        return reduce(torch.add, (part.adjoint(piece) for part, piece in pieces))


def _first(operators: Sequence[LinearOperator]) -> LinearOperator:
    if not operators:
        raise UserError("expected at least one operator, got none")
    for other in operators[1:]:
        _check_alike(operators[0], other)
    return operators[0]


def _check_alike(one: LinearOperator, other: LinearOperator) -> None:
    if (one.dtype, one.device) != (other.dtype, other.device):
        raise UserError(
            f"expected operators alike, got {one.dtype} on {one.device} and {other.dtype} on "
            f"{other.device}: convert one with .to(...)"
        )


def _observed(operator: LinearOperator) -> Tensor:
    if operator.observed is not None:
        return operator.observed
    return torch.ones(operator.range_shape, dtype=torch.bool, device=operator.device)


def _parts(operators: nn.ModuleList) -> list[LinearOperator]:
    return [part for part in operators if isinstance(part, LinearOperator)]
