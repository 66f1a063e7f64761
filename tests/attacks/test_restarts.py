"""Several random starts: which one each film keeps, on films that are their own logits."""

import numpy as np
import pytest

from nosign.attacks.restarts import best_start, standing
from nosign.errors import UserError

LABELS = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 0]]
# Rows are films. Log-odds against class 0 rise with the other logits.
FAR, NEAR, WRONG, FARTHER_WRONG = [3, 0, 0], [3, 2, 2.5], [3, 4, 0], [3, 9, 9]
# Two classes together may have larger log-odds than one that is seen.
TOGETHER, JUST_WRONG = [3, 2.9, 2.9], [3, 3.1, -9]
STARTS = np.float32(
    [[FAR, WRONG, FAR, [np.nan, 5, 5], TOGETHER], [NEAR, FARTHER_WRONG, NEAR, FAR, JUST_WRONG], [FAR, WRONG, WRONG, FAR, FAR]]
)


def kept(starts, targeted=False):
    """Return the number of the start that each film keeps."""
    numbers = np.arange(len(starts))[:, None] + np.zeros(len(LABELS), int)
    films, [number] = best_start(lambda start: (starts[start], [numbers[start]]), len(starts), np.asarray, LABELS, targeted)
    np.testing.assert_array_equal(films, starts[number, np.arange(len(LABELS))])
    return number.tolist()


def test_a_film_keeps_the_first_start_that_turns_it_else_the_one_that_climbs_farthest():
    assert kept(STARTS) == [1, 0, 2, 1, 1]


def test_with_a_target_the_label_is_what_the_attack_wants():
    # Film 1 is never taken for class 0: it keeps the start that leaves class 0 least far behind.
    assert kept(STARTS, True) == [0, 0, 0, 1, 0]
    assert kept(STARTS[1:], True) == [0, 1, 0, 0, 1]


def test_a_single_start_is_taken_as_it_is_without_a_look_at_its_logits():
    assert best_start(lambda start: (STARTS[start], []), 1, None, LABELS)[0] is not None


def test_log_odds_and_outcome_of_logits_that_are_not_finite_are_worth_nothing():
    reached, climbed = standing(STARTS[0], LABELS)
    assert reached.tolist() == [False, True, False, False, False] and climbed[3] == -np.inf
    np.testing.assert_allclose(climbed[:2], [np.log(2) - 3, np.log(np.exp(4) + 1) - 3], atol=1e-6)
    np.testing.assert_allclose(standing(STARTS[0], LABELS, True)[1][:2], -climbed[:2])


@pytest.mark.parametrize("starts", [0, -1, 1.5])
def test_no_start_is_refused(starts):
    with pytest.raises(UserError, match="restarts: expected a whole number of at least 1"):
        best_start(lambda start: STARTS[0], starts, np.asarray, LABELS)
