"""Confidence intervals of shares and of their paired differences."""

import math

import numpy as np

DRAWS = 10_000  # of the bootstrap
ALPHA = 0.05  # level of the tests after Holm's correction; the intervals cover 1 - ALPHA


def wilson_percent(counts, totals) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % intervals of shares by Wilson (1927, doi:10.1080/01621459.1927.10502953).

    Args:
        counts, totals: int [n], or numbers; counts are at most totals.

    Returns:
        (low, high), float64 [n] in per cent, NaN where a total is 0.
    """
    from statsmodels.stats.proportion import proportion_confint

    totals = np.where(np.asarray(totals) > 0, totals, np.nan)
    low, high = proportion_confint(np.asarray(counts, float), totals, alpha=ALPHA, method="wilson")
    return np.clip(100 * low, 0, 100), np.clip(100 * high, 0, 100)  # rounding goes below 0 for a count of 0


def paired_interval(only_first: int, only_second: int, films: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two shares on the same films, second minus first.

    Wald's interval after half a film is added to each of the four counts (Agresti and Min, 2005, doi:10.1002/sim.1781).

    Args:
        only_first, only_second: films with the one, or the other, of two yes/no results only.
        films: all of them.

    Returns:
        (low, high) in points.
    """
    from scipy.stats import norm

    difference, discordant, total = only_second - only_first, only_first + only_second + 1, films + 2
    reach = norm.ppf(1 - ALPHA / 2) * np.sqrt(discordant - difference**2 / total)
    return 100 * (difference - reach) / total, 100 * (difference + reach) / total


def bound_of_median(films: int, at_least: int, at_most: int) -> str:
    """Return how a median of censored values is to be read: "at least" or "at most" where half of them lie beyond, else "".

    Args:
        films: how many values.
        at_least, at_most: how many of them are lower bounds, and upper bounds.
    """
    return "at least" if 2 * at_least >= films else "at most" if 2 * at_most >= films else ""


def censored_median(values, beyond) -> tuple[float, str]:
    """Return the median of values, some of which are bounds only, and how it is to be read; see `bound_of_median`.

    Args:
        values: float [n].
        beyond: int [n], 1 where a value is a lower bound, -1 where it is an upper bound, else 0.
    """
    beyond = np.asarray(beyond)
    return float(np.median(values)), bound_of_median(len(beyond), int((beyond == 1).sum()), int((beyond == -1).sum()))


def bootstrap_median(values, clusters, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Return the median of values and its 95 % percentile interval over draws of whole clusters.

    Args:
        values: float [n]; may be infinite.
        clusters: int [n], equal for values that are drawn together, such as the films of one patient.
        draws: how many samples of as many clusters as there are are drawn, with replacement.
        seed: of the draws.

    Returns:
        (median, low, high); NaN where there are no values.
    """
    values = np.asarray(values, float)
    if not len(values):
        return math.nan, math.nan, math.nan
    order = np.argsort(values, kind="stable")
    values, (_, of_value) = values[order], np.unique(np.asarray(clusters)[order], return_inverse=True)
    count = of_value.max() + 1
    medians, random = np.empty(draws), np.random.default_rng(seed)
    for draw in range(draws):
        times = np.bincount(random.integers(0, count, count), minlength=count)[of_value]
        upto = np.cumsum(times)
        # The two middle values of the sample; of an odd one the same.
        low, high = np.searchsorted(upto, [(upto[-1] + 1) // 2, upto[-1] // 2 + 1])
        medians[draw] = values[low] if low == high else (values[low] + values[high]) / 2
    return float(np.median(values)), *np.quantile(medians, (ALPHA / 2, 1 - ALPHA / 2), method="nearest").tolist()
