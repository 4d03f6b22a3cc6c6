"""Checks of what theory assumes of the objective and the prior, at a point: measured, not proved.

Costs are stated in prior evaluations (one forward and one backward pass) of one image.
Where there is no energy, R is what the integral of the score would make of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.priors import EnergyPrior, Prior
from gnclightning.problem import Problem
from gnclightning.solvers import log_schedule
from gnclightning.tensors import expand, inner, norm

_STEPS = (3e-3, 1e-3, 3e-4, 1e-4)
"""Relative lengths of finite differences: long ones bend, short ones drown in rounding."""

DATA_TOLERANCE, PRIOR_TOLERANCE = 1e-4, 1e-2
"""Relative errors that float32 explains: the data term is quadratic, a network is anything."""

_ROUNDING = 1e-4
"""grad R is what is left of grad f without the data term's part: this share of that part drowns.
A hundredth of it, the tolerance of the prior, is some ten times the rounding of float32."""

_BREAKDOWN = 1e-5
"""Part of the spectrum below which a Lanczos vector is rounding, of float32 products too."""


@dataclass(frozen=True)
class GradientMismatch:
    """Relative differences between gradients and finite differences, (B,) each.

    Attributes:
        fidelity: of 1/2 |A x - y|^2.
        regulariser: of alpha_tmin R(x, t_min).
    """

    fidelity: Tensor
    regulariser: Tensor


def gradient_mismatch(problem: Problem, x: Tensor, seed: int = 0) -> GradientMismatch:
    """Test grad f by finite differences of f at x.

    Data term and regulariser are tested apart, as the larger would hide the smaller, along equal
    parts of the gradient of each and of white noise. Of the step lengths that one counts at which
    the difference quotient changes least. 1 prior evaluation and 8 moves: f is taken as line
    searches see it, so that a regulariser that is integrated is compared with its integrand.

    Args:
        problem: whose f is tested, with its operator, noise, prior, device and precision.
        x: images (B, ...).
        seed: of the white noise.
    """
    point = problem.evaluate(x)
    gradients = (point.data_gradient, point.gradient - point.data_gradient)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    direction = _unit(_unit(gradients[0]) + _unit(gradients[1]) + _unit(noise))
    ray, quotients = problem.ray(direction), list[Tensor]()
    for step in _STEPS:
        length = step * norm(x).clamp(min=1.0)
        above, below = (problem.move(point, ray, end) for end in (length, -length))
        rise = (above.fidelity - below.fidelity, above.regulariser - below.regulariser)
        quotients.append(torch.stack(rise) / (2 * length))
    quotient = torch.stack(quotients)
    steadiest = quotient.diff(dim=0).abs().nan_to_num(nan=torch.inf).argmin(0, keepdim=True)
    found = quotient[1:].gather(0, steadiest)[0]
    slope = torch.stack([inner(gradient, direction) for gradient in gradients])
    size = torch.stack([norm(gradient) for gradient in gradients])
    size[1] = torch.maximum(size[1], _ROUNDING * size[0])
    errors = (found - slope).abs() / size.clamp(min=torch.finfo(size.dtype).tiny)
    return GradientMismatch(*errors.nan_to_num(nan=torch.inf))


def check_gradient(problem: Problem, x: Tensor) -> GradientMismatch:
    """Raise `UserError` where grad f is not the gradient of f; what `gradient_mismatch` found.

    A line search, and with it every certificate, would be about another function.
    """
    found = gradient_mismatch(problem, x)
    cause = "the score is smooth" if problem.integrated else "the score is the energy's gradient"
    terms = (
        ("data term", found.fidelity, DATA_TOLERANCE, "the operator's adjoint is its transpose"),
        ("regulariser", found.regulariser, PRIOR_TOLERANCE, cause),
    )
    for name, errors, tolerance, cause in terms:
        worst = float(errors.max())
        if not worst <= tolerance:
            raise UserError(
                f"expected the gradient of the {name} to agree with finite differences within "
                f"{tolerance:.2%}, got a difference of {worst:.2g}: check that {cause}, and that "
                "the precision is float32 or better"
            )
    return found


def asymmetry(prior: Prior, x: Tensor, t: Tensor, seed: int = 0) -> Tensor:
    """|(J - J^T) v| / |J v| for the Jacobian J of the score and a random v, (B,).

    0 (rounding) where the score is a gradient, as every energy's is: the field is conservative.
    """
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    with torch.enable_grad():
        pushed, transposed = _Jacobian(prior, x, t).products(v)
    return norm(pushed - transposed) / norm(pushed)


@dataclass(frozen=True)
class Curvature:
    """Extreme curvatures of R(., t) at a point, (B,) each: Ritz values, so bounds from inside."""

    smallest: Tensor
    largest: Tensor


def curvature(prior: Prior, x: Tensor, t: Tensor, steps: int = 20, seed: int = 0) -> Curvature:
    """Smallest and largest eigenvalue of the Hessian of R(., t) at x by Lanczos' method.

    Without an energy, of the symmetric part of -J, J the Jacobian of the score: all that <v, -J v>,
    the curvature along v, depends on.

    Args:
        prior: R.
        x: images (B, ...).
        t: times (B,).
        steps: Hessian-vector products; each costs about two prior evaluations of an energy.
        seed: of the first vector.
    """
    with torch.enable_grad():
        jacobian, symmetric = _Jacobian(prior, x, t), isinstance(prior, EnergyPrior)

        def hessian(v: Tensor) -> Tensor:
            if symmetric:
                return -jacobian.transposed(v.to(x)).double()
            pushed, transposed = jacobian.products(v.to(x))
            return -(pushed + transposed).double() / 2

        first = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        ritz = _lanczos(hessian, first.to(x).double(), min(steps, x[0].numel()))
    return Curvature(ritz[:, 0], ritz[:, -1])


def convex_from(prior: Prior, x: Tensor, times: Sequence[float], steps: int = 20) -> Tensor:
    """The smallest of `times` from which on R(., t) was seen convex at x, NaN if none; (B,).

    Convex as far as `curvature` sees: no eigenvalue below -1e-3 of the largest.
    """
    found = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    convex = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for time in sorted(times, reverse=True):
        bounds = curvature(prior, x, torch.full((len(x),), time).to(x), steps)
        convex &= bounds.smallest >= -1e-3 * bounds.largest
        found = torch.where(convex, time, found)
    return found


@dataclass(frozen=True)
class Inspection:
    """Whether the prior's score is a gradient at the end of a run.

    Attributes:
        asymmetry: see `asymmetry`, at t_min, (B,).
    """

    asymmetry: Tensor


@dataclass(frozen=True)
class FullInspection(Inspection):
    """What else the prior is like there, (B,) each.

    Attributes:
        smallest_curvature: of R(., t_min), see `curvature`.
        largest_curvature: likewise.
        convex_from: see `convex_from`.
    """

    smallest_curvature: Tensor
    largest_curvature: Tensor
    convex_from: Tensor


def inspect(prior: Prior, x: Tensor, t_min: float) -> Inspection:
    """Ask whether the score at the images x (B, ...) is a gradient: some 4 prior evaluations."""
    return Inspection(asymmetry(prior, x, torch.full((len(x),), t_min).to(x)))


def inspect_fully(
    prior: Prior, x: Tensor, t_min: float, t_max: float = 1.0, times: int = 8
) -> FullInspection:
    """Inspect a prior at the images x (B, ...), at `times` log-spaced times from t_max to t_min.

    About 40 prior evaluations per time, of a prior without an energy some 100.
    """
    t = torch.full((len(x),), t_min).to(x)
    bounds = curvature(prior, x, t)
    return FullInspection(
        asymmetry=asymmetry(prior, x, t),
        smallest_curvature=bounds.smallest,
        largest_curvature=bounds.largest,
        convex_from=convex_from(prior, x, log_schedule(t_max, t_min, times).tolist()),
    )


class _Jacobian:
    """J of the score at x, where gradients are enabled, as products with vectors (B, ...)."""

    def __init__(self, prior: Prior, x: Tensor, t: Tensor):
        self._x = x.detach().clone().requires_grad_()
        self._score = prior.score(self._x, t.to(x))

    def transposed(self, v: Tensor) -> Tensor:
        """J^T v, by reverse mode."""
        return torch.autograd.grad(self._score, self._x, v, retain_graph=True)[0]

    def products(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """J v and J^T v; the former by reverse mode twice."""
        dual = torch.zeros_like(self._score, requires_grad=True)
        (pulled,) = torch.autograd.grad(self._score, self._x, dual, create_graph=True)
        (pushed,) = torch.autograd.grad(pulled, dual, v)
        return pushed, self.transposed(v)


def _lanczos(multiply: Callable[[Tensor], Tensor], first: Tensor, steps: int) -> Tensor:
    """Ritz values (B, steps), ascending, with full reorthogonalisation.

    Where the Krylov space ends early, the remaining values repeat the first Rayleigh quotient.
    """
    vector = _unit(first)
    basis, diagonal, off = [vector], [], []
    going, scale = torch.ones(len(first), dtype=torch.bool, device=first.device), 0.0
    for _ in range(steps):
        product = multiply(basis[-1])
        quotient = inner(product, basis[-1])
        diagonal.append(torch.where(going, quotient, diagonal[0] if diagonal else quotient))
        scale = torch.maximum(norm(product), torch.as_tensor(scale).to(quotient))
        for _ in range(2):
            for known in basis:
                product = product - expand(inner(product, known), product) * known
        size = norm(product)
        going &= size > _BREAKDOWN * scale
        off.append(torch.where(going, size, 0.0))
        basis.append(product / expand(size.clamp(min=torch.finfo(size.dtype).tiny), product))
    tridiagonal = torch.diag_embed(torch.stack(diagonal, dim=1))
    if steps > 1:
        beside = torch.stack(off[:-1], dim=1)
        tridiagonal = (
            tridiagonal + torch.diag_embed(beside, offset=1) + torch.diag_embed(beside, offset=-1)
        )
    return torch.linalg.eigvalsh(tridiagonal)


def _unit(x: Tensor) -> Tensor:
    """X / |x| per image."""
    size = norm(x)
    return x / expand(torch.where(size > 0, size, 1.0), x)
