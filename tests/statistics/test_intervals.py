"""Medians of censored values, and Student's interval over networks."""

import numpy as np
import pytest
from scipy import stats

from nosign.statistics.intervals import censored_median, student


def test_a_median_is_a_bound_where_half_of_the_values_are_bounds():
    assert censored_median([1, 2, 3, 4], [0, 0, 0, 1]) == (2.5, "")
    assert censored_median([1, 2, 3, 4], [0, 0, 1, 1]) == (2.5, "at least")
    assert censored_median([1, 2, 3], [-1, -1, 0]) == (2, "at most")


def test_the_interval_over_networks_is_students_from_three_on():
    values = [-0.47, -0.45, -0.52, -0.49]
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert student(values) == pytest.approx((np.mean(values), wanted.low, wanted.high))
    assert student(values[:2])[0] == pytest.approx(-0.46) and np.isnan(student(values[:2])[1:]).all()
