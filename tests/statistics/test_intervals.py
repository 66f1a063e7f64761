"""Intervals against scipy, closed forms and a plain bootstrap; medians of censored values by hand."""

import numpy as np
import pytest
from scipy import stats

from nosign.statistics import intervals
from nosign.statistics.intervals import bootstrap_median, censored_median


@pytest.mark.parametrize("count, total", [(0, 10), (5, 10), (10, 10), (830, 900), (1, 7)])
def test_wilson_interval_is_that_of_scipy(count, total):
    wanted = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert intervals.wilson_percent(count, total) == pytest.approx((100 * wanted.low, 100 * wanted.high))


def test_wilson_interval_of_none_of_ten_has_its_closed_form():
    z2 = stats.norm.ppf(0.975) ** 2
    low, high = intervals.wilson_percent(np.array([0, 0, 3]), np.array([10, 0, 3]))
    assert low[0] == 0 and high[0] == pytest.approx(100 * z2 / (10 + z2))
    assert np.isnan([low[1], high[1]]).all()
    assert (low[2], high[2]) == (pytest.approx(100 * 3 / (3 + z2)), 100)


@pytest.mark.parametrize("only_first, only_second, films", [(3, 9, 40), (0, 6, 10), (0, 0, 5), (20, 1, 180)])
def test_the_paired_interval_is_walds_with_half_a_film_more_in_each_count(only_first, only_second, films):
    counts = np.array([only_first, only_second, (films - only_first - only_second) / 2, 0]) + [0.5, 0.5, 0.5, 0.5]
    counts[3] = films + 2 - counts[:3].sum()  # both or neither: how the rest is divided does not matter
    values = np.array([-1, 1, 0, 0])
    mean = np.average(values, weights=counts)
    error = np.sqrt(np.average((values - mean) ** 2, weights=counts) / (films + 2))
    low, high = intervals.paired_interval(only_first, only_second, films)
    assert (low, high) == pytest.approx((100 * (mean - 1.959964 * error), 100 * (mean + 1.959964 * error)))


def test_a_median_is_a_bound_where_half_of_the_values_are_bounds():
    assert censored_median([1, 2, 3, 4], [0, 0, 0, 1]) == (2.5, "")
    assert censored_median([1, 2, 3, 4], [0, 0, 1, 1]) == (2.5, "at least")
    assert censored_median([1, 2, 3], [-1, -1, 0]) == (2, "at most")


def plain_bootstrap(values, clusters, draws, seed):
    """Return the medians of samples made by repeating the values of the clusters drawn."""
    random, names = np.random.default_rng(seed), np.unique(clusters)
    drawn = (random.integers(0, len(names), len(names)) for _ in range(draws))
    return [np.median(np.concatenate([values[clusters == names[place]] for place in places])) for places in drawn]


@pytest.mark.parametrize("films, patients", [(40, 40), (41, 17), (30, 3)])
def test_the_interval_is_that_of_samples_made_by_repeating_whole_clusters(films, patients):
    random = np.random.default_rng(1)
    values, clusters = random.normal(size=films), random.integers(0, patients, films)
    median, low, high = bootstrap_median(values, clusters, draws=400, seed=7)
    plain = plain_bootstrap(values, clusters, 400, 7)
    assert median == np.median(values)
    assert (low, high) == pytest.approx(np.quantile(plain, (0.025, 0.975), method="nearest"))


def test_infinite_values_have_a_place_in_the_order_and_no_values_have_no_median():
    assert bootstrap_median([0.5, np.inf, np.inf, np.inf], [0, 1, 2, 3], draws=50)[0] == np.inf
    assert np.isnan(bootstrap_median([], [])).all()
