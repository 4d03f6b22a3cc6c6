"""From a `ReconstructConfig` to its methods: the solver, also with other weights, and baselines."""

from dataclasses import replace

from gnclightning.build_baselines import build_baseline
from gnclightning.build_solver import (
    build_alpha,
    build_discrepancy,
    build_objective,
    build_regulariser,
    build_solver,
)
from gnclightning.config import ReconstructConfig
from gnclightning.diagnostics import inspect, inspect_fully
from gnclightning.operators import LinearOperator
from gnclightning.priors import EnergyPrior, NetworkPrior, PriorMetadata
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.comparisons import OtherSolver
from gnclightning.reconstruction.records import weight_name


def build_baselines(
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkPrior,
    metadata: PriorMetadata,
    limit: BatchLimit | None = None,
) -> list[methods.Method]:
    """The methods to compare the solver with."""

    def build_other(other: ReconstructConfig) -> methods.GraduatedSolver:
        return build_method(other, operator, prior, metadata)

    return [
        build_baseline(name, config, operator, prior, metadata.symmetric, build_other, limit)
        for name in dict.fromkeys(config.methods)
    ]


def build_sweep(
    config: ReconstructConfig,
    operator: LinearOperator,
    prior: NetworkPrior,
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
    prior: NetworkPrior,
    metadata: PriorMetadata,
) -> methods.GraduatedSolver:
    """The solver with its objective, and what inspects the prior.

    A score is always asked whether it is a gradient, without which there is no f.
    """
    solver = config.solver
    regulariser = build_regulariser(config.prior.evaluate_at, prior)
    alpha = build_alpha(config.alpha, prior, solver, operator)
    look = inspect_fully if config.certificate.level == "full" else inspect
    inspected = look is inspect_fully or not isinstance(regulariser, EnergyPrior)
    return methods.GraduatedSolver(
        name=solver.name,
        solver=build_solver(solver),
        objective=build_objective(solver, operator, regulariser, alpha),
        mean_steps=solver.steps_towards_mean,
        start=methods.random_start if config.start == "random" else methods.direct_start,
        denoise=solver.final_denoising,
        symmetric=metadata.symmetric,
        inspect=(lambda x: look(regulariser, x, solver.last_time)) if inspected else None,
        discrepancy=build_discrepancy(config.alpha, solver),
    )
