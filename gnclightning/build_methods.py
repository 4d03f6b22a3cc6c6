"""From a `ReconstructConfig` to its methods: the solver, also with other weights, and baselines."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from gnclightning.build_baselines import build_baseline
from gnclightning.build_solver import build_alpha, build_discrepancy, build_solver
from gnclightning.config import ReconstructConfig
from gnclightning.config.solver import PreconditionedConfig, SolverConfig
from gnclightning.diagnostics import inspect
from gnclightning.objectives import Alpha, GraduatedObjective
from gnclightning.operators import LinearOperator, weighted
from gnclightning.priors import EnergyPrior, NetworkEnergy, PriorMetadata, ScaledPrior
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.comparisons import OtherSolver
from gnclightning.reconstruction.records import MeasuredBatch, weight_name


def build_baselines(
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkEnergy,
    metadata: PriorMetadata,
    limit: BatchLimit | None = None,
) -> list[methods.Method]:
    """The methods to compare the solver with."""

    def build_other(other: ReconstructConfig) -> methods.GraduatedSolver:
        return build_method(other, operator, prior, metadata)

    return [
        build_baseline(name, config, operator, prior, build_other, limit)
        for name in dict.fromkeys(config.methods)
    ]


def build_sweep(
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkEnergy,
    metadata: PriorMetadata,
    limit: BatchLimit,
) -> list[methods.Method]:
    """The solver with the other weights that are asked for."""

    def build(value: float) -> methods.Method:
        other = replace(config, alpha=replace(config.alpha, value=value, sweep=[]))
        solver = build_method(other, operator, prior, metadata)
        return OtherSolver(replace(solver, name=weight_name(solver.name, value), limit=limit))

    return [build(value) for value in config.alpha.sweep]


def build_method(
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkEnergy,
    metadata: PriorMetadata,
) -> methods.GraduatedSolver:
    """The solver with its objective, and what inspects the prior if that is asked for."""
    solver = config.solver
    regulariser = ScaledPrior(prior, prior.sde) if config.prior.evaluate_at == "scaled" else prior
    alpha = build_alpha(config.alpha, prior, solver, operator)
    full = config.certificate.level == "full"
    return methods.GraduatedSolver(
        name=solver.name,
        solver=build_solver(solver),
        objective=build_objective(solver, operator, regulariser, alpha),
        mean_steps=solver.mean_steps,
        start=methods.random_start if config.start == "random" else methods.direct_start,
        denoise=solver.final_denoising,
        symmetric=metadata.symmetric,
        inspect=(lambda x: inspect(regulariser, x, solver.last_time)) if full else None,
        discrepancy=build_discrepancy(config.alpha, solver),
    )


def build_objective(
    solver: SolverConfig,
    operator: LinearOperator,
    regulariser: EnergyPrior,
    alpha: Callable[[Tensor], Alpha],
) -> Callable[[MeasuredBatch], GraduatedObjective]:
    """What gives a measured batch its objective."""
    more: dict[str, Any] = {}
    if isinstance(solver, PreconditionedConfig):
        more = {"damping": solver.damping, "cg_steps": solver.cg_steps}
    return lambda measured: GraduatedObjective(
        *weighted(operator, measured.y, measured.weights),
        regulariser,
        alpha(measured.sigma_y),
        solver.last_time,
        sigma_y=measured.sigma_y,
        **more,
    )
