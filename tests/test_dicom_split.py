"""Sets of patients: by name, by fraction, never overlapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnclightning.data.dicom.split import split_patients
from gnclightning.errors import UserError

PAPER = ["C001", "C002", "C004", "C009", "C012", "C016", "C019", "C021", "C023", "C027"]


def test_the_test_patient_is_that_of_the_paper_by_default():
    split = split_patients(PAPER)
    assert split.test == ("C027",)
    assert len(split.validation) == 1
    assert sorted([*split.train, *split.validation]) == PAPER[:-1]
    assert split_patients(["A", "B"]).test == ()
    assert split_patients(["LDCT-C027", "A", "B"]).test == ("LDCT-C027",)


def test_patients_are_named_by_the_end_of_their_identifier():
    known = ["LDCT-C001", "LDCT-C002", "LDCT-C012", "C002", "N005"]
    split = split_patients(known, validation=["C012", "N005"], test=["C002"])
    assert split.validation == ("LDCT-C012", "N005")
    assert split.test == ("C002",)  # the whole name goes before an end
    assert split.train == ("LDCT-C001", "LDCT-C002")


@given(
    count=st.integers(3, 40),
    validation=st.floats(0.01, 0.45),
    test=st.floats(0, 0.45),
    seed=st.integers(0, 3),
)
def test_no_patient_is_in_two_sets_and_none_is_lost(count, validation, test, seed):
    patients = [f"P{n:03d}" for n in range(count)]
    split = split_patients(patients[::-1], validation, test, seed)
    assert sorted([*split.train, *split.validation, *split.test]) == patients
    assert len(split.validation) == max(1, round(validation * count))
    assert len(split.test) == (max(1, round(test * count)) if test else 0)


def test_draws_depend_on_the_seed_alone():
    patients = [f"P{n:03d}" for n in range(50)]
    first = split_patients(patients, 0.2, 0.2, seed=1)
    assert first == split_patients(patients[::-1], 0.2, 0.2, seed=1)
    assert first != split_patients(patients, 0.2, 0.2, seed=2)


def test_a_draw_leaves_patients_that_are_named_alone():
    for seed in range(20):
        split = split_patients(PAPER, validation=["C001"], test=0.8, seed=seed)
        assert split.validation == ("C001",)
        assert len(split.test) == 8


@pytest.mark.parametrize(
    ("patients", "validation", "test", "message"),
    [
        (PAPER, ["C003"], None, "validation patients among C001, .*, C027, got 'C003', which is"),
        (["A1", "B1", "C"], ["1"], None, "got '1', which fits A1, B1"),
        (PAPER, 0.1, [""], "test patients among .*got '', which is none of them"),
        (PAPER, ["C027"], None, "each patient in one set, got C027 for test and validation"),
        (PAPER, 1.0, None, "validation fraction of at least 0, below 1, got 1.0"),
        (PAPER, 0.1, -0.1, "test fraction of at least 0, below 1, got -0.1"),
        (["A"], 0.1, None, "got 0 and 1 of A with 0 for test: add patients"),
        (["A", "C027"], 0.1, None, "got 0 and 1 of A, C027 with 1 for test"),
        (PAPER, 0.0, None, "got 9 and 0 of"),
        (PAPER, PAPER[:9], None, "got 0 and 9 of"),
    ],
)
def test_splits_that_cannot_be(patients, validation, test, message):
    with pytest.raises(UserError, match=message):
        split_patients(patients, validation, test)
