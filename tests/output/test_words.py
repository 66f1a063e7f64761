"""How numbers and conditions are written."""

import pytest

from nosign.attacks.catalogue import Condition
from nosign.output import words


@pytest.mark.parametrize(
    "condition, suffix",
    [
        (("VGG16", "paper"), ""),
        (("VGG16", "budget"), "-budget"),
        (("InceptionV3", "paper"), "-InceptionV3"),
        (("InceptionV3", "budget"), "-InceptionV3-budget"),
    ],
)
def test_other_conditions_have_names_of_their_own(condition, suffix):
    assert words.condition_suffix(*condition) == suffix


@pytest.mark.parametrize("p, text", [(1, "1.00"), (0.03125, "0.0312"), (0.00012345, "0.000123"), (1e-9, "<0.0001")])
def test_p_values_have_three_digits(p, text):
    assert words.p_value(p) == text


def test_lists_and_numbers_read_as_prose():
    assert [words.joined(list("abc")[:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [words.plural(number, "film") for number in (0, 1, 2)] == ["0 films", "1 film", "2 films"]


@pytest.mark.parametrize("points, text", [(-3.1, "\u22123.10"), (0.25, "+0.25"), (0, "0.00"), (float("nan"), "—")])
def test_a_difference_has_its_sign_unless_it_is_zero(points, text):
    assert words.signed(points) == text


@pytest.mark.parametrize(
    "value, unit, text",
    [(14_749_763, "", "14,749,763"), (7.666, "%", "7.67 %"), (30, "points", "30 points"), (float("nan"), "%", "—")],
)
def test_a_quantity_has_its_unit_and_a_count_no_decimals(value, unit, text):
    assert words.quantity(value, unit) == text


@pytest.mark.parametrize(
    "condition, note",
    [
        ("paper", "each step as long as the strength"),
        ("budget-l2", "every attack kept within the strength of the film (in L2: a change by it in every component)"),
        ("budget-factor-2", "every attack kept within the strength of the film; each step 2 times strength / T"),
        ("budget-restarts-5", "every attack kept within the strength of the film; the best of 5 random starts"),
        ("paper-grey", "each step as long as the strength; perturbations equal in all channels"),
    ],
)
def test_a_condition_is_told_in_words(condition, note):
    assert words.condition_note(Condition.parse(condition)) == note
