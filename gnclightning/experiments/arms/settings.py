"""The settings that an arm runs with: its own, the user's, and defaults for the rest."""

from collections.abc import Iterable, Sequence

from gnclightning.config import ReconstructConfig, load_reconstruct_config
from gnclightning.config.sections import settings as settings_of
from gnclightning.errors import UserError
from gnclightning.experiments.arms.arm import Arm, key_of

_COMMON = ("data.name=ellipses", "methods=[]", "logger.mode=disabled")
_OF_DATA = {"ldct": ("noise.relative=0.05",)}
"""Defaults that depend on the images: the paper has 5 % noise for CT slices."""
_KNOWN = tuple(settings_of(ReconstructConfig))


def configure(
    arms: Sequence[Arm], given: Sequence[str], defaults: Sequence[str] = ()
) -> list[ReconstructConfig]:
    """The settings of arms, in their order, without folder.

    Args:
        arms: of an experiment.
        given: settings of the user; those of `solver.*` go to the arms whose solver has them.
        defaults: of the experiment; they give way to `given`, and are left out where they belong to
            other images or another solver.

    Raises:
        UserError: a setting is unknown or wrong, or one that arms decide.
    """
    decided = {key for arm in arms for key in arm.keys if not key.startswith("data.")}
    if clash := [text for text in given if key_of(text) in decided]:
        raise UserError(
            f"expected settings that the experiment leaves open, got {' '.join(clash)}, which it "
            f"sets itself: leave {'it' if len(clash) == 1 else 'them'} out"
        )
    data = _chosen("data", [*_COMMON, *given])
    solvers = {_chosen("solver", [*given, *arm.settings]) for arm in arms}
    somewhere = [text for text in given if any(_fits(text, "solver", s) for s in solvers)]
    nowhere = [text for text in given if text not in somewhere]  # refused below
    open_to = {key_of(text) for text in given}
    base = [*_COMMON, *_OF_DATA.get(data, ()), *defaults]
    base = [text for text in base if key_of(text) not in open_to and _fits(text, "data", data)]
    found: list[ReconstructConfig] = []
    for arm in arms:
        solver = _chosen("solver", [*given, *arm.settings])
        general = [text for text in (*base, *somewhere) if _fits(text, "solver", solver)]
        found.append(load_reconstruct_config(None, [*general, *nowhere, *arm.settings]))
    if found[0].data.name == "sinogram":
        raise UserError(
            "expected images whose truth is known, got data.name=sinogram: give "
            "data.name=ellipses, data.name=folder or data.name=ldct"
        )
    return found


def _chosen(group: str, texts: Iterable[str]) -> str:
    """The variant of a group that settings choose; the last of several, or the default."""
    names = [t.partition("=")[2] for t in texts if key_of(t) == f"{group}.name"]
    default = next(s.default for s in _KNOWN if s.key == f"{group}.name")
    return str(names[-1] if names else default)


def _fits(text: str, group: str, chosen: str) -> bool:
    """Whether the chosen variant of a group has a setting; settings of other groups fit."""
    conditions = {s.condition for s in _KNOWN if s.key == key_of(text) and s.group == group}
    return not conditions or f"{group}.name={chosen}" in conditions
