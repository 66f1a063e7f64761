"""Many tests at once: which of them count, Holm's correction, and what it allows to be said."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike

from nosign.statistics.intervals import ALPHA

VERDICTS = {1: "no-sign better", -1: "sign better", 0: "not told apart"}


def can_reject(patients: ArrayLike) -> np.ndarray:
    """Return which tests could reject at all, bool [n] (Tarone, 1990, doi:10.2307/2531456).

    The smallest p of a test over d sign changes is 2^(1 - d), whichever way they point. A test that cannot get below `ALPHA`
    takes nothing from its family.

    Args:
        patients: int [n], number of patients whose films do not balance.
    """
    return 2.0 ** (1 - np.asarray(patients, float)) < ALPHA


def holm(p: Collection[float], patients: ArrayLike) -> np.ndarray:
    """Return p values after Holm's correction (1979, jstor.org/stable/4615733) over those that could reject.

    Args:
        p: float [n].
        patients: int [n]; see `can_reject`.

    Returns:
        float64 [n], NaN for tests outside the family.
    """
    from statsmodels.stats.multitest import multipletests

    corrected, inside = np.full(len(p), math.nan), can_reject(patients)
    if inside.any():
        corrected[inside] = multipletests(np.asarray(p)[inside], alpha=ALPHA, method="holm")[1]
    return corrected


def least_told(tests: int) -> int:
    """Return how many patients, all on one side, are enough for the hardest verdict of a family of so many tests."""
    return 1 + math.floor(math.log2(max(tests, 1) / ALPHA)) + 1


def verdicts(gain: ArrayLike, holm_p: ArrayLike) -> np.ndarray:
    """Return the verdict, one of `VERDICTS`, on each comparison of sign against no-sign.

    Args:
        gain: float [n], by how much no-sign is the stronger attack: above 0 where it leaves fewer films right, or takes more
            films to its aim.
        holm_p: float [n], p values after Holm's correction, NaN for tests outside the family.
    """
    sides = np.where(np.asarray(holm_p) < ALPHA, np.sign(gain), 0).astype(int)
    return np.array([VERDICTS[side] for side in sides], dtype=object)
