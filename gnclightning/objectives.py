"""The variational objective f and its graduated family (arXiv 2404.18699, eqs. 8, 9 and 15).

F(x,t) = 1/2 |A x - y|^2 + alpha_t R(x,t) and f = F(., t_min), per image of a batch.
"""

from collections import deque
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from gnclightning.alpha import Alpha
from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator
from gnclightning.priors import EnergyPrior, Prior
from gnclightning.problem import Point, Ray
from gnclightning.quadrature import simpson
from gnclightning.symmetries import original, version
from gnclightning.tensors import expand, inner, squared_norm, take

_AVERAGED = 8
"""Denoised images that make the posterior mean: one of each flipped and turned version."""

_MOST_STEPS = 300
"""Of conjugate gradients; in float32 more of them change little."""


class GraduatedObjective:
    """F(., t) for one measurement per image; implements `problem.Problem`.

    Of a prior without an energy only grad R(., t_min) = -score is known. R, here 0 at x_1, is then
    integrated along each move, R(x + s d) - R(x) = -int_0^s <score(x + r d), d> dr, by Simpson's
    rule: as the scores at both ends are gradients that are needed anyway, for one score more.

    Args:
        operator: A.
        y: measurements (B, ...).
        prior: R(., t) and its gradient, or this gradient alone.
        alpha: regularisation weight.
        t_min: f = F(., t_min).
        damping: kappa in rho_t = kappa alpha_t c_t, the curvature of alpha_t R that the
            preconditioner assumes; c_t is the prior's, 1/nu_t^2 for -log p_t.
        cg_steps: conjugate-gradient steps of the preconditioner, at least.
        cg_factor: steps in units of sqrt(1 + |A|^2/rho_t), the square root of the condition number,
            where these are more: their error falls at least by exp(-2 cg_factor) (J. Nocedal,
            S. Wright, Numerical Optimization, eq. 5.36). A tolerance for the residual would need
            fewer, but rounding could decide on one more, and with it the batch.
        sigma_y: standard deviations of the noise of y (B,), for `posterior_mean` with steps.
    """

    def __init__(
        self,
        operator: LinearOperator,
        y: Tensor,
        prior: Prior,
        alpha: Alpha,
        t_min: float,
        damping: float = 2.0,
        cg_steps: int = 15,
        cg_factor: float = 1.5,
        sigma_y: Tensor | None = None,
    ):
        if not t_min > 0:
            raise UserError(f"t_min must be positive, got {t_min}")
        operator.check_range(y)
        if not bool(y.isfinite().all()):
            raise UserError("expected finite measurements y, got NaN or infinite entries")
        if len(alpha.scale) not in (1, len(y)):
            raise UserError(
                f"expected one alpha, or one for each of the {len(y)} images, got "
                f"{len(alpha.scale)}"
            )
        self.operator = operator
        self.y = y
        self.prior = prior
        self.alpha = alpha
        self.t_min = t_min
        self.damping = damping
        self.cg_factor = cg_factor
        self.cg_steps = cg_steps
        self.sigma_y = sigma_y

    @property
    def integrated(self) -> bool:
        """Whether the prior has no energy."""
        return not isinstance(self.prior, EnergyPrior)

    @property
    def move_cost(self) -> int:
        """One at the new iterate; half way to it another one if R is integrated."""
        return 2 if self.integrated else 1

    def select(self, index: Tensor) -> "GraduatedObjective":
        """The objective of the images `index`."""
        part = copy(self)  # what the constructor checked still holds
        part.operator = self.operator.select(index)
        part.y = take(self.y, index)
        part.alpha = self.alpha.select(index)
        part.sigma_y = None if self.sigma_y is None else self.sigma_y[index]
        return part

    def scaled(self, factor: Tensor) -> "GraduatedObjective":
        """The objective with each image's alpha times `factor`, (B,)."""
        part = copy(self)
        part.alpha = self.alpha.scaled(factor)
        return part

    def evaluate(self, x: Tensor) -> Point:
        """Evaluate f and grad f at x (B, ...)."""
        if len(x) != len(self.y):
            raise UserError(f"expected {len(self.y)} images x, as many as y, got {len(x)}")
        residual = self.operator(x) - self.y
        return self._point(x, residual, self.operator.adjoint(residual))

    def move(self, point: Point, ray: Ray, step: Tensor) -> Point:
        """Values and gradients of f at x + step d; the data term is moved, not projected again."""
        s = expand(step, point.x)
        moved = self._point(
            point.x + s * ray.direction,
            point.residual + expand(step, point.residual) * ray.image,
            point.data_gradient + s * ray.normal,
        )
        return self._integrate(point, ray, step, moved) if self.integrated else moved

    def gradient(self, point: Point, t: Tensor) -> Tensor:
        """Grad F(x,t) = A*(Ax-y) + alpha_t grad R(x,t), eq. 12 without its factor -t."""
        score = self.prior.score(point.x, t.to(point.x))
        return point.data_gradient - expand(self.alpha(t), score) * score

    @torch.no_grad()
    def posterior_mean(
        self, point: Point, symmetric: bool = False, steps: int = 0
    ) -> tuple[Tensor, Tensor]:
        """An estimate of the mean of the images given y.

        x, a stationary point of f at best, stands for an image with noise of level t_min. Without
        steps this is the mean D(x) = E[x_0 | x_t = x] of the images that it may come from, by
        Tweedie's formula (x + nu^2 score) / gamma. No evaluation: the point knows grad R.

        f compares A x with y, not A D(x). Each step of the fixed-point iteration

            x <- x - gamma (A*A + sigma_y^2 / nu^2 I)^-1 [A*(A D(x) - y) - sigma_y^2 gamma score(x)]

        mends that, for one evaluation, one A and one A* beside conjugate gradients. For a Gaussian
        prior -gamma score(x) is the gradient of -log p_0 at D(x), so that D of the fixed point is
        E[x_0 | y], whatever t_min; for others it is an approximation. The result is the mean of
        D(x) after each step, of the last eight if there are more.

        With `symmetric`, for images (B, C, H, W) whose flipped and turned versions are as likely,
        each step sees another version. A trained prior treats them a little differently, and the
        result is the mean over these too.

        Returns:
            The mean, like x; and the applications of A and A* that it took, (B,) int64.

        Raises:
            UserError: there are steps, but `sigma_y` is not known.
        """
        t = torch.full_like(point.value, self.t_min)
        x, score = point.x, (point.data_gradient - point.gradient) / expand(self.alpha(t), point.x)
        denoised = self._denoised(x, score, t)
        last = deque[Tensor](maxlen=_AVERAGED)
        projections = torch.zeros_like(t, dtype=torch.int64)
        for step in range(1, steps + 1):
            ray = self._towards_mean(denoised, score, t)
            x = x + expand(self.prior.mean_scale(t), x) * ray.direction
            projections += 2 + ray.projections
            turned = version(x, step) if symmetric else x
            score = self.prior.score(turned, t.to(x))
            score = original(score, step) if symmetric else score
            denoised = self._denoised(x, score, t)
            last.append(denoised)
        return torch.stack(list(last or [denoised])).mean(0), projections

    def _denoised(self, x: Tensor, score: Tensor, t: Tensor) -> Tensor:
        pull = score / expand(self.prior.curvature(t), x)
        return (x + pull) / expand(self.prior.mean_scale(t), x)

    def _towards_mean(self, denoised: Tensor, score: Tensor, t: Tensor) -> Ray:
        if self.sigma_y is None:
            raise UserError("posterior_mean: expected sigma_y for its steps, got none: give it")
        variance, scale = self.sigma_y.double() ** 2, expand(self.prior.mean_scale(t), score)
        residual = self.operator(denoised) - self.y
        pull = expand(variance, score) * scale * score
        rho = variance * self.prior.curvature(t)
        return self._regularised_ray(self.operator.adjoint(residual) - pull, rho)

    def ray(self, direction: Tensor) -> Ray:
        """Direction with A d and A* A d."""
        image = self.operator(direction)
        two = torch.full((len(direction),), 2, device=direction.device)
        return Ray(direction, image, self.operator.adjoint(image), two)

    def preconditioned_ray(self, gradient: Tensor, t: Tensor) -> Ray:
        """D = -p(A*A) grad with p(A*A) near (A*A + rho_t I)^-1, by conjugate gradients from zero.

        The k-th iterate is a polynomial in A*A applied to the gradient, symmetric positive
        definite on the Krylov space, so <grad, d> < 0 whenever grad is not zero.
        """
        return self._regularised_ray(
            gradient, self.damping * self.alpha(t) * self.prior.curvature(t.double())
        )

    def _regularised_ray(self, gradient: Tensor, rho: Tensor) -> Ray:
        solution, residual = torch.zeros_like(gradient), gradient
        search, image = gradient, torch.zeros_like(self.y)
        square = squared_norm(residual)
        steps = self._steps(rho)
        for number in range(int(steps.max())):
            search_image = self.operator(search)
            curvature = squared_norm(search_image) + rho * squared_norm(search)
            # An image that is done stays as it is, so that it does not depend on the others.
            step = torch.where(number < steps, _safe_divide(square, curvature), 0.0)
            solution = solution + expand(step, search) * search
            # Measurements may have more dimensions than images.
            image = image + expand(step, search_image) * search_image
            product = self.operator.adjoint(search_image) + expand(rho, search) * search
            residual = residual - expand(step, product) * product
            previous, square = square, squared_norm(residual)
            search = residual + expand(_safe_divide(square, previous), search) * search
        normal = gradient - residual - expand(rho, solution) * solution
        return Ray(-solution, -image, -normal, 2 * steps)

    def _steps(self, rho: Tensor) -> Tensor:
        root = (1 + self.operator.squared_norm() / rho).sqrt()
        asked = (self.cg_factor * root).ceil().clamp(max=_MOST_STEPS)
        return asked.clamp(min=self.cg_steps).long()

    def _integrate(self, point: Point, ray: Ray, step: Tensor, moved: Point) -> Point:
        """`moved` with the regulariser that the slopes on the way from `point` give it."""
        t = self._last_times(point.x)
        middle = point.x + expand(step / 2, point.x) * ray.direction
        half_way = -self.alpha(t) * inner(self.prior.score(middle, t.to(middle)), ray.direction)
        first, last = (inner(p.gradient - p.data_gradient, ray.direction) for p in (point, moved))
        change = simpson(step, first, half_way, last)
        return replace(moved, regulariser=point.regulariser + change.value, error=change.error)

    def _last_times(self, x: Tensor) -> Tensor:
        # Rounded to the image's float32, t_min would be another time for alpha.
        return torch.full((len(x),), self.t_min, dtype=torch.float64, device=x.device)

    def _point(self, x: Tensor, residual: Tensor, data_gradient: Tensor) -> Point:
        t = self._last_times(x)
        weight, none = self.alpha(t), torch.zeros_like(t)
        if isinstance(self.prior, EnergyPrior):
            energy, score = self.prior.energy_and_score(x, t.to(x))
        else:
            energy, score = none, self.prior.score(x, t.to(x))
        return Point(
            x=x,
            residual=residual,
            data_gradient=data_gradient,
            gradient=data_gradient - expand(weight, score) * score,
            fidelity=0.5 * squared_norm(residual),
            regulariser=weight * energy.double(),
            error=none,
        )


def _safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """A / b, and 0 where b is 0 (an image whose gradient is already zero)."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
