"""The methods of docs/baselines.md in a run: settings, costs, seeds, weights, batches."""

import inspect
from dataclasses import asdict, replace
from itertools import pairwise
from typing import get_args

import pytest
import torch

from gnclightning import baselines
from gnclightning.build_measurement import build_geometry, build_images
from gnclightning.build_methods import build_baselines, build_method
from gnclightning.build_reconstruction import build_prior
from gnclightning.config import load_reconstruct_config
from gnclightning.config.baselines import Compared
from gnclightning.config.reconstruct import ReconstructConfig
from gnclightning.config.sections import Section
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import NetworkEnergy
from gnclightning.reconstruction.batch_size import BatchLimit
from gnclightning.reconstruction.encoding import from_bytes, to_bytes
from gnclightning.reconstruction.methods import Outcome
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.reconstruction.runner import Observer
from gnclightning.reconstruction.runner import run as run_batches
from run_folders import configure, measured, refused_in_one_line, run, settings, table

NAMES = [name for name in get_args(Compared) if name != "direct"]
ITERATED = [name for name in NAMES if name != "fbp"]
SAMPLERS = ["diffpir", "dds", "dps", "langevin"]
SHORT = (
    "tv.iterations=200",
    "tikhonov.steps=5",
    "plug_and_play.steps=3",
    "plug_and_play.cg_steps=3",
    "plug_and_play.averaged=1",
    "diffpir.steps=3",
    "diffpir.cg_steps=3",
    "dds.steps=3",
    "dps.steps=3",
    "langevin.steps=3",
    "langevin.cg_steps=3",
    "nmapg.steps=3",
    "gradient_descent.steps=3",
)

every_method = pytest.mark.parametrize("name", ITERATED)


@pytest.fixture(scope="module")
def batch(prior) -> MeasuredBatch:
    return measured(prior)[0]


def method(prior, tmp_path, name, *more, limit=None):
    config = configure(prior, tmp_path, f"methods=[{name}]", *SHORT, *more)
    images = build_images(config)
    operator = Radon(build_geometry(config.geometry, images.shape, images))
    (found,) = build_baselines(config, operator, *build_prior(config, images), limit)
    return found


def apply(found, batch: MeasuredBatch) -> Outcome:
    def fail(step: object) -> None:
        raise AssertionError("a comparison has no trace")

    return found(batch, fail)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


class Counts:
    """Applications of A and A*, and evaluations of the network."""

    def __init__(self, monkeypatch):
        self.operator = self.network = 0
        for name in ("_matvec", "_rmatvec"):
            monkeypatch.setattr(Radon, name, self._counted(getattr(Radon, name), "operator"))
        evaluate = NetworkEnergy.energy_and_score
        monkeypatch.setattr(NetworkEnergy, "energy_and_score", self._counted(evaluate, "network"))

    def _counted(self, function, name):
        def counted(*arguments):
            setattr(self, name, getattr(self, name) + 1)
            return function(*arguments)

        return counted


@every_method
def test_costs_are_those_of_the_work(name, prior, tmp_path, batch, monkeypatch):
    found = method(prior, tmp_path, name)
    operator = Radon(build_geometry(configure(prior, tmp_path).geometry, (32, 32), None))
    norm, gain = operator.norm(), operator.mean_gain()
    monkeypatch.setattr(Radon, "norm", lambda self: norm)  # of a run, not of an image
    monkeypatch.setattr(Radon, "mean_gain", lambda self: gain)
    one = batch.part(slice(1, 2))
    counts = Counts(monkeypatch)
    outcome = apply(found, one)
    network, projections = int(outcome.network_evaluations), int(outcome.operator_evaluations)
    if name == "dps":
        assert network == 2 * 3  # the gradient through an evaluation counts as another
        network -= 3
    if name == "tv":
        projections += 2  # its first iterate and the objective of its last
    assert (counts.network, counts.operator) == (network, projections)
    assert (network > 0) == (name not in ("tv", "tikhonov"))


@every_method
def test_a_batch_is_its_images_one_by_one(name, prior, tmp_path, batch):
    found = method(prior, tmp_path, name)
    together = apply(found, batch)
    limited = apply(method(prior, tmp_path, name, limit=BatchLimit(2)), batch)
    alone = [apply(found, batch.part(slice(n, n + 1))) for n in range(3)]
    for other in (limited.x, torch.cat([each.x for each in alone])):
        close(other, together.x)
    assert limited.network_evaluations.tolist() == together.network_evaluations.tolist()
    assert [int(each.network_evaluations) for each in alone] == (
        together.network_evaluations.tolist()
    )


@every_method
def test_rays_without_weight_do_not_matter(name, prior, tmp_path, batch):
    found = method(prior, tmp_path, name)
    ones = torch.ones_like(batch.y)
    close(apply(found, replace(batch, weights=ones)).x, apply(found, batch).x)
    weights = ones.clone()
    weights[..., ::2, :] = 0
    kept = apply(found, replace(batch, weights=weights))
    spoilt = torch.where(weights > 0, batch.y, 100.0)
    assert torch.equal(apply(found, replace(batch, y=spoilt, weights=weights)).x, kept.x)
    assert (kept.x - apply(found, batch).x).abs().max() > 1e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_seeds_are_those_of_the_images(name, prior, tmp_path, batch):
    found = method(prior, tmp_path, name)
    reference = apply(found, batch).x
    assert torch.equal(apply(found, batch).x, reference)
    first, *others = batch.start_seeds
    changed = apply(found, replace(batch, start_seeds=(first + 1, *others))).x
    assert torch.equal(changed[1:], reference[1:])
    assert (changed[0] - reference[0]).abs().max() > 1e-3


