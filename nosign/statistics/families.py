"""Many tests at once: Holm's correction and what it allows to be said."""

import numpy as np

from nosign.statistics.intervals import ALPHA

VERDICTS = {1: "no-sign better", -1: "sign better", 0: "not told apart"}


def holm(p):
    """Return p values [n] after Holm's correction (1979, jstor.org/stable/4615733) for n tests."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, alpha=ALPHA, method="holm")[1]


def gain_of(difference, aimed):
    """Return by how much no-sign is the better attack: it leaves fewer films right, and takes more films to a target.

    Args:
        difference: of films right or taken for the aim, or their shares, no-sign minus sign.
        aimed: bool, whether attacks aim at a class; one or one an entry.
    """
    return difference * np.where(aimed, 1, -1)


def verdicts_of(gain, holm_p):
    """Return the verdict, one of `VERDICTS`, on each gain of `gain_of`, a series, by its p after Holm's correction."""
    return np.sign(gain).where(holm_p < ALPHA, 0).astype(int).map(VERDICTS)


def with_verdicts(frame, aim):
    """Return tests of sign against no-sign with holm_p, over the frame, and verdict, one of `VERDICTS`.

    Args:
        frame: has p and difference_points, no-sign minus sign, of films right or taken for the aim.
        aim: class that the attacks aim at, None for none.
    """
    holm_p = holm(frame["p"])
    return frame.assign(holm_p=holm_p, verdict=verdicts_of(gain_of(frame["difference_points"], aim is not None), holm_p))
