"""Many tests at once: Holm's correction and what it allows to be said."""

import numpy as np

from nosign.statistics.intervals import ALPHA

VERDICTS = {1: "no-sign better", -1: "sign better", 0: "not told apart"}


def holm(p) -> np.ndarray:
    """Return p values [n] after Holm's correction (1979, jstor.org/stable/4615733) for n tests."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, alpha=ALPHA, method="holm")[1]


def verdicts(gain, holm_p) -> np.ndarray:
    """Return the verdict, one of `VERDICTS`, on each comparison of sign against no-sign.

    Args:
        gain: float [n], by how much no-sign is the stronger attack: above 0 where it leaves fewer films right, or takes more
            films to its aim.
        holm_p: float [n], p values after Holm's correction.
    """
    sides = np.where(np.asarray(holm_p) < ALPHA, np.sign(gain), 0).astype(int)
    return np.array([VERDICTS[side] for side in sides], dtype=object)