def numbers() -> list[tuple[str, str]]:
    config = load_reconstruct_config(None, [])
    return [(name, key) for name in ITERATED for key in asdict(getattr(config, name))]


@pytest.mark.parametrize(("name", "key"), numbers())
def test_every_setting_has_an_effect(name, key, prior, tmp_path, batch):
    if key == "weight" and name == "tv":
        more = "tv.weight=0.3"
    elif key == "t_min":
        more = f"{name}.t_min=0.3"
    elif key == "renoise":
        more = f"{name}.renoise=0.7"
    else:
        value = getattr(getattr(configure(prior, tmp_path, *SHORT), name), key)
        more = f"{name}.{key}={value + 2 if isinstance(value, int) else 1.5 * value}"
    changed = apply(method(prior, tmp_path, name, more), batch)
    reference = apply(method(prior, tmp_path, name), batch)
    assert not torch.equal(changed.x, reference.x)


@pytest.mark.parametrize("name", ["plug_and_play", *SAMPLERS])
def test_defaults_are_those_of_the_function(name):
    parameters = inspect.signature(getattr(baselines, name)).parameters
    section: Section = getattr(ReconstructConfig(), name)
    for key, value in asdict(section).items():
        assert parameters[key].default == value, key


@pytest.mark.parametrize("name", ["plug_and_play", "langevin"])
def test_images_are_turned_if_the_prior_says_that_they_may_be(name, prior, tmp_path, batch):
    config = configure(prior, tmp_path, f"methods=[{name}]", *SHORT)
    images = build_images(config)
    operator = Radon(build_geometry(config.geometry, images.shape, images))
    energy, metadata = build_prior(config, images)
    found = []
    for symmetric in (False, True):
        (built,) = build_baselines(config, operator, energy, replace(metadata, symmetric=symmetric))
        found.append(apply(built, batch).x)
    assert (found[1] - found[0]).abs().max() > 1e-4


def test_gradient_descent_is_that_of_the_solver(prior, tmp_path, batch):
    config = configure(
        prior, tmp_path, "solver.name=gradient_descent", "solver.steps=3", "solver.t_min=0.05"
    )
    images = build_images(config)
    operator = Radon(build_geometry(config.geometry, images.shape, images))
    solver = build_method(config, operator, *build_prior(config, images))
    expected = solver(batch, lambda step: None)
    found = apply(method(prior, tmp_path, "gradient_descent", "gradient_descent.t_min=0.05"), batch)
    assert torch.equal(found.x, expected.x)
    assert torch.equal(found.alpha, expected.alpha)
    assert found.certificate is None


def test_more_steps_of_accelerated_descent_do_not_raise_f(prior, tmp_path, batch):
    found = []
    for steps in (1, 4, 12):
        descent = method(prior, tmp_path, "nmapg", f"nmapg.steps={steps}")
        plain = replace(descent, solver=replace(descent.solver, denoise=False))
        found.append(descent.solver.objective(batch).evaluate(apply(plain, batch).x).value)
    for earlier, later in pairwise(found):
        assert bool((later < earlier).all())


class TestRuns:
    def test_all_side_by_side(self, prior, tmp_path):
        asked = ",".join(reversed(NAMES))
        folder = run(prior, tmp_path / "run", f"methods=[{asked}]", *SHORT, "chunk_size=2")
        rows = table(folder / "metrics.csv")
        order = [*reversed(NAMES), "preconditioned"]
        assert [row["method"] for row in rows] == order * 3
        assert {row["method"] for row in table(folder / "trace.csv")} == {"preconditioned"}
        page = (folder / "report.html").read_text()
        for name in ("DiffPIR", "DDS", "DPS", "nmAPG", "plug-and-play", "Tikhonov"):
            assert name in page
        assert (folder / "figures" / "reconstructions.png").is_file()

    def test_results_are_kept_to_the_last_bit(self, prior, tmp_path, batch):
        class Kept(Observer):
            def batch_finished(self, result):
                self.result = result

        kept, operator = Kept(), Radon(ParallelBeam2D.for_image(32, 20))
        run_batches([batch], operator, [method(prior, tmp_path, name) for name in NAMES], [kept])
        again = from_bytes(to_bytes(kept.result))
        assert repr(again.metrics) == repr(kept.result.metrics)  # NaN is not equal to itself
        for one, other in zip(again.methods, kept.result.methods, strict=True):
            assert torch.equal(one.x, other.x)

    def test_what_is_not_finite_is_said(self, prior, tmp_path, batch):
        y = batch.y.clone()
        y[1] = torch.nan
        outcome = apply(method(prior, tmp_path, "dds"), replace(batch, y=y))
        assert outcome.status == ["budget spent", "not finite", "budget spent"]

    @pytest.mark.parametrize(
        ("more", "parts"),
        [
            (("solver.name=gradient_descent", "methods=[gradient_descent]"), ("methods", "leave")),
            (("methods=[tikhonov]", "noise.relative=0", *("alpha.rule=constant", "alpha.value=1")),
             ("tikhonov.weight", "leave tikhonov out")),
            (("methods=[langevin]", "noise.relative=0", *("alpha.rule=constant", "alpha.value=1")),
             ("the noise level is 0", "leave langevin out")),
            (("methods=[nmapg]", "nmapg.t_min=1e-45"), ("nmapg.t_min=1e-45", "choose")),
        ],
    )  # fmt: skip
    def test_refused(self, more, parts, prior, tmp_path, capsys):
        arguments = settings(prior, tmp_path / "run", *more)
        refused_in_one_line(capsys, arguments, tmp_path / "run", parts)
