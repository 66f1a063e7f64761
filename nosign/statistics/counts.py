"""What two published counts allow to be said, where it is not known which films they are of."""

from __future__ import annotations

import numpy as np

from nosign.statistics.intervals import ALPHA


def share_interval(count: int, films: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927, doi:10.1080/01621459.1927.10502953): low, high in per cent."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, films, alpha=ALPHA, method="wilson")
    return 100 * low, 100 * high


def unpaired_p(first: int, second: int, films: int) -> float:
    """Return the two-sided p of Fisher's exact test of two counts, each of so many films, as if the films were others."""
    from scipy.stats import fisher_exact

    return float(fisher_exact(np.array([[first, films - first], [second, films - second]])).pvalue)


def paired_p_bounds(first: int, second: int, films: int) -> tuple[float, float]:
    """Return the smallest and the largest p that McNemar's exact test (1947, doi:10.1007/BF02295996) can have.

    The test hangs on the films in one count only. How many are in both is not published; all numbers that are possible are
    tried. The smallest p is that of the smaller count's films all being among the larger's.

    Args:
        first, second: two different counts of the same films.
        films: all of them.
    """
    from scipy.stats import binomtest

    overlaps = range(max(0, first + second - films), min(first, second) + 1)
    p = [float(binomtest(first - both, first + second - 2 * both).pvalue) for both in overlaps]
    return min(p), max(p)
