"""The variational objective f and its graduated family (arXiv 2404.18699, eqs. 8, 9 and 15).

F(x,t) = 1/2 |A x - y|^2 + alpha_t R(x,t) and f = F(., t_min), per image of a batch.
"""

from collections import deque
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator
from gnclightning.priors import EnergyPrior
from gnclightning.problem import Point, Ray
from gnclightning.sde import SDE
from gnclightning.symmetries import original, version
from gnclightning.tensors import expand, squared_norm, take

_AVERAGED = 8
"""Denoised images that make the posterior mean: one of each flipped and turned version."""


@dataclass(frozen=True)
class Alpha:
    """Regularisation weight alpha_t = scale (nu_t / gamma_t)^power + growth nu_t^2, per image.

    Attributes:
        sde: gives nu_t and gamma_t.
        scale: (B,) or (1,).
        power: 0 constant; 1 the paper's rule (Section 4.2).
        growth: 0 for the paper's rules; or one for each of `scale`.
    """

    sde: SDE
    scale: Tensor
    power: float = 0.0
    growth: float | Tensor = 0.0

    def __call__(self, t: Tensor) -> Tensor:
        """alpha_t, t (B,) -> (B,) float64."""
        value = self.scale.expand(len(t))
        if self.power != 0:
            value = value * self.sde.noise_to_signal(t.double()) ** self.power
        if isinstance(self.growth, Tensor) or self.growth != 0:
            value = value + self.growth * self.sde.std(t.double()) ** 2
        return value

    def select(self, index: Tensor) -> "Alpha":
        """The weights of the images `index`."""
        if len(self.scale) == 1:
            return self
        growth = self.growth[index] if isinstance(self.growth, Tensor) else self.growth
        return replace(self, scale=self.scale[index], growth=growth)

    def scaled(self, factor: Tensor) -> "Alpha":
        """The weights times a factor for each image, (B,) float64."""
        return replace(self, scale=self.scale * factor, growth=self.growth * factor)

    @classmethod
    def constant(cls, sde: SDE, value: float) -> "Alpha":
        """alpha_t = value."""
        return cls(sde, torch.tensor([value], dtype=torch.float64))

    @classmethod
    def noise_scale(cls, sde: SDE, value: float) -> "Alpha":
        """alpha_t = value * nu_t / gamma_t, the paper's rule."""
        return cls(sde, torch.tensor([value], dtype=torch.float64), power=1.0)

    @classmethod
    def from_noise_level(
        cls, sde: SDE, sigma_y: Tensor, t_min: float, gain: float, factor: float = 0.5
    ) -> "Alpha":
        """alpha_t = factor (sigma_y^2 + gain (nu_t^2 - nu_tmin^2)) per image.

        Maximum a posteriori estimation under noise of standard deviation sigma_y (B,) asks for
        factor 1 at t_min. At larger t the image holds noise of level nu_t, which A carries into the
        measurements with the variance gain nu_t^2: they are worth so much less. alpha_t / nu_t^2,
        the curvature of the regulariser, is then at least factor gain (1 - nu_tmin^2 / nu_t^2),
        however exact the measurements are, and directions that A hardly sees follow the smoothing.

        Args:
            sde: gives nu_t.
            sigma_y: standard deviations (B,).
            t_min: f = F(., t_min).
            gain: in units of A*A, see `LinearOperator.mean_gain`.
            factor: alpha_tmin in units of sigma_y^2.
        """
        smallest = float(sde.std(torch.tensor(t_min, dtype=torch.float64))) ** 2
        scale = factor * (sigma_y.double() ** 2 - gain * smallest)
        return cls(sde, scale, growth=factor * gain)


