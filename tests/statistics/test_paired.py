"""The sign-change test against McNemar's, against scipy's permutation test, and in simulations with real patients."""

import itertools

import numpy as np
import pytest
from scipy import stats

from nosign.rows import read_clean_films
from nosign.statistics.paired import compare_hits, sign_change_p
from nosign.statistics.patients import Patients

STUDY = "results/reference/results/seed-0-0"


@pytest.mark.parametrize("first, second", [(0, 6), (6, 0), (3, 9), (20, 21), (300, 350), (0, 0)])
def test_with_one_film_a_patient_it_is_mcnemars_exact_test(first, second):
    wanted = stats.binomtest(first, first + second).pvalue if first + second else 1
    assert sign_change_p([1] * first + [-1] * second + [0] * 5) == pytest.approx(wanted)


@pytest.mark.parametrize("sums", [[3, -1, 2, 2], [5, 1, 1, -1, 0, -2], [4, 4, -1], [2, -2], [7], [1, 2, 3, 4, 5, -6, 1, 1]])
def test_it_counts_the_sign_changes_that_are_at_least_as_far_from_zero(sums):
    changed = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=len(sums))]
    assert sign_change_p(sums) == pytest.approx(np.mean(np.array(changed) >= abs(sum(sums))))


def test_it_is_scipys_exact_permutation_test():
    random = np.random.default_rng(3)
    sums = random.integers(-3, 4, 14)
    wanted = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_change_p(sums) == pytest.approx(wanted.pvalue)


def test_a_comparison_counts_films_and_tests_patients():
    # Patient 0 has three films that only the first has; patient 1 one each way, which balance; patient 2 one of the second.
    patients = Patients([0, 0, 0, 1, 1, 2, 3], draws=2000)
    first, second = np.array([1, 1, 1, 1, 0, 0, 1], bool), np.array([0, 0, 0, 0, 1, 1, 1], bool)
    row = compare_hits(patients, first, second, ("sign", "no_sign"))
    assert (row["only_sign"], row["only_no_sign"], row["patients"]) == (4, 2, 2)
    assert row["difference_points"] == pytest.approx(-200 / 7) and row["p"] == 1  # |3 - 1| of |3 + 1|, |3 - 1|, ...
    assert row["ci_low_points"] < row["difference_points"] < row["ci_high_points"]
    among = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    row = compare_hits(patients, first, second, ("sign", "no_sign"), among)
    assert (row["only_sign"], row["only_no_sign"], row["patients"], row["difference_points"]) == (3, 0, 1, -75)


def obuchowski_p(sums):
    """Return the p of (K - 1) / K (sum d)^2 / sum d^2 (Obuchowski, 1998, Statistics in Medicine 17:1495)."""
    patients, square = len(sums), (sums**2).sum()
    return stats.chi2.sf((patients - 1) / patients * sums.sum() ** 2 / square, 1) if square else 1.0


def test_with_real_patients_whose_films_flip_together_it_keeps_its_level_and_mcnemars_does_not(root):
    films = np.unique(read_clean_films(root / STUDY).patients, return_counts=True)[1]
    random = np.random.default_rng(0)
    rejected = {"McNemar": 0, "sign changes": 0, "Obuchowski": 0}
    for _ in range(2000):  # a true hypothesis: each patient in ten flips, all of its films one way, as likely as the other
        sums = films * random.choice([-1, 0, 1], len(films), p=[0.05, 0.9, 0.05])
        only = sums[sums > 0].sum(), -sums[sums < 0].sum()
        rejected["McNemar"] += stats.binomtest(only[0], sum(only)).pvalue < 0.05
        rejected["sign changes"] += sign_change_p(sums) < 0.05
        rejected["Obuchowski"] += obuchowski_p(sums) < 0.05
    shares = {name: count / 2000 for name, count in rejected.items()}
    error = np.sqrt(0.05 * 0.95 / 2000)
    assert shares["sign changes"] < 0.05 + 2 * error and abs(shares["Obuchowski"] - 0.05) < 3 * error
    assert shares["McNemar"] > 0.05 + 5 * error


def patient_by_patient(sums):
    """Return the p of `sign_change_p`, the law of one patient after the other convolved."""
    law = np.ones(1)
    for size in np.abs(sums):
        law = np.convolve(law, np.bincount([0, size], [0.5, 0.5]))
    total = 2 * np.arange(len(law)) - np.abs(sums).sum()
    return law[np.abs(total) >= abs(sum(sums))].sum()


@pytest.mark.parametrize("towards", [0.5, 0.6, 1.0])
def test_patients_of_one_size_together_are_those_patients_one_after_the_other(towards):
    random = np.random.default_rng(4)
    sums = random.choice([1, 2, 3, 7], 400, p=[0.6, 0.2, 0.15, 0.05]) * np.where(random.random(400) < towards, 1, -1)
    assert sign_change_p(sums) == pytest.approx(patient_by_patient(sums), rel=1e-10)  # 1e-120 at the smallest


def test_a_million_patients_are_as_exact():
    with_one = np.repeat([1, -1], [503_000, 497_000])
    assert sign_change_p(with_one) == pytest.approx(stats.binomtest(503_000, 10**6).pvalue)
    # Patients with two films each, all of them: the same heads.
    assert sign_change_p(2 * with_one) == pytest.approx(stats.binomtest(503_000, 10**6).pvalue)
    mixed = np.concatenate([with_one, np.repeat([2, -2, 5], [60_000, 59_000, 30])])
    wanted = 2 * stats.norm.sf((abs(mixed.sum()) - 0.5) / np.sqrt((mixed.astype(float) ** 2).sum()))
    assert sign_change_p(mixed) == pytest.approx(wanted, rel=0.01)
