"""Holm's correction and Tarone's rule by hand."""

import numpy as np
import pytest

from nosign.statistics import families


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_keeps_their_order():
    assert families.holm([0.01, 0.04, 0.03], [9, 9, 9]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_test_over_five_patients_cannot_reject_and_takes_nothing_from_the_others():
    assert families.can_reject([0, 5, 6]).tolist() == [False, False, True]  # 2 / 2^5 > 0.05 > 2 / 2^6
    corrected = families.holm([0.01, 2 / 2**5, 0.03], [9, 5, 9])
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.03]) and np.isnan(corrected[1])
    assert np.isnan(families.holm([1.0], [0])).all()


@pytest.mark.parametrize("tests, patients", [(1, 6), (2, 7), (13, 10)])
def test_the_least_that_is_told_is_told_and_one_patient_fewer_is_not(tests, patients):
    assert families.least_told(tests) == patients
    assert 2 / 2**patients * tests < 0.05 <= 2 / 2 ** (patients - 1) * tests


def test_a_test_outside_the_family_is_not_told_apart():
    assert families.verdicts([5, -5, 5], [0.01, 0.01, np.nan]).tolist() == ["no-sign better", "sign better", "not told apart"]
