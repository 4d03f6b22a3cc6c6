"""Training, validation and test sets by patient: no patient is in two of them."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gnclightning.errors import UserError

TEST_PATIENT = "C027"
"""The test patient of arXiv 2404.18699 in the LDCT collection."""


@dataclass(frozen=True)
class PatientSplit:
    """PatientIDs of the sets, each sorted; disjoint. The test set may be empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split_patients(
    patients: Collection[str],
    validation: Sequence[str] | float = 0.1,
    test: Sequence[str] | float | None = None,
    seed: int = 0,
) -> PatientSplit:
    """Split patients by name or by fraction.

    A fraction is one of all patients, at least one of them unless it is 0. Those are drawn whose
    hash with the seed is least, so that a patient seldom changes sets when others come or go.

    Args:
        patients: all PatientIDs.
        validation: PatientIDs, or a fraction of the patients.
        test: PatientIDs, a fraction, or None for C027 if that patient is there. Names may also be
            ends of PatientIDs, of which exactly one has that end.
        seed: of the draws.

    Raises:
        UserError: a name fits no patient or several, a patient is in both sets, or none is left
            for training or for validation.
    """
    known = sorted(set(patients))
    named_test = _default_test(known) if test is None else test
    drawn_from = list(known)
    chosen: dict[str, tuple[str, ...]] = {}
    # Names first: no draw may take a patient that the other set names.
    for name, wish in (("test", named_test), ("validation", validation)):
        if not isinstance(wish, int | float):
            chosen[name] = tuple(sorted({_find(patient, known, name) for patient in wish}))
            drawn_from = [patient for patient in drawn_from if patient not in chosen[name]]
    for name, wish in (("test", named_test), ("validation", validation)):
        if isinstance(wish, int | float):
            chosen[name] = _draw(drawn_from, wish, len(known), seed, name)
            drawn_from = [patient for patient in drawn_from if patient not in chosen[name]]
    both = sorted(set(chosen["test"]) & set(chosen["validation"]))
    if both:
        raise UserError(
            f"expected each patient in one set, got {', '.join(both)} for test and validation: "
            "take them out of one"
        )
    if not (drawn_from and chosen["validation"]):
        raise UserError(
            f"expected at least one patient each for training and validation, got "
            f"{len(drawn_from)} and {len(chosen['validation'])} of {_listed(known)} with "
            f"{len(chosen['test'])} for test: add patients, or name fewer for test and validation"
        )
    return PatientSplit(tuple(drawn_from), chosen["validation"], chosen["test"])


def _default_test(known: Sequence[str]) -> list[str]:
    return [patient for patient in known if patient.endswith(TEST_PATIENT)]


def _find(name: str, known: Sequence[str], wanted_for: str) -> str:
    fitting = [name] if name in known else [p for p in known if name and p.endswith(name)]
    if len(fitting) != 1:
        came = f"fits {_listed(fitting)}" if fitting else "is none of them"
        raise UserError(
            f"expected {wanted_for} patients among {_listed(known)}, got {name!r}, which {came}"
        )
    return fitting[0]


def _draw(
    patients: Sequence[str], fraction: float, total: int, seed: int, name: str
) -> tuple[str, ...]:
    if not 0 <= fraction < 1:
        raise UserError(f"expected a {name} fraction of at least 0, below 1, got {fraction}")
    if fraction == 0:
        return ()
    count = max(1, round(fraction * total))
    ranked = sorted(patients, key=lambda p: hashlib.sha256(f"{seed}:{p}".encode()).digest())
    return tuple(sorted(ranked[:count]))


def _listed(patients: Sequence[str]) -> str:
    return ", ".join(patients)
