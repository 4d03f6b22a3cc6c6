"""An arm: a reconstruction with some settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """A reconstruction with some settings, which runs in a folder named after it.

    Attributes:
        name: of the folder and in `results.csv`: lower case, digits, `-`, `_` and `.`.
        title: in tables and figures.
        settings: `key=value` of `reconstruct.py`, which say what the arm is. Users cannot change
            them: what an experiment merely prefers is in its defaults, see `Experiment`. Only those
            of `data.*` may be given by the user all the same, for the arms that leave them open.
    """

    name: str
    title: str
    settings: tuple[str, ...] = ()

    @property
    def keys(self) -> set[str]:
        """What the arm decides."""
        return {key_of(text) for text in self.settings}


def key_of(text: str) -> str:
    """The key of a `key=value` setting."""
    return text.partition("=")[0]
