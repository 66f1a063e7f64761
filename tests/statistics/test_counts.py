"""What published counts allow: by hand, and by McNemar's test on films that were made up to have them."""

import numpy as np
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.contingency_tables import mcnemar

from nosign.statistics.counts import paired_p_bounds, share_interval, unpaired_p


def test_the_unpaired_p_adds_up_all_tables_that_are_no_likelier():
    # Of 8 films that are right under either, 7 are so under the first, drawn from 20 + 20 films.
    law = hypergeom(40, 8, 20).pmf(np.arange(9))
    assert unpaired_p(7, 1, 20) == pytest.approx(law[law <= law[7] * (1 + 1e-9)].sum())


@pytest.mark.parametrize("first, second, films", [(69, 62, 900), (6, 2, 8), (9, 6, 10)])
def test_the_bounds_of_the_paired_p_are_those_over_all_films_with_these_counts(first, second, films):
    p = []
    for both in range(first + 1):
        one, other = np.arange(films) < first, (np.arange(films) >= first - both) & (np.arange(films) < first - both + second)
        if other.sum() == second:  # else the second count does not fit beside the first
            table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
            p.append(mcnemar(table, exact=True).pvalue)
    assert paired_p_bounds(first, second, films) == pytest.approx((min(p), max(p)))


def test_seven_films_more_give_at_best_the_p_of_seven_heads():
    assert paired_p_bounds(69, 62, 900)[0] == pytest.approx(2 * 0.5**7)


def test_the_interval_of_a_share_solves_wilsons_equation():
    for end in share_interval(69, 900):
        share = end / 100
        assert abs(69 / 900 - share) == pytest.approx(1.959964 * (share * (1 - share) / 900) ** 0.5, rel=1e-5)
