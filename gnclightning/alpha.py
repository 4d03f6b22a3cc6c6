"""Rules for alpha_t, the weight of the regulariser: the paper's, and one from the noise level."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnclightning.sde import SDE


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
