"""What counts as an effect, by hand: four films, with and without an aim."""

import pytest

from nosign.attacks.catalogue import Condition
from nosign.measures.outcome import Outcome

LABELS = [0, 0, 1, 2]
BEFORE = [0, 1, 1, 1]  # right, wrong, right, wrong
AFTER = [1, 1, 1, 1]


@pytest.mark.parametrize(
    "method, arguments, untargeted, targeted",
    [
        ("is_reached", (AFTER, LABELS), [1, 1, 0, 1], [1, 1, 1, 1]),
        ("is_attackable", (LABELS,), [1, 1, 1, 1], [1, 1, 0, 1]),  # the aim's own film is not counted
        ("can_turn", (BEFORE, LABELS), [1, 0, 1, 0], [1, 0, 0, 0]),  # wrong before, or taken for the aim before
        ("is_turned", (BEFORE, AFTER, LABELS), [1, 0, 0, 0], [1, 0, 0, 0]),
        ("hits", (AFTER, LABELS), [0, 0, 1, 0], [1, 1, 0, 1]),  # right films; of other classes those taken for the aim
    ],
)
def test_each_question_is_answered_film_by_film(method, arguments, untargeted, targeted):
    for outcome, expected in ((Outcome.of(Condition()), untargeted), (Outcome.of(Condition(target="Normal")), targeted)):
        assert getattr(outcome, method)(*arguments).astype(int).tolist() == expected


def test_an_attack_turns_no_film_that_it_cannot_turn():
    for aim in (None, 0, 1, 2):
        outcome = Outcome(aim)
        turned, could = outcome.is_turned(BEFORE, AFTER, LABELS), outcome.can_turn(BEFORE, LABELS)
        assert not (turned & ~could).any() and not (could & ~outcome.is_attackable(LABELS)).any()
