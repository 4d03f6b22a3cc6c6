"""Search directions from grad F(x, t), and the first trial of the line search along them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from gnclightning.problem import Batch, Problem, Ray
from gnclightning.tensors import expand


@dataclass(frozen=True)
class Vector(Batch):
    """A direction whose images under A are not known yet, so that it took no `projections`."""

    direction: Tensor
    projections: Tensor


class Direction(Protocol):
    """Turns grad F(., t) into a direction: first a proposal, then, once chosen, its ray."""

    def propose(self, problem: Problem, gradient: Tensor, t: Tensor) -> Vector | Ray:
        """A proposal for grad F(x,t) = `gradient` (B, ...) at t (B,)."""
        ...

    def ray(self, problem: Problem, proposal: Vector | Ray) -> Ray:
        """The ray of an accepted proposal."""
        ...

    def scale(self, t: Tensor) -> Tensor:
        """Length of the direction in units of the gradient, (B,), for Barzilai-Borwein steps."""
        ...


@dataclass(frozen=True)
class GradientDirection:
    """d = -t grad F(x,t) (Algorithm 1, line 3), or -grad F without the factor.

    Attributes:
        times_t: include the factor t.
    """

    times_t: bool = True

    def propose(self, problem: Problem, gradient: Tensor, t: Tensor) -> Vector:
        """See `Direction`."""
        none = torch.zeros_like(t, dtype=torch.int64)
        return Vector(-expand(self.scale(t), gradient) * gradient, none)

    def ray(self, problem: Problem, proposal: Vector | Ray) -> Ray:
        """See `Direction`."""
        return problem.ray(proposal.direction)

    def scale(self, t: Tensor) -> Tensor:
        """See `Direction`."""
        return t if self.times_t else torch.ones_like(t)


@dataclass(frozen=True)
class PreconditionedDirection:
    """d = -(A*A + rho_t I)^-1 grad F(x,t) by conjugate gradients.

    A symmetric positive definite metric keeps directions gradient-like (Definition 3.1) while it
    removes the conditioning of A*A: step 1 is nearly always accepted.
    """

    def propose(self, problem: Problem, gradient: Tensor, t: Tensor) -> Ray:
        """See `Direction`."""
        return problem.preconditioned_ray(gradient, t)

    def ray(self, problem: Problem, proposal: Vector | Ray) -> Ray:
        """See `Direction`; conjugate gradients gave A d and A* A d on the way."""
        assert isinstance(proposal, Ray)
        return proposal

    def scale(self, t: Tensor) -> Tensor:
        """See `Direction`."""
        return torch.ones_like(t)


class FirstStep(Protocol):
    """Chooses the first trial of a line search.

    Attributes:
        follows_proposal: whether it looks at the proposal at all, which costs some time.
    """

    follows_proposal: ClassVar[bool]

    def __call__(self, proposal: Tensor, last: Tensor, scale: Tensor) -> Tensor:
        """First trial, (B,).

        Args:
            proposal: `barzilai_borwein` step along grad f (B,), NaN where undefined.
            last: the last accepted step (B,); 0 after a failure, NaN before the first.
            scale: length of the direction in units of the gradient (B,).
        """
        ...


@dataclass(frozen=True)
class FixedFirstStep:
    """Always the same first trial."""

    follows_proposal: ClassVar[bool] = False
    value: float = 1.0

    def __call__(self, proposal: Tensor, last: Tensor, scale: Tensor) -> Tensor:
        """See `FirstStep`."""
        return torch.full_like(last, self.value)


SMALLEST_STEP, LARGEST_STEP = 1e-10, 1e10
"""Bounds on the first trial of a line search; a Barzilai-Borwein step can be anything."""


@dataclass(frozen=True)
class BarzilaiBorweinFirstStep:
    """`factor` times the second Barzilai-Borwein step; doubles the last step where undefined.

    Attributes:
        initial: first trial of the first iteration, and after a failure.
        factor: the published experiments take 4.
    """

    follows_proposal: ClassVar[bool] = True
    initial: float = 0.01
    factor: float = 4.0

    def __call__(self, proposal: Tensor, last: Tensor, scale: Tensor) -> Tensor:
        """See `FirstStep`."""
        fallback = torch.where(last > 0, 2 * last, self.initial)
        return torch.where(proposal > 0, self.factor * proposal / scale, fallback)
