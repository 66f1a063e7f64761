"""The area under the ROC curve against scikit-learn's, draw by draw."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nosign.statistics.auc import auc
from nosign.statistics.patients import Patients

RANDOM = np.random.default_rng(5)
POSITIVE = np.arange(40) % 3 == 0
SCORES = np.round(RANDOM.normal(size=40) + POSITIVE, 1)  # with ties
OF_FILM = np.arange(40) // 3  # three films of most patients
ALL = np.ones(40, bool)


def test_the_area_is_scikit_learns_on_the_films_that_count():
    among = np.arange(40) < 30
    area = auc(Patients(OF_FILM, draws=20), SCORES, POSITIVE, among)[0]
    assert area == pytest.approx(roc_auc_score(POSITIVE[among], SCORES[among]))


def test_its_interval_is_that_of_scikit_learns_areas_over_draws_of_whole_patients():
    patients = Patients(OF_FILM, draws=200)
    weights = patients.times[:, patients.of_film]
    areas = [roc_auc_score(POSITIVE, SCORES, sample_weight=weight) for weight in weights]
    assert auc(patients, SCORES, POSITIVE, ALL)[1:] == pytest.approx(np.quantile(areas, (0.025, 0.975)), abs=1e-6)


def test_a_draw_without_films_of_a_kind_is_left_out():
    patients = Patients([0, 1, 2, 3], draws=200)
    area, low, high = auc(patients, np.array([0.0, 2, 1, 3]), np.array([False, False, True, True]), np.ones(4, bool))
    assert (area, low, high) == (0.75, 0, 1)  # 1 of 4 pairs is the wrong way round; some draws hold nothing but it


@pytest.mark.parametrize("scores, positive, area", [([1, 2], [False, True], 1), ([1, 2], [True, True], np.nan)])
def test_there_is_no_interval_where_every_pair_is_in_order_and_no_area_without_pairs(scores, positive, area):
    found = auc(Patients([0, 1]), np.array(scores), np.array(positive), np.ones(2, bool))
    assert found == pytest.approx((area, np.nan, np.nan), nan_ok=True)


def test_with_many_films_and_ties_it_is_the_share_of_pairs_counted_one_by_one():
    random = np.random.default_rng(2)
    positive, of_film = random.random(600) < 0.3, random.integers(0, 400, 600)
    scores = np.round(random.normal(size=600) + positive, 1)
    wins = np.heaviside(scores[positive][:, None] - scores[~positive], 0.5)
    patients = Patients(of_film, draws=300)
    weights = patients.times[:, patients.of_film].astype(float)
    pairs = weights[:, positive].sum(1) * weights[:, ~positive].sum(1)
    areas = np.einsum("dp,pn,dn->d", weights[:, positive], wins, weights[:, ~positive], optimize=True) / pairs
    found = auc(patients, scores, positive, np.ones(600, bool))
    assert found == (wins.mean(), *np.quantile(areas, (0.025, 0.975)))  # halves of whole numbers: exact
