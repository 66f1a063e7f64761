"""McNemar's exact test against the binomial test and by hand."""

import pytest
from scipy import stats

from nosign.statistics import paired


@pytest.mark.parametrize("first, second", [(0, 6), (6, 0), (3, 9), (20, 21)])
def test_mcnemar_is_the_exact_binomial_test_of_the_films_with_one_result_only(first, second):
    assert paired.mcnemar_p(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_mcnemar_of_six_films_on_one_side_and_of_none_by_hand():
    assert paired.mcnemar_p(6, 0) == pytest.approx(2 / 2**6)
    assert paired.mcnemar_p(0, 0) == 1
