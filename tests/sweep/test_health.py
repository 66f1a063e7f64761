"""The health report: each warning from ten films on, on counts that are chosen one by one."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nosign.attacks.catalogue import ATTACKS, CONTROLS, Condition
from nosign.attacks.turning import LEFT_CENSORED, RIGHT_CENSORED, TURNED, WRONG_BEFORE
from nosign.rows import Cell
from nosign.sweep.gradients import GRADIENT_FACTS
from nosign.sweep.health import Evidence, health_report

FILMS = 40
LABELS = np.arange(FILMS) % 3
HEALTHY = dict.fromkeys(GRADIENT_FACTS, 0)


def frame(**turned):
    """Return labels and what models see: the first so many films as another class than their own."""
    seen = {model: np.where(np.arange(FILMS) < count, (LABELS + 1) % 3, LABELS) for model, count in turned.items()}
    return pd.DataFrame({"label": LABELS, **seen})


def evidence(cells, condition="budget", turning=None, wrong_before=0):
    """Return evidence of two models on forty films.

    Args:
        cells: dict from (attack, strength) to how many films it turns for VGG16, or to a pair with InceptionV3's.
        wrong_before: how many films VGG16 has wrong before the attack.
    """
    seen = {Cell(*cell): frame(VGG16=np.ravel(count)[0], InceptionV3=np.ravel(count)[-1]) for cell, count in cells.items()}
    clean = frame(VGG16=wrong_before, InceptionV3=0)
    return Evidence("VGG16", Condition.parse(condition), clean, seen, turning or {})


def warnings(evidence, **facts):
    """Return the warnings of a report."""
    return health_report({**HEALTHY, **facts}, evidence)["warnings"]


def turning_rows(strengths, status=TURNED, films=FILMS):
    """Return turning strengths of the first films, those without one being turned by no strength."""
    rows = pd.DataFrame({"strength": 0.25, "status": RIGHT_CENSORED}, index=pd.RangeIndex(films))
    rows.loc[: len(strengths) - 1, ["strength", "status"]] = [[strength, status] for strength in strengths]
    return rows


def test_a_sweep_without_cells_has_no_warnings():
    assert warnings(evidence({})) == []


@pytest.mark.parametrize("control, attack", [("noise-sign", "fgsm"), ("noise", "fgnm"), ("shuffled", "fgnm")])
@pytest.mark.parametrize("of_control, of_attack, warns", [(10, 20, True), (9, 20, False), (10, 10, True), (9, 9, False)])
def test_a_control_that_turns_half_as_many_films_as_its_attack_is_reported(control, attack, of_control, of_attack, warns):
    cells = {(control, 0.01): of_control, (attack, 0.01): of_attack, (attack, 0.02): FILMS}
    report = health_report(HEALTHY, evidence(cells))
    line = (
        f"{ATTACKS[control].title} turns {of_control} films at 0.01 where {ATTACKS[attack].title} turns {of_attack}: "
        "half of what the gradients do needs no gradients"
    )
    assert report["warnings"] == [line] * warns
    facts = {"control": control, "attack": attack, "strength": 0.01, "control_films": of_control, "attack_films": of_attack}
    assert report["controls_like_attacks"] == [facts] * (of_attack >= 10)


@pytest.mark.parametrize("of_control, warns", [(10, True), (9, False)])
def test_controls_are_compared_by_turning_strengths_where_half_of_the_attacks_films_have_turned(of_control, warns):
    # Forty films turn at 0.001, 0.002 ..., half of them up to 0.02; all turn under the control too, most of them later.
    by_attack = turning_rows(np.arange(1, FILMS + 1) * 0.001)
    by_control = turning_rows(np.where(np.arange(FILMS) < of_control, 0.02, 0.021))
    turning = {"fgnm": by_attack, "noise": by_control}
    assert len(warnings(evidence({}, turning=turning))) == warns


@pytest.mark.parametrize("count, warns", [(10, True), (9, False)])
def test_turning_strengths_are_compared_if_the_attack_turns_ten_of_the_controls_films(count, warns):
    rows = turning_rows([0.01] * count, LEFT_CENSORED, films=count + 5)
    others = turning_rows([0.01] * FILMS)
    wrong = others.assign(status=WRONG_BEFORE, strength=np.nan)
    found = [warnings(evidence({}, turning={"fgsm": one, "noise-sign": rows})) for one in (others, rows)]
    assert [len(lines) for lines in found] == [1, warns]
    assert warnings(evidence({}, turning={"fgsm": wrong, "noise-sign": wrong})) == []
    assert warnings(evidence({}, turning={"fgsm": others})) == []


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.iterative])
def test_an_iterative_attack_that_turns_ten_fewer_than_one_step_of_the_same_budget_is_reported(name):
    single = {"sign": "fgsm", "no-sign": "fgnm"}.get(ATTACKS[name].direction, "fgsm")
    line = (
        f"{ATTACKS[name].title} turns 20 films at 0.003 and {ATTACKS[single].title} 30: many steps should not do less than one"
    )
    for of_single, condition, warns in ((30, "budget", True), (29, "budget", False), (30, "paper", False)):
        cells = {(name, 0.001): 5, (single, 0.001): 5, (name, 0.003): 20, (single, 0.003): of_single}
        assert warnings(evidence(cells, condition)) == [line] * warns
    cells = {(name, 0.003): 20, (single, 0.002): 30}
    assert warnings(evidence(cells)) == []  # not at one strength


@pytest.mark.parametrize("there, here, warns", [(20, 10, True), (20, 11, False)])
def test_an_attack_that_turns_ten_more_films_of_another_model_is_reported(there, here, warns):
    cells = {("fgsm", 0.001): (5, 5), ("fgsm", 0.01): (here, there)}
    line = "FGSM at 0.01 turns 20 films for InceptionV3 and 10 for VGG16, whose gradients it follows"
    assert warnings(evidence(cells)) == [line] * warns


def test_a_film_that_the_source_has_wrong_already_is_none_that_transfer_turns_more():
    cells = {("fgsm", 0.01): (FILMS, FILMS)}
    report = health_report(HEALTHY, evidence(cells, wrong_before=15))
    assert report["warnings"] == [] and report["films_wrong_before_the_attack"] == 15
    facts = {"attack": "fgsm", "target": "InceptionV3", "strength": 0.01, "target_films": 25, "source_films": 25}
    assert report["transfer_above_white_box"] == [facts]


@pytest.mark.parametrize("rise, warns", [(10, True), (9, False)])
def test_accuracy_that_rises_by_ten_films_is_reported_however_many_strengths_lie_between(rise, warns):
    # Films right: 30, then fewest, then two small rises, then fewer again.
    turned = dict(zip((0.001, 0.002, 0.003, 0.004, 0.005), (10, 35, 30, 35 - rise, 40)))
    report = health_report(HEALTHY, evidence({("pgd", strength): count for strength, count in turned.items()}))
    line = f"PGD: {rise} more films right at 0.004 than at 0.002; a stronger attack should not do less"
    assert report["warnings"] == [line] * warns
    assert report["accuracy_rises_with_strength"] == [{"attack": "pgd", "from": 0.002, "to": 0.004, "films": rise}]


def test_accuracy_may_rise_under_controls_and_under_attacks_with_an_aim():
    for name, condition in (*product(CONTROLS, ["budget"]), ("fgsm", "budget-to-Normal")):
        report = health_report(HEALTHY, evidence({(name, 0.001): 40, (name, 0.002): 0}, condition))
        assert report["accuracy_rises_with_strength"] == [] == report["warnings"]


def test_an_attack_with_an_aim_turns_the_films_that_reach_it():
    # Of the first 30 films the 10 of the class before the aim become the aim.
    cells = {("fgsm", 0.01): 30, ("bim", 0.01): 0}
    report = health_report(HEALTHY, evidence(cells, "budget-to-Normal"))
    assert [facts["single_step_films"] for facts in report["iterative_below_single_step"]] == [10]
    assert len(report["warnings"]) == 1


@pytest.mark.parametrize(
    "fact, line", zip(GRADIENT_FACTS, ["zero gradient", "nan or infinite gradient", "", "does not turn 1 of 1"])
)
def test_one_film_is_enough_where_a_gradient_is_lost_or_an_attack_without_bounds_leaves_it(fact, line):
    counts = {fact: 1, "films_attacked_without_bounds": 1}
    found = warnings(evidence({}), **counts)
    assert [line in text for text in found] == [True] * bool(line)


def test_the_report_is_ready_for_json_and_keeps_the_facts_it_is_given_alone():
    cells = {(name, strength): (count, 20) for name in ATTACKS for strength, count in ((0.001, 20), (0.002, 10))}
    turning = {name: turning_rows([0.01] * 20) for name in ("fgsm", "fgnm", *CONTROLS)}
    report = health_report({**HEALTHY, "unbounded_accuracy": 0.2}, evidence(cells, turning=turning))
    assert json.loads(json.dumps(report)) == report and "unbounded_accuracy" not in report
    assert len(report["warnings"]) == len(CONTROLS) + 2 * (len(ATTACKS) - len(CONTROLS))  # transfer and rises
