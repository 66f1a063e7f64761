"""Confidence intervals of shares and of their paired differences."""

import numpy as np

ALPHA = 0.05  # level of the tests after Holm's correction; the intervals cover 1 - ALPHA


def wilson_percent(counts, totals):
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


def paired_interval(only_first, only_second, films):
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