class GraduatedObjective:
    """F(., t) for one measurement per image; implements `problem.Problem`.

    Args:
        operator: A.
        y: measurements (B, ...).
        prior: R(., t) and its gradient.
        alpha: regularisation weight.
        t_min: f = F(., t_min).
        damping: kappa in rho_t = kappa alpha_t c_t, the curvature of alpha_t R that the
            preconditioner assumes; c_t is the prior's, 1/nu_t^2 for -log p_t.
        cg_steps: conjugate-gradient steps of the preconditioner.
        sigma_y: standard deviations of the noise of y (B,), for `posterior_mean` with steps.
    """

    def __init__(
        self,
        operator: LinearOperator,
        y: Tensor,
        prior: EnergyPrior,
        alpha: Alpha,
        t_min: float,
        damping: float = 2.0,
        cg_steps: int = 15,
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
        self.cg_steps = cg_steps
        self.sigma_y = sigma_y

    @property
    def preconditioner_cost(self) -> int:
        """One A and one A* in each step of conjugate gradients."""
        return self.cg_steps

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
        """Evaluate f and grad f at x + step d; the data term is moved, not projected again."""
        s = expand(step, point.x)
        return self._point(
            point.x + s * ray.direction,
            point.residual + expand(step, point.residual) * ray.image,
            point.data_gradient + s * ray.normal,
        )

    def gradient(self, point: Point, t: Tensor) -> Tensor:
        """Grad F(x,t) = A*(Ax-y) + alpha_t grad R(x,t), eq. 12 without its factor -t."""
        score = self.prior.score(point.x, t.to(point.x))
        return point.data_gradient - expand(self.alpha(t), score) * score

    @torch.no_grad()
    def posterior_mean(self, point: Point, symmetric: bool = False, steps: int = 0) -> Tensor:
        """An estimate of the mean of the images given y, like x.

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

        Raises:
            UserError: there are steps, but `sigma_y` is not known.
        """
        t = torch.full_like(point.value, self.t_min)
        x, score = point.x, (point.data_gradient - point.gradient) / expand(self.alpha(t), point.x)
        denoised = self._denoised(x, score, t)
        last = deque[Tensor](maxlen=_AVERAGED)
        for step in range(1, steps + 1):
            x = self._towards_mean(x, denoised, score, t)
            turned = version(x, step) if symmetric else x
            score = self.prior.score(turned, t.to(x))
            score = original(score, step) if symmetric else score
            denoised = self._denoised(x, score, t)
            last.append(denoised)
        return torch.stack(list(last)).mean(0) if steps else denoised

    def _denoised(self, x: Tensor, score: Tensor, t: Tensor) -> Tensor:
        pull = score / expand(self.prior.curvature(t), x)
        return (x + pull) / expand(self.prior.mean_scale(t), x)

    def _towards_mean(self, x: Tensor, denoised: Tensor, score: Tensor, t: Tensor) -> Tensor:
        if self.sigma_y is None:
            raise UserError("posterior_mean: expected sigma_y for its steps, got none: give it")
        variance, scale = self.sigma_y.double() ** 2, expand(self.prior.mean_scale(t), x)
        residual = self.operator(denoised) - self.y
        pull = expand(variance, x) * scale * score
        mismatch = self.operator.adjoint(residual) - pull
        rho = variance * self.prior.curvature(t)
        return x + scale * self._regularised_ray(mismatch, rho).direction

    def ray(self, direction: Tensor) -> Ray:
        """Direction with A d and A* A d."""
        image = self.operator(direction)
        return Ray(direction, image, self.operator.adjoint(image))

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
        for _ in range(self.cg_steps):
            search_image = self.operator(search)
            curvature = squared_norm(search_image) + rho * squared_norm(search)
            step = _safe_divide(square, curvature)
            solution = solution + expand(step, search) * search
            # Measurements may have more dimensions than images.
            image = image + expand(step, search_image) * search_image
            product = self.operator.adjoint(search_image) + expand(rho, search) * search
            residual = residual - expand(step, product) * product
            previous, square = square, squared_norm(residual)
            search = residual + expand(_safe_divide(square, previous), search) * search
        normal = gradient - residual - expand(rho, solution) * solution
        return Ray(-solution, -image, -normal)

    def _point(self, x: Tensor, residual: Tensor, data_gradient: Tensor) -> Point:
        # Rounded to the image's float32, t_min would be another time for alpha.
        t = torch.full((len(x),), self.t_min, dtype=torch.float64, device=x.device)
        weight = self.alpha(t)
        energy, score = self.prior.energy_and_score(x, t.to(x))
        return Point(
            x=x,
            residual=residual,
            data_gradient=data_gradient,
            gradient=data_gradient - expand(weight, score) * score,
            fidelity=0.5 * squared_norm(residual),
            regulariser=weight * energy.double(),
        )


def _safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """A / b, and 0 where b is 0 (an image whose gradient is already zero)."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
