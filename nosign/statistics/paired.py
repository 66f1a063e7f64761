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
    # How likely each sum of the positive patients' films is. Patients with as many films make a binomial law of steps of that
    # size; laws are convolved term by term, as a Fourier transform would lose the small terms that small p are made of.
    law, lowest = np.ones(1), 0
    for size, patients in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True)):
        likely = binom.pmf(np.arange(patients + 1), patients, 0.5)
        first, last = np.flatnonzero(likely)[[0, -1]]  # farther out the terms are below 1e-308
        steps = np.zeros(size * (last - first) + 1)
        steps[::size] = likely[first : last + 1]
        law, lowest = np.convolve(law, steps), lowest + size * first
    total = 2 * (lowest + np.arange(len(law))) - np.abs(sums).sum()
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
