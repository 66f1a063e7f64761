"""Intervals by patient against samples made film by film, and against scipy."""

import numpy as np
import pytest
from scipy import stats

from nosign.statistics.intervals import draws_of
from nosign.statistics.patients import Patients


def samples(clusters, draws, seed):
    """Yield the films, positions, of samples made by repeating those of the patients drawn."""
    random, names = np.random.default_rng(seed), np.unique(clusters)
    for places in random.integers(0, len(names), (draws, len(names))):
        yield np.concatenate([np.flatnonzero(clusters == names[place]) for place in places])


def some_films(films, patients, seed=1):
    """Return clusters, values, and two yes/no results of some films."""
    random = np.random.default_rng(seed)
    return random.integers(0, patients, films), random.normal(size=films), *random.random((2, films)).round().astype(bool)


@pytest.mark.parametrize("films, patients", [(40, 40), (41, 17), (30, 3)])
def test_intervals_are_those_of_samples_made_by_repeating_whole_patients(films, patients):
    clusters, values, first, second = some_films(films, patients)
    drawn = list(samples(clusters, 400, 7))
    by_patient = Patients(clusters, draws=400, seed=7)
    assert by_patient.median(values) == pytest.approx(
        (np.median(values), *np.quantile([np.median(values[part]) for part in drawn], (0.025, 0.975), method="nearest"))
    )
    for measured, name in ((first, "share"), (second.astype(int) - first, "difference")):
        given = (first,) if name == "share" else (first, second)
        wanted = (measured.mean(), *np.quantile([measured[part].mean() for part in drawn], (0.025, 0.975)))
        assert getattr(by_patient, name)(*given) == pytest.approx(100 * np.array(wanted), abs=1e-4)


def test_films_that_do_not_count_change_nothing():
    clusters, values, first, second = some_films(60, 20)
    among = np.arange(60) % 3 > 0
    some, whole = Patients(clusters, draws=300), Patients(clusters, draws=300)
    assert some.share(first | ~among, among) == some.share(first & among, among)
    assert some.share(first, among)[0] == pytest.approx(100 * first[among].mean())
    assert some.difference(first, second, among)[0] == pytest.approx(100 * (second[among].mean() - first[among].mean()))
    assert some.median(np.where(among, values, np.nan))[0] == np.median(values[among])
    assert whole.percent(first, among) == pytest.approx(100 * first[among].mean())
    assert np.isnan(some.share(first, np.zeros(60))).all() and np.isnan(some.percent(first, np.zeros(60)))


@pytest.mark.parametrize("patients", [5, 300])
def test_where_all_patients_agree_the_interval_is_that_of_none_of_so_many(patients):
    films = Patients(np.repeat(np.arange(patients), 2), draws=50)
    wanted = stats.binomtest(0, patients).proportion_ci(method="exact").high
    none, every = np.zeros(2 * patients, bool), np.ones(2 * patients, bool)
    assert films.share(none) == pytest.approx((0, 0, 100 * wanted))
    assert films.share(every) == pytest.approx((100, 100 - 100 * wanted, 100))
    assert films.difference(every, every) == pytest.approx((0, -100 * wanted, 100 * wanted))


def test_correlation_and_slope_are_those_of_scipy_and_their_intervals_those_of_samples():
    clusters, x, *_ = some_films(50, 20)
    y = 3 + 0.5 * x + np.random.default_rng(2).normal(size=50)
    x[3], y[4] = np.nan, np.inf
    counts = np.isfinite(x) & np.isfinite(y)
    correlation, slope = Patients(clusters, draws=300, seed=3).line(x, y)
    wanted = stats.linregress(x[counts], y[counts])
    assert (correlation[0], slope[0]) == pytest.approx((wanted.rvalue, wanted.slope))
    # Patients without a film that counts are drawn too.
    drawn = [part[counts[part]] for part in samples(clusters, 300, 3)]
    slopes = [stats.linregress(x[part], y[part]).slope for part in drawn]
    assert slope[1:] == pytest.approx(np.quantile(slopes, (0.025, 0.975)))
    ranks = [stats.rankdata(values, nan_policy="omit") for values in (np.where(counts, x, np.nan), np.where(counts, y, np.nan))]
    spearman = Patients(clusters, draws=50).line(*ranks)[0][0]
    assert spearman == pytest.approx(stats.spearmanr(x[counts], y[counts]).statistic)
    assert np.isnan(Patients(clusters).line(x, np.full(50, np.nan))).all()


def test_infinite_values_have_a_place_in_the_order_and_no_values_have_no_median():
    films = Patients([0, 1, 2, 3], draws=50)
    assert films.median([0.5, np.inf, np.inf, np.inf])[0] == np.inf
    assert np.isnan(films.median([np.nan] * 4)).all()


def test_up_to_ten_thousand_patients_have_all_draws_and_a_million_the_fewest():
    assert [draws_of(count) for count in (0, 900, 10_000, 20_000, 100_000, 10**6)] == [10_000] * 3 + [5000, 1000, 1000]
    assert Patients(np.arange(3)).draws == 10_000 and Patients(np.arange(3), draws=7).times.shape == (7, 3)


def test_the_draws_are_those_of_one_call_to_the_generator():
    wanted = [np.bincount(row, minlength=50) for row in np.random.default_rng(3).integers(0, 50, (40, 50))]
    assert np.array_equal(Patients(np.arange(50), draws=40, seed=3).times, wanted)


def test_work_in_blocks_changes_nothing(monkeypatch):
    clusters, values, first, second = some_films(500, 200)
    whole = Patients(clusters, draws=90)
    wanted = [whole.share(first), whole.difference(first, second), whole.median(values), *whole.line(values, values**2)]
    monkeypatch.setattr("nosign.statistics.patients.BLOCK", 1000)
    monkeypatch.setattr("nosign.statistics.patients.TILE", (7, 30))
    blocks = Patients(clusters, draws=90)
    assert np.array_equal(blocks.times, whole.times) and len(list(blocks.blocks(200))) == 18
    found = [blocks.share(first), blocks.difference(first, second), blocks.median(values), *blocks.line(values, values**2)]
    assert found[:3] == wanted[:3] and np.array(found[3:]) == pytest.approx(np.array(wanted[3:]), rel=1e-12)


def test_the_median_of_many_films_is_looked_for_near_the_middle_only_and_found():
    random = np.random.default_rng(0)
    clusters, values = random.integers(0, 3000, 5000), np.round(random.normal(size=5000), 3)
    patients = Patients(clusters, draws=60)
    weights = patients.times[:, patients.of_film]
    medians = [np.median(np.repeat(values, row)) for row in weights]
    assert patients.median(values) == (np.median(values), *np.quantile(medians, (0.025, 0.975), method="nearest"))
