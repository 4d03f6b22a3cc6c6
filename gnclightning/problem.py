"""What a solver asks of a problem: f = F(., t_min), its family F(., t), and moves along a ray.

Everything is per image: values, slopes and step sizes have shape (B,), float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from gnclightning.tensors import inner, squared_norm, take, where


@dataclass(frozen=True)
class Batch:
    """Base of dataclasses whose tensors all start with the batch dimension."""

    def select(self, index: Tensor) -> Self:
        """The rows `index` (n,) of every tensor."""
        return self._map(lambda value: take(value, index))

    def merge(self, index: Tensor, part: Self) -> Self:
        """A copy in which rows `index` come from `part`, all others bit for bit from self."""
        changes: dict[str, Any] = {}
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(part, entry.name)
            if isinstance(mine, Tensor):
                # A clone keeps the memory layout, which `index_copy` would make contiguous.
                changes[entry.name] = mine.clone().index_copy_(0, index, theirs)
            elif isinstance(mine, Batch):
                changes[entry.name] = mine.merge(index, theirs)
            else:
                changes[entry.name] = theirs
        return type(self)(**changes)

    def where(self, mask: Tensor, other: Self) -> Self:
        """Per image: self where `mask` (B,) holds, `other` elsewhere, bit for bit."""
        changes: dict[str, Any] = {}
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(mine, Tensor):
                changes[entry.name] = where(mask, mine, theirs)
            elif isinstance(mine, Batch):
                changes[entry.name] = mine.where(mask, theirs)
            else:
                changes[entry.name] = mine
        return type(self)(**changes)

    def write(self, index: Tensor, part: Self) -> None:
        """Put `part` in place of rows `index`, for the owner of all tensors; see `merge`."""
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(part, entry.name)
            if isinstance(mine, Batch):
                mine.write(index, theirs)
            elif isinstance(mine, Tensor):
                mine.index_copy_(0, index, theirs)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one after the other."""
        changes: dict[str, Any] = {}
        for entry in fields(cls):
            values = [getattr(part, entry.name) for part in parts]
            if isinstance(values[0], Tensor):
                changes[entry.name] = torch.cat(values)
            elif isinstance(values[0], Batch):
                changes[entry.name] = type(values[0]).join(values)
            else:
                changes[entry.name] = values[0]
        return cls(**changes)

    def _map(self, function: Any) -> Self:
        changes: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                changes[entry.name] = function(value)
            elif isinstance(value, Batch):
                changes[entry.name] = value._map(function)
            else:
                changes[entry.name] = value
        return type(self)(**changes)


@dataclass(frozen=True)
class Point(Batch):
    """An iterate with all that is known of f there; nothing of it is ever computed again.

    Attributes:
        x: images (B, ...).
        residual: A x - y.
        data_gradient: A* (A x - y), like `x`; shared by f and every F(., t).
        gradient: grad f(x), like `x`.
        fidelity: 1/2 |A x - y|^2, (B,).
        regulariser: alpha_tmin R(x, t_min), (B,); up to a constant where f is integrated.
        error: estimated error of the change of f by the move that led here, (B,); 0 where f is
            evaluated, and at a start.
    """

    x: Tensor
    residual: Tensor
    data_gradient: Tensor
    gradient: Tensor
    fidelity: Tensor
    regulariser: Tensor
    error: Tensor

    @property
    def value(self) -> Tensor:
        """f(x), (B,)."""
        return self.fidelity + self.regulariser


@dataclass(frozen=True)
class Ray(Batch):
    """A direction d with A d and A* A d: the data term along x + s d needs no further projection.

    Attributes:
        direction: d, like x.
        image: A d, like y.
        normal: A* A d, like x.
        projections: applications of A and A* that it took, (B,) int64.
    """

    direction: Tensor
    image: Tensor
    normal: Tensor
    projections: Tensor

    def scaled(self, factor: Tensor) -> "Ray":
        """The ray of `factor` d; `factor` broadcasts against the images (a scalar, say)."""
        return replace(
            self,
            direction=self.direction * factor,
            image=self.image * factor,
            normal=self.normal * factor,
        )


class Problem(Protocol):
    """A linear inverse problem with a graduated prior, for a batch of images.

    Every method's cost is stated in prior evaluations (one forward and one backward pass, without
    an energy only the former) and in applications of A and A*.
    """

    t_min: float

    @property
    def integrated(self) -> bool:
        """Whether f is integrated from its gradient along the moves, for want of an energy.

        Values can then be compared only if moves lead from one to the other.
        """
        ...

    @property
    def move_cost(self) -> int:
        """Prior evaluations in one `move`."""
        ...

    def evaluate(self, x: Tensor) -> Point:
        """Evaluate f and grad f at x: one prior evaluation, one A, one A*."""
        ...

    def gradient(self, point: Point, t: Tensor) -> Tensor:
        """Grad_x F(x, t), t (B,): one prior evaluation."""
        ...

    def ray(self, direction: Tensor) -> Ray:
        """Prepare moves along `direction`: one A, one A*."""
        ...

    def preconditioned_ray(self, gradient: Tensor, t: Tensor) -> Ray:
        """The ray of -(A*A + rho_t I)^-1 gradient, approximately.

        The approximation must be a symmetric positive definite operator applied to the gradient,
        and in the span of what its images under A are known for.
        """
        ...

    def move(self, point: Point, ray: Ray, step: Tensor) -> Point:
        """Values and gradients of f at x + step d, step (B,): `move_cost` prior evaluations."""
        ...

    def select(self, index: Tensor) -> "Problem":
        """The problem of the images `index` (n,) alone."""
        ...


def barzilai_borwein(old: Point, new: Point) -> Tensor:
    """<s, y> / <y, y> with s = x_new - x_old, y = grad f(x_new) - grad f(x_old), (B,).

    NaN where it is not positive and finite: f is not convex along s, or nothing moved.
    """
    change = new.gradient - old.gradient
    step = inner(new.x - old.x, change) / squared_norm(change)
    return torch.where((step > 0) & step.isfinite(), step, torch.nan)


def positions(mask: Tensor) -> Tensor:
    """Indices at which `mask` (B,) holds, (n,). Waits for the device."""
    return torch.nonzero(mask, as_tuple=True)[0]


def first_true(mask: Tensor) -> tuple[Tensor, Tensor]:
    """In each row of `mask` (n, w) the first place that holds, or the last if none does.

    Returns:
        The places within the flattened mask (n,), and whether any holds, (n,) bool.
    """
    count, width = mask.shape
    found = mask.any(1)
    place = torch.where(found, mask.int().argmax(1), width - 1)
    return place + torch.arange(0, count * width, width, device=mask.device), found
