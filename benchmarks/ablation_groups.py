"""What `prior_ablation.py` compares: groups of arms that differ in one thing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """A training run of an arm.

    Attributes:
        config: name of a file in configs/train.
        settings: what the arm changes in it.
        share: part of the arm's time.
        start: as what the stage gets the weights of the one before it.
    """

    config: Literal["ellipses_score", "ellipses_energy"] = "ellipses_energy"
    settings: tuple[str, ...] = ()
    share: float = 1.0
    start: Literal["init", "teacher"] | None = None


@dataclass(frozen=True)
class Arm:
    """One way to come by a prior, and to use it.

    Attributes:
        stages: trainings, one after the other; none: the shipped weights.
        settings: of the reconstructions.
    """

    stages: tuple[Stage, ...] = ()
    settings: tuple[str, ...] = ()


def _energy(*settings: str) -> Arm:
    return Arm((Stage(settings=settings),))


_SCORE = Stage("ellipses_score", share=0.5)

GROUPS: dict[str, dict[str, Arm]] = {
    "parametrisation": {
        form: _energy(f"prior.form={form}") for form in ("paper", "scaled", "gradient_step")
    },
    "start": {
        "direct": _energy(),
        "warm": Arm((_SCORE, Stage(share=0.5, start="init"))),
        "distilled": Arm((_SCORE, Stage(share=0.5, start="teacher"))),
    },
    "network": {
        "default": _energy(),
        "narrow": _energy("network.channels=16"),
        "wide": _energy("network.channels=48"),
        "flat": _energy("network.multipliers=[1,2,2,2]"),
        "deep": _energy("network.blocks=[1,2,2,2]"),
        "unshuffle_1": _energy("network.unshuffle=1"),
        "unshuffle_4": _energy("network.unshuffle=4"),
        "rms_norm": _energy("network.normalisation=rms"),
        "attention": _energy("network.attention=true"),
    },
    "times": {
        "power": _energy(),
        "uniform": _energy("time_sampling.skew=1"),
        "lognormal": _energy("time_sampling.name=lognormal"),
        "loguniform": _energy("time_sampling.name=loguniform"),
        "min_snr": _energy("time_sampling.weighting=min_snr"),
    },
    "evaluate_at": {
        place: Arm(settings=(f"prior.evaluate_at={place}",)) for place in ("x", "scaled")
    },
    "t_min": {
        "default": Arm(),
        **{f"{t}": Arm(settings=(f"solver.t_min={t}",)) for t in ("1e-3", "3e-3", "1e-2")},
    },
}
"""By name of the group, then of the arm."""

NOTES = {
    "parametrisation": "EDM's preconditioning (Karras et al. 2022) is `gradient_step` for data of "
    "standard deviation 0.25, as CT images have, and `paper`, up to the network's sign, for 1.",
}
"""What the table says of a group's arms."""
