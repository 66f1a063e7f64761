"""Tests of two yes/no results on the same films, by patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nosign.statistics.patients import Patients, counted


def sign_change_p(sums: ArrayLike) -> float:
    """Return the two-sided p of the exact test over all sign changes of the patients' sums.

    If neither result is the likelier one, each patient's sum is as likely to have the other sign (Fisher, 1935, The Design of
    Experiments, section 21). Where every patient has one film it is McNemar's exact test (1947, doi:10.1007/BF02295996).

    Args:
        sums: whole numbers [patients]: the films that only the first result has minus those that only the second has.
    """
    from scipy.stats import binom

    sums = np.asarray(sums).astype(int)
    sizes = np.abs(sums[sums != 0])
    # How likely each number of films on the positive side is: those of patients with one film, then each other patient.
    ones = int((sizes == 1).sum())
    law = binom.pmf(np.arange(ones + 1), ones, 0.5)
    for size in sizes[sizes > 1]:
        law = np.convolve(law, np.bincount([0, size], [0.5, 0.5]))
    total = 2 * np.arange(len(law)) - sizes.sum()
    return float(min(1.0, law[np.abs(total) >= abs(sums.sum())].sum()))


def compare_hits(
    patients: Patients, first: ArrayLike, second: ArrayLike, names: tuple[str, str], among: ArrayLike | None = None
) -> dict:
    """Compare two yes/no results on the same films.

    Args:
        patients: `Patients` of the films.
        first, second: bool [films].
        names: of the two.
        among: bool [films], the films that count; all if None.

    Returns:
        Dict:
            only_<first>, only_<second>              films with this result only
            patients                                 whose films do not balance: the test hangs on them alone
            difference_points, ci_low_points, ci_high_points     second minus first, with its interval over draws of patients
            p                                        of `sign_change_p`
    """
    (first, among), second = counted(first, among), np.asarray(second, bool)
    only = first & ~second & among, second & ~first & among
    sums = patients.sums(only[0].astype(int) - only[1])
    points, low, high = patients.difference(first, second, among)
    return {
        **{f"only_{name}": int(films.sum()) for name, films in zip(names, only)},
        "patients": int(np.count_nonzero(sums)),
        "difference_points": points,
        "ci_low_points": low,
        "ci_high_points": high,
        "p": sign_change_p(sums),
    }
