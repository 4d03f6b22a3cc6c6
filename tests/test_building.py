"""What a configuration becomes: measurements, objective, solver, and their random numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.build_measurement import build_geometry, build_images, build_measurements
from gnclightning.build_methods import build_baselines, build_method
from gnclightning.build_reconstruction import build_prior
from gnclightning.build_solver import build_alpha, build_solver
from gnclightning.config import load_reconstruct_config
from gnclightning.config.reconstruct import AlphaConfig, GeometryConfig
from gnclightning.config.solver import GNCFlowConfig, PreconditionedConfig
from gnclightning.data.images import ImageSet
from gnclightning.networks import UNet, UNetConfig
from gnclightning.operators import Mask, Radon, fbp
from gnclightning.priors import NetworkEnergy
from gnclightning.reconstruction.measurement import Stream, image_seed
from gnclightning.reconstruction.methods import (
    TotalVariation,
    direct_start,
    random_start,
)
from gnclightning.sde import VPSDE
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    ConstantStep,
    FixedFirstStep,
    Safeguard,
)
from run_folders import COUNT, arrays, configure, measured, run, table


def noise(batches: list) -> torch.Tensor:
    return torch.cat([b.y for b in batches])


def starts(batches: list) -> torch.Tensor:
    return torch.cat([random_start(b) for b in batches])


class TestRandomness:
    def test_noise_depends_on_its_own_seed_only(self, prior):
        reference = noise(measured(prior))
        for same in ("start_seed=5", "batch_size=1", "solver.name=gnc_flow", "noise.seed=0"):
            torch.testing.assert_close(noise(measured(prior, same)), reference, atol=1e-5, rtol=0)
        for other in ("seed=1", "noise.seed=1"):
            assert (noise(measured(prior, other)) - reference).abs().max() > 0.1

    def test_starts_depend_on_their_own_seed_only(self, prior):
        reference = starts(measured(prior))
        for same in ("noise.seed=5", "batch_size=1", "noise.relative=0.5", "start_seed=0"):
            assert torch.equal(starts(measured(prior, same)), reference)
        for other in ("seed=1", "start_seed=1"):
            assert (starts(measured(prior, other)) - reference).abs().min(0).values.max() > 0.1

    def test_an_image_keeps_its_numbers_among_other_images(self, prior):
        """Phantoms 1 and 2 of a run of three, and of a run that begins with phantom 1."""
        whole, part = measured(prior), measured(prior, "data.start=1", "data.count=2")
        torch.testing.assert_close(noise(part), noise(whole)[1:], atol=1e-5, rtol=0)
        assert torch.equal(starts(part), starts(whole)[1:])

    def test_starts_are_standard_normal(self, prior):
        x = starts(measured(prior)).double()
        assert x.mean().abs() < 4 / x.numel() ** 0.5
        assert abs(x.var() - 1) < 4 * (2 / x.numel()) ** 0.5
        correlation = torch.corrcoef(x.flatten(1)) - torch.eye(COUNT)
        assert correlation.abs().max() < 4 / x[0].numel() ** 0.5

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32), st.integers(0, 2**32))
    def test_streams_differ(self, seed, image, other):
        seeds = {image_seed(seed, stream, n) for stream in Stream for n in (image, other)}
        assert len(seeds) == 2 * len({image, other})
        assert all(0 <= n < 2**64 for n in seeds)


class TestBuilding:
    @pytest.mark.parametrize(
        ("settings", "count", "spacing"),
        [
            ({}, 47, 32 * 2**0.5 / 47),
            ({"detector_count": 30}, 30, 32 * 2**0.5 / 30),
            ({"detector_spacing": 0.5}, 91, 0.5),
            ({"detector_count": 10, "detector_spacing": 2.0}, 10, 2.0),
            ({"pixel_size": 2.0}, 47, 64 * 2**0.5 / 47),
            ({"pixel_size": 2.0, "detector_spacing": 1.0}, 91, 1.0),
        ],
    )
    def test_detector_covers_the_diagonal_unless_told(self, settings, count, spacing):
        images = ImageSet(torch.eye(32)[None, None], ("eye",), (0,))
        geometry = build_geometry(
            GeometryConfig(angles=7, unit="mm", **settings), images.shape, images
        )
        assert (geometry.detector_count, geometry.unit) == (count, "mm")
        assert geometry.detector_spacing == pytest.approx(spacing, rel=1e-12)
        assert len(geometry.angles) == 7

    def test_alpha_rules(self):
        sde, sigma = VPSDE(), torch.tensor([2.0, 3.0], dtype=torch.float64)
        prior = NetworkEnergy(sde, UNet(UNetConfig(channels=8, multipliers=[1], blocks=[1])))
        t = torch.tensor([1e-3, 1e-3], dtype=torch.float64)
        ratio = sde.noise_to_signal(t)
        solver, operator = PreconditionedConfig(t_min=1e-3), Mask(torch.ones(1, 8, 8) > 0)
        added = sde.std(t + 0.5) ** 2 - sde.std(t) ** 2  # the gain of a mask of ones is 1
        for asked, config, gain in (
            (None, solver, 1.0),
            (None, GNCFlowConfig(t_min=1e-3), 5.0),
            (0.25, GNCFlowConfig(t_min=1e-3), 0.25),
        ):
            auto = build_alpha(AlphaConfig(value=0.7, gain=asked), prior, config, operator)(sigma)
            torch.testing.assert_close(auto(t), 0.7 * sigma**2)
            torch.testing.assert_close(auto(t + 0.5), 0.7 * (sigma**2 + gain * added))
        given = AlphaConfig(rule="constant", value=0.7)
        constant = build_alpha(given, prior, solver, operator)(sigma)
        torch.testing.assert_close(constant(t), torch.full_like(t, 0.7))
        given = AlphaConfig(rule="noise_scale", value=0.7)
        scaled = build_alpha(given, prior, solver, operator)(sigma)
        torch.testing.assert_close(scaled(t), 0.7 * ratio)

    def test_solver_settings_arrive(self):
        overrides = ["solver.nonmonotone=2", "solver.gradient_tolerance=0.1", "solver.t_max=0.5"]
        line = ["solver.armijo=0.2", "solver.shrink=0.3", "solver.max_trials=4"]
        config = load_reconstruct_config(None, [*overrides, *line, "solver.schedule=linear"])
        solver = build_solver(config.solver)
        assert (solver.memory, solver.tolerance, solver.steps) == (3, 0.1, 10)
        assert solver.search == Armijo(0.2, 0.3, 4)
        expected = torch.linspace(0.5, config.solver.t_min, 10, dtype=torch.float64)
        torch.testing.assert_close(solver.schedule, expected)

    def test_first_steps_and_the_start_of_the_condition_arrive(self):
        settings = ["solver.first_step=0.3", "solver.barzilai_borwein=2.5"]
        for name in ("gnc_flow", "gradient_like", "gradient_descent"):
            config = load_reconstruct_config(None, [f"solver.name={name}", *settings])
            assert build_solver(config.solver).first_step == BarzilaiBorweinFirstStep(0.3, 2.5)
        config = load_reconstruct_config(None, ["solver.first_step=0.3", "solver.descent_from=7"])
        solver = build_solver(config.solver)
        assert solver.first_step == FixedFirstStep(0.3)
        assert solver.descent_from == 7

    def test_settings_of_methods_arrive(self, prior, tmp_path):
        baselines = ["fbp.filter=shepp-logan", "tv.weight=0.25", "tv.iterations=9"]
        metric = ["solver.cg_steps=3", "solver.damping=2.5", "start=fbp"]
        config = configure(prior, tmp_path, *baselines, *metric)
        images = build_images(config)
        operator = Radon(build_geometry(config.geometry, images.shape, images))
        parts = build_prior(config, images)
        direct, tv = build_baselines(config, operator, *parts)
        (batch,) = build_measurements(config, images, operator).batches(8)
        expected = fbp(batch.y, operator.geometry, "shepp-logan")
        assert torch.equal(direct.of(batch.y), expected)
        assert torch.equal(batch.direct, expected)
        assert tv == TotalVariation(operator, 20, 0.25, 9)
        solver = build_method(config, operator, *parts)
        assert solver.start is direct_start
        objective = solver.objective(batch)
        assert (objective.cg_steps, objective.damping) == (3, 2.5)

    def test_constant_steps(self):
        overrides = ["solver.name=gnc_flow", "solver.step_rule=constant"]
        solver = build_solver(load_reconstruct_config(None, overrides).solver)
        assert solver.search == ConstantStep()
        assert solver.first_step == FixedFirstStep(5e-4)

    def test_final_steps_and_safeguard_arrive(self):
        overrides = ["solver.steps=10", "solver.final_steps=4", "solver.t_min=1e-3"]
        safeguard = ["solver.kappa_1=0.01", "solver.kappa_2=7"]
        config = load_reconstruct_config(None, [*overrides, *safeguard])
        solver = build_solver(config.solver)
        assert (solver.steps, len(solver.schedule), solver.schedule[-1]) == (10, 7, 1e-3)
        assert solver.safeguard == Safeguard(0.01, 7)

    def test_scaled_prior_is_evaluated_at_the_scaled_image(self, prior, tmp_path):
        config = configure(prior, tmp_path, "prior.evaluate_at=scaled", "solver.t_min=0.1")
        images = build_images(config)
        energy, metadata = build_prior(config, images)
        operator = Radon(build_geometry(config.geometry, images.shape, images))
        (batch,) = build_measurements(config, images, operator).batches(8)
        solver = build_method(config, operator, energy, metadata)
        objective = solver.objective(batch)
        gamma = float(energy.sde.mean_scale(torch.tensor([0.1])))
        found = objective.evaluate(batch.truth).regulariser
        t = torch.full((COUNT,), 0.1)
        expected = AlphaConfig().weight * batch.sigma_y**2 * energy.energy(gamma * batch.truth, t)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        unscaled = AlphaConfig().weight * batch.sigma_y**2 * energy.energy(batch.truth, t)
        assert (found / unscaled - 1).abs().min() > 1e-3


@pytest.mark.parametrize("solver", ["preconditioned", "gradient_like"])
@pytest.mark.parametrize("noise", [1.0, None])
def test_a_run_does_not_depend_on_the_unit_of_length(solver, noise, prior, tmp_path):
    """Reconstructions and traces are the same; sinograms and their noise are in the unit asked."""
    found = []
    for size, unit in ((1.0, "pixel"), (100.0, "um")):
        path = tmp_path / unit
        level = [] if noise is None else [f"noise.absolute={noise * size}"]
        lengths = [f"geometry.pixel_size={size}", f"geometry.unit={unit}"]
        run(prior, path, f"solver.name={solver}", *lengths, *level)
        found.append((arrays(path), table(path / "trace.csv")))
    (pixels, trace), (micrometres, other) = found
    for name in ("fbp", "tv", solver):
        np.testing.assert_allclose(micrometres[name], pixels[name], rtol=0, atol=1e-4)
    np.testing.assert_allclose(micrometres["sinogram"], 100 * pixels["sinogram"], rtol=1e-4)
    objectives = [[float(row["objective"]) for row in rows] for rows in (trace, other)]
    np.testing.assert_allclose(*objectives, rtol=1e-4)
