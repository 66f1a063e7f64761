"""Medians: of censored values by hand, and the bootstrap over clusters against a plain one."""

import numpy as np
import pytest

from nosign.statistics.intervals import bootstrap_median, censored_median


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
