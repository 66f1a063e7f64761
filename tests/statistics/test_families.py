"""Holm's correction and the verdicts that it allows."""

import pytest

from nosign.statistics import families


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_keeps_their_order():
    assert families.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_verdict_needs_a_gain_and_a_p_below_the_level():
    found = families.verdicts([2, -2, 2, -2, 0], [0.049, 0.049, 0.05, 0.9, 0.001])
    assert found.tolist() == ["no-sign better", "sign better", "not told apart", "not told apart", "not told apart"]
