"""What is tried for each method: a coarse grid, then steps from its best point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from gnclightning.config.baselines import Baseline

Value = float | int | str
Point = dict[str, Value]
"""Settings of a method, by their names within its section."""


@dataclass(frozen=True)
class Grid:
    """What is tried for a method.

    Attributes:
        coarse: values of the settings that matter most; all combinations are tried.
        factors: settings that are refined, in this order, each by going from the best point up and
            down by this factor for as long as that helps.
        fixed: settings that are the same in all points.
    """

    coarse: Mapping[str, Sequence[Value]]
    factors: Mapping[str, float] = field(default_factory=dict[str, float])
    fixed: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def points(self) -> list[Point]:
        """The coarse grid."""
        combined = product(*self.coarse.values())
        return [{**self.fixed, **dict(zip(self.coarse, c, strict=True))} for c in combined]

    def shortened(self, fixed: Mapping[str, Value]) -> "Grid":
        """Two values of each setting, nothing but these refined, other settings `fixed`."""
        kept = {key: values[:2] for key, values in self.coarse.items()}
        factors = {key: by for key, by in self.factors.items() if key in kept}
        return replace(self, coarse=kept, factors=factors, fixed={**self.fixed, **fixed})


GRIDS: dict[Baseline, Grid] = {
    "fbp": Grid({"filter": ["ramp", "shepp-logan", "hann"]}),
    "tv": Grid(
        {"factor": [0.5, 0.7, 1.0, 1.4, 2.0]},
        {"factor": 1.2, "iterations": 2.0},
        {"iterations": 400},
    ),
    "tikhonov": Grid({"weight": [10.0, 30.0, 100.0, 300.0, 1000.0]}, {"weight": 1.5}),
    "plug_and_play": Grid(
        {"weight": [0.1, 0.2, 0.4], "sigma_min": [0.03, 0.06]},
        {
            "weight": 1.7,
            "sigma_min": 1.3,
            "averaged": 1.5,
            "sigma_max": 2.0,
            "steps": 1.5,
            "cg_steps": 1.5,
        },
        {"steps": 12, "sigma_max": 2.4, "cg_steps": 5, "averaged": 3},
    ),
    "diffpir": Grid(
        {"weight": [0.3, 1.0, 3.0], "renoise": [0.3, 1.0]},
        {"weight": 1.7, "steps": 2.0, "cg_steps": 2.0},
        {"steps": 20, "cg_steps": 10},
    ),
    "dds": Grid(
        {"weight": [0.03, 0.1, 0.3], "renoise": [0.3, 1.0]},
        {"weight": 1.7, "cg_steps": 2.0, "steps": 2.0},
        {"steps": 20, "cg_steps": 5},
    ),
    "dps": Grid({"weight": [1.0, 3.0, 9.0]}, {"weight": 1.7, "steps": 2.0}, {"steps": 50}),
    "nmapg": Grid({"t_min": [0.025, 0.05, 0.1]}, {"t_min": 1.4, "steps": 2.0}, {"steps": 50}),
    "gradient_descent": Grid(
        {"t_min": [0.025, 0.05, 0.1]}, {"t_min": 1.4, "steps": 2.0}, {"steps": 100}
    ),
}

QUICK: dict[Baseline, Point] = {
    "tv": {"iterations": 10},
    "plug_and_play": {"steps": 3},
    "diffpir": {"steps": 3},
    "dds": {"steps": 3},
    "dps": {"steps": 3},
    "nmapg": {"steps": 3},
    "gradient_descent": {"steps": 3},
}
"""What makes a method quick."""


def grids(methods: Sequence[Baseline], quick: bool) -> dict[Baseline, Grid]:
    """The grids of these methods."""
    found: dict[Baseline, Grid] = {}
    for name in methods:
        found[name] = GRIDS[name].shortened(QUICK.get(name, {})) if quick else GRIDS[name]
    return found
