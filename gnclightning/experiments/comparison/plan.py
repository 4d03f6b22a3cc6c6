"""What is run: settings of the experiment, and its arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gnclightning.config.baselines import Baseline
from gnclightning.config.sections import bounded
from gnclightning.errors import UserError
from gnclightning.experiments.arms.arm import Arm, key_of
from gnclightning.experiments.arms.config import ExperimentConfig

SOLVER = "preconditioned"
DEFAULT, SHORT, LONG = "gnc", "gnc_4", "gnc_40"
FLOW, GRADIENT_LIKE, UNSEEN = "gnc_flow", "gradient_like", "unseen"
"""Names of arms; the tables ask for them."""

FROM_FBP = ("start=fbp", "solver.t_max=0.2")
"""What makes few steps enough, where the angles see all of the image."""

CHEAP: tuple[Baseline, ...] = ("fbp", "tikhonov", "tv", "plug_and_play")
SAMPLERS: tuple[Baseline, ...] = ("diffpir", "dds")
CONDITION_METHODS: tuple[Baseline, ...] = ("fbp", "tv", "plug_and_play", "diffpir")

CONDITIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "angles_20": ("20 angles", ("geometry.angles=20",)),
    "angles_120": ("120 angles", ("geometry.angles=120",)),
    "noise_1": ("1 % noise", ("noise.relative=0.01",)),
    "noise_20": ("20 % noise", ("noise.relative=0.2",)),
    "limited": ("angles within 90 degrees", ("geometry.arc=[0,90]",)),
}
"""What is changed, one at a time, and the settings for it, by name of the arm."""

CURVES: dict[str, dict[str, int]] = {
    "curve_1": {SOLVER: 3, "tv": 25, "plug_and_play": 3, "diffpir": 5, "dds": 5},
    "curve_2": {SOLVER: 5, "tv": 50, "plug_and_play": 6, "diffpir": 10, "dds": 10},
    "curve_3": {SOLVER: 20, "tv": 100, "plug_and_play": 24, "diffpir": 20, "dds": 20},
    "curve_first_order": {"gradient_like": 75, "gradient_descent": 75, "nmapg": 40, "dps": 25},
}
"""Numbers of steps beside the defaults; the solver comes first."""

_MOST_QUICK_STEPS, _QUICK_IMAGES, _QUICK_UNSEEN = 4, 2, 6
_QUICK_CURVES = ("curve_1", "curve_first_order")
_NO_STEPS = ("fbp", "tikhonov")
_IMAGES = ("data.name", "data.count", "data.start", "data.split", "data.file")


@dataclass(kw_only=True)
class ComparisonConfig(ExperimentConfig):
    """Compare the solver with what a user would pick instead, on test phantoms and beyond."""

    images: int = bounded(100, ">= 1")
    """Test phantoms for the default solver, its short setting and the methods that cost little."""
    samplers: int = bounded(32, ">= 1")
    """Of them, the first ones, for DiffPIR and DDS."""
    slow: int = bounded(8, ">= 1")
    """Likewise for DPS, the methods on f, Algorithms 1 and 2, curves and other conditions."""
    unseen: int = bounded(16, ">= 1")
    """Images unlike the phantoms, see data.name=unseen."""


def defaults(config: ComparisonConfig) -> list[str]:
    """What users may change.

    Raises:
        UserError: other images are asked for, on which the arms would not agree.
    """
    asked = [text for text in config.settings if key_of(text) in _IMAGES]
    if asked:
        raise UserError(
            f"expected the images of this experiment, got {' '.join(asked)}: leave it out; "
            "images=, samplers=, slow= and unseen= say how many there are"
        )
    return ["batch_size=8"]


def arms(config: ComparisonConfig) -> list[Arm]:
    """All runs; those of the main table come first."""
    images = _QUICK_IMAGES if config.quick else config.images
    samplers, slow = min(config.samplers, images), min(config.slow, images)
    unseen = _QUICK_UNSEEN if config.quick else config.unseen

    def arm(
        name: str,
        title: str,
        count: int,
        methods: Sequence[str] = (),
        steps: Mapping[str, int] | None = None,
        more: Sequence[str] = (),
        solver: str = SOLVER,
    ) -> Arm:
        chosen = dict(steps or {})
        if config.quick:
            with_steps = [m for m in (solver, *methods) if m not in _NO_STEPS]
            chosen = {m: min(chosen.get(m, 99), _MOST_QUICK_STEPS) for m in with_steps}
        texts = [f"data.count={count}", f"solver.name={solver}", f"methods=[{','.join(methods)}]"]
        texts += [f"{_key_of_steps(m, solver)}={number}" for m, number in chosen.items()]
        return Arm(name, title, (*texts, *more))

    found = [
        arm(DEFAULT, "GNC", images, CHEAP),
        arm(SHORT, "GNC, 4 steps from FBP", images, steps={SOLVER: 4}, more=FROM_FBP),
        arm(LONG, "GNC, 40 steps", samplers, SAMPLERS, {SOLVER: 40}),
        arm(FLOW, "GNC, Algorithm 1", slow, ("dps", "nmapg"), solver="gnc_flow"),
        arm(GRADIENT_LIKE, "GNC, Algorithm 2", slow, ("gradient_descent",), solver="gradient_like"),
    ]
    for name, steps in CURVES.items():
        if config.quick and name not in _QUICK_CURVES:
            continue
        solver, *methods = steps
        found.append(arm(name, "curves", slow, methods, steps, solver=solver))
    for name, (title, more) in CONDITIONS.items():
        found.append(arm(name, title, slow, CONDITION_METHODS, more=more))
    found.append(
        arm(UNSEEN, "images unlike phantoms", unseen, CONDITION_METHODS, more=("data.name=unseen",))
    )
    return found


def _key_of_steps(method: str, solver: str) -> str:
    if method == solver:
        return "solver.steps"
    return "tv.iterations" if method == "tv" else f"{method}.steps"
