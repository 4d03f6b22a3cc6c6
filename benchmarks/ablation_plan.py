"""How the arms of `prior_ablation.py` are trained and judged."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """How a group is trained.

    Attributes:
        minutes: training time of an arm.
        size: pixels a side.
        points: legs, after each of which weights are kept.
        images: validation phantoms that judge.
        train: further settings of all trainings.
        solve: further settings of all reconstructions.
    """

    minutes: float = 30
    size: int = 128
    points: int = 6
    images: int = 20
    train: tuple[str, ...] = ()
    solve: tuple[str, ...] = ()

    def folder(self, group: str) -> Path:
        """Of the arms, each in a folder of its own."""
        text = f"{self.minutes:g}min-{self.points}-{self.size}px"
        return Path("runs/ablation") / f"{group}-{text}"

    def command(self, group: str) -> str:
        """What trains and judges a whole group so."""
        words = ["python", "benchmarks/prior_ablation.py", "run", group]
        for name in ("minutes", "size", "points", "images"):
            if (value := getattr(self, name)) != getattr(Plan, name):
                words += [f"--{name}", f"{value:g}"]
        for name in ("train", "solve"):
            if value := getattr(self, name):
                words += [f"--{name}", *value]
        return shlex.join(words)
