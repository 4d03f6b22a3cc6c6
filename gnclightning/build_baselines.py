"""From a `ReconstructConfig` to the methods to compare the solver with."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from gnclightning import baselines
from gnclightning.baselines import Denoiser, Reconstructed
from gnclightning.build_operator import build_direct, column_gain
from gnclightning.config import ReconstructConfig
from gnclightning.config.baselines import Compared, OnObjectiveConfig
from gnclightning.config.operator import ProjectionConfig
from gnclightning.config.sections import Section
from gnclightning.config.solver import GradientDescentConfig
from gnclightning.errors import UserError
from gnclightning.operators import LinearOperator, weighted
from gnclightning.priors import NetworkEnergy, NetworkPrior
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.checks import check_times
from gnclightning.reconstruction.comparisons import AcceleratedDescent, Comparison, OtherSolver
from gnclightning.reconstruction.records import MeasuredBatch


def build_baseline(
    name: Compared,
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkPrior,
    symmetric: bool,
    build_solver: Callable[[ReconstructConfig], methods.GraduatedSolver],
    limit: BatchLimit | None,
) -> methods.Method:
    """A method of `config.methods`.

    Args:
        name: of the method.
        config: the settings.
        operator: A.
        prior: for the methods that use one.
        symmetric: whether flipped and turned images are as likely to it.
        build_solver: from settings to their solver.
        limit: how many images see the network at once; None: all.
    """
    match name:
        case "fbp" | "direct":
            return build_direct(config, operator)
        case "tv":
            tv, gain = config.tv, column_gain(operator)
            return methods.TotalVariation(operator, gain, tv.weight, tv.iterations, tv.factor)
        case "tikhonov":
            return _tikhonov(config, operator)
        case "nmapg":
            nmapg = config.nmapg
            solver = build_solver(_on_objective(name, config, nmapg, prior))
            return AcceleratedDescent(solver, nmapg.steps, nmapg.step_size, limit)
        case "gradient_descent":
            solver = build_solver(_on_objective(name, config, config.gradient_descent, prior))
            return OtherSolver(replace(solver, limit=limit))
        case _:
            denoiser = Denoiser(prior, prior.sde)
            return _with_denoiser(name, config, operator, denoiser, symmetric, limit)


def check_baselines(config: ReconstructConfig, prior: NetworkPrior) -> None:
    """Without noise, the noise level gives total variation and Tikhonov no weight.

    Nor is there a posterior with a density to draw from. nmAPG compares f at points that no ray
    connects, and needs a prior with an energy.

    Raises:
        UserError: they are asked for all the same.
    """
    if "nmapg" in config.methods and not isinstance(prior, NetworkEnergy):
        raise UserError(
            f"expected a prior with an energy for nmapg, got {config.prior.path} with the "
            f"parametrisation {prior.parametrisation}: leave nmapg out of methods, or name an "
            "energy with prior.path"
        )
    if config.noise.level != 0:
        return
    direct = "fbp" if isinstance(config.operator, ProjectionConfig) else "direct"
    if "tv" in config.methods and config.tv.weight is None:
        raise UserError(
            "tv.weight=null derives the weight from the noise level, which is 0: give "
            f"tv.weight=NUMBER, or leave tv out with methods=[{direct}]"
        )
    if "tikhonov" in config.methods:
        raise UserError(
            "tikhonov.weight is in units of the noise level, which is 0: leave tikhonov out of "
            "methods"
        )
    if "langevin" in config.methods:
        raise UserError(
            "langevin draws from the posterior of noisy measurements, but the noise level is 0: "
            "leave langevin out of methods"
        )


def _tikhonov(config: ReconstructConfig, operator: LinearOperator) -> Comparison:
    weight, steps = config.tikhonov.weight, config.tikhonov.steps

    def reconstruct(measured: MeasuredBatch) -> Reconstructed:
        weights = weight * measured.sigma_y.double() ** 2
        return baselines.tikhonov(*_data(operator, measured), weights, steps)

    return Comparison("tikhonov", reconstruct, steps)


def _with_denoiser(
    name: Compared,
    config: ReconstructConfig,
    operator: LinearOperator,
    denoiser: Denoiser,
    symmetric: bool,
    limit: BatchLimit | None,
) -> Comparison:
    """A method with the prior as denoiser.

    Samplers draw their noise from the seeds of the random starts, so that they begin with the
    noise that is the solver's start.
    """
    section: Section = getattr(config, name)
    settings: dict[str, Any] = asdict(section)

    def reconstruct(measured: MeasuredBatch) -> Reconstructed:
        a, y = _data(operator, measured)
        sigma, seeds = measured.sigma_y, measured.start_seeds
        match name:
            case "plug_and_play":
                more = {**settings, "symmetric": symmetric}
                return baselines.plug_and_play(denoiser, a, y, sigma, measured.direct, **more)
            case "diffpir":
                return baselines.diffpir(denoiser, a, y, sigma, seeds, **settings)
            case "dds":
                return baselines.dds(denoiser, a, y, seeds, **settings)
            case "dps":
                return baselines.dps(denoiser, a, y, seeds, **settings)
            case "langevin":
                more = {**settings, "symmetric": symmetric}
                return baselines.langevin(denoiser, a, y, sigma, seeds, **more)
            case _:
                raise AssertionError(name)

    return Comparison(name, reconstruct, settings["steps"], limit)


def _data(operator: LinearOperator, measured: MeasuredBatch) -> tuple[LinearOperator, Tensor]:
    return weighted(operator, measured.y, measured.weights)


def _on_objective(
    name: Compared, config: ReconstructConfig, section: OnObjectiveConfig, prior: NetworkPrior
) -> ReconstructConfig:
    """The settings of gradient descent on the solver's f, whose weight follows the noise level."""
    solver, alpha = config.solver, config.alpha
    t_min = section.t_min or solver.last_time
    check_times(prior.sde, config.prior.path, {f"{name}.t_min": t_min})
    if alpha.rule == "discrepancy":
        alpha = replace(alpha, rule="auto")
    return replace(
        config,
        methods=[],
        alpha=alpha,
        solver=GradientDescentConfig(
            steps=section.steps,
            t_min=t_min,
            final_denoising=solver.final_denoising,
            mean_steps=solver.mean_steps,
        ),
    )
