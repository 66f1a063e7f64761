"""Tests of two yes/no results on the same films."""

import numpy as np

from nosign.statistics.intervals import paired_interval


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test (1947, doi:10.1007/BF02295996).

    Args:
        only_first, only_second: films with the first, or the second, of two yes/no results only. Films with both or
            with neither do not enter the exact test.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def compare_hits(first: np.ndarray, second: np.ndarray, names: tuple[str, str]) -> dict:
    """Compare two yes/no results on the same films.

    Args:
        first, second: bool arrays [films].
        names: of the two.

    Returns:
        Dict: only_<name> (films with this result only), difference_points (second minus first) with its interval,
        ci_low_points and ci_high_points, and p (`mcnemar_p`); NaN where there are no films.
    """
    films, only = len(first), (int((first & ~second).sum()), int((second & ~first).sum()))
    low, high = paired_interval(*only, films) if films else (np.nan, np.nan)
    return {
        **{f"only_{name}": count for name, count in zip(names, only)},
        "difference_points": 100 * (only[1] - only[0]) / films if films else np.nan,
        "ci_low_points": low,
        "ci_high_points": high,
        "p": mcnemar_p(*only),
    }
