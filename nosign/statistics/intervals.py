"""Levels, medians of censored values, and intervals over networks; those over films are in `patients`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd

MOST_DRAWS, LEAST_DRAWS = 10_000, 1000  # of the bootstrap
MOST_COUNTS = 10**8  # draws x patients: up to 10,000 patients have all draws, those from 100,000 on the fewest
LEAST_RUNS = 3  # networks that an interval over networks needs
ALPHA = 0.05  # level of the tests after Holm's correction; the intervals cover 1 - ALPHA


def draws_of(patients: int) -> int:
    """Return how many draws a run with so many patients has: with more patients intervals need fewer, and each takes longer."""
    return max(LEAST_DRAWS, min(MOST_DRAWS, MOST_COUNTS // max(patients, 1)))


def in_columns(estimates: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    """Return estimates with their intervals as a row's columns: <name>, <name>_low and <name>_high."""
    return {name + end: value for name, three in estimates.items() for end, value in zip(("", "_low", "_high"), three)}


def bound_of_median(films: int, at_least: int, at_most: int) -> str:
    """Return how a median of censored values is to be read: "at least" or "at most" where half of them lie beyond, else "".

    Args:
        films: how many values.
        at_least, at_most: how many of them are lower bounds, and upper bounds.
    """
    return "at least" if 2 * at_least >= films else "at most" if 2 * at_most >= films else ""


def censored_median(values: Sequence[float] | np.ndarray | pd.Series, beyond: ArrayLike) -> tuple[float, str]:
    """Return the median of values, some of which are bounds only, and how it is to be read; see `bound_of_median`.

    Args:
        values: float [n].
        beyond: int [n], 1 where a value is a lower bound, -1 where it is an upper bound, else 0.
    """
    beyond = np.asarray(beyond)
    return float(np.median(values)), bound_of_median(len(beyond), int((beyond == 1).sum()), int((beyond == -1).sum()))


def student(values: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of values and its 95 % interval by Student's t (1908, doi:10.1093/biomet/6.1.1).

    Args:
        values: float [n]; the interval is NaN for fewer than three.
    """
    from scipy.stats import t

    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < LEAST_RUNS:
        return mean, math.nan, math.nan
    reach = t.ppf(1 - ALPHA / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach
