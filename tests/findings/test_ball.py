"""In the ball: the worst case, steps and step factors of ten films, counted by hand."""

import numpy as np
from drawn import check_words, lines, panels
from finished import cell, right, sweeps_of

from nosign.attacks.catalogue import ATTACKS, PAIRS, UNIVERSAL
from nosign.findings import ball
from nosign.finished import Run
from nosign.statistics.patients import Patients


def described(cells):
    """Return the finding of some cells of the ten films."""
    return ball.describe(Run(None, None, "test films", sweeps=sweeps_of(cells)))


def counts_of(cells, column="correct"):
    """Return the table's rows as a dict from (attack, step factor, steps, starts, strength) to the films right."""
    (table, *_) = described(cells).tables
    keys = table.frame[["attack", "step_factor", "steps", "restarts", "strength"]].astype(object)
    keys = keys.where(keys.notna(), None).itertuples(index=False, name=None)
    return dict(zip(keys, table.frame[column], strict=True))


def test_the_worst_case_is_over_attacks_of_the_plan():
    followed = {name for pair in PAIRS for name in pair} - {*UNIVERSAL}
    assert set(ball.WORST_CASE) == followed | {"apgd"} and set(ball.WORST_CASE) <= set(ATTACKS)


def test_a_film_is_right_in_the_worst_case_if_all_attacks_under_all_settings_leave_it_right():
    found = counts_of(
        [
            cell("fgsm", condition="budget", VGG16=right([0, 1, 2, 3])),
            cell("pgd", condition="budget", VGG16=right([1, 2, 3, 4])),
            cell("pgd", condition="budget-restarts-5", VGG16=right([2, 3, 4])),
            cell("pgd", condition="budget-factor-2", VGG16=right([3, 4, 5])),
            cell("noise", condition="budget", VGG16=right([])),  # a control has no part in it
            cell("pgd", 0.003, condition="budget", VGG16=right([9])),
            cell("pgd", condition="paper", VGG16=right([])),
            cell("pgd", condition="budget-grey", VGG16=right([])),
            cell("pgd", condition="budget-l2", VGG16=right([])),
        ]
    )
    assert found == {
        ("fgsm", 1, 1, 1, 0.001): 4,
        ("pgd", 1, 10, 1, 0.001): 4,
        ("pgd", 1, 10, 1, 0.003): 1,
        ("pgd", 1, 10, 5, 0.001): 3,
        ("pgd", 2, 10, 1, 0.001): 3,
        ("noise", 1, 1, 1, 0.001): 0,
        (ball.WORST, None, None, None, 0.001): 1,
        (ball.WORST, None, None, None, 0.003): 1,
    }


def test_with_an_aim_a_film_is_reached_if_one_attack_reaches_it():
    seen = {name: np.where(np.isin(np.arange(10), films), 1, 2) for name, films in (("fgsm", [0, 3]), ("bim", [1, 3, 7]))}
    found = counts_of([cell(name, condition="budget-to-Normal", VGG16=classes) for name, classes in seen.items()], "reached")
    # Films 3, 4 and 5 are Normal and not counted.
    assert list(found.values()) == [1, 2, 3]
    (sentence,) = described([cell("fgsm", condition="budget-to-Normal", VGG16=seen["fgsm"])]).sentences
    assert "films taken for Normal in the worst case: 1 of 7 (14.29 %) at 0.001" in sentence.text


def test_what_a_setting_has_no_effect_on_is_counted_once():
    conditions = ("budget", "budget-factor-2", "budget-steps-50", "budget-restarts-5")
    cells = [cell(name, condition=condition, VGG16=right([1])) for condition in conditions for name in ("fgsm", "bim", "apgd")]
    table, _ = described(cells).tables
    # A single step knows the factor alone, BIM no starts, APGD no factor.
    assert [row[:4] for row in table.rows] == [
        ["FGSM", "1", "1", "1"],
        ["FGSM", "2", "1", "1"],
        ["BIM", "1", "10", "1"],
        ["BIM", "1", "50", "1"],
        ["BIM", "2", "10", "1"],
        ["APGD", "1", "10", "1"],
        ["APGD", "1", "10", "5"],
        ["APGD", "1", "50", "1"],
        ["Worst case", "—", "—", "—"],
    ]
    assert table.frame["pooled"].tolist() == [1] * 8 + [8]


CELLS = [
    cell("pgd", strength, condition=condition, VGG16=right(range(left)))
    for strength in (0.001, 0.003)
    for condition, left in (("budget", 8), ("budget-factor-2", 5), ("budget-factor-0.5", 9))
]


def test_step_factors_stand_beside_each_other_and_the_strongest_is_bold():
    _, table = described(CELLS).tables
    assert table.rows == [["PGD", "10", "1", strength, "90.00", "80.00", "50.00"] for strength in ("0.001", "0.003")]
    assert table.marks.tolist() == [[False] * 6 + [True]] * 2
    assert [column.heading for column in table.columns] == ["Attack", "T", "Starts", "Strength", "0.5", "1", "2"]
    assert "the plan tunes F on validation films" in table.caption
    assert len(described(CELLS[:1]).tables) == 1


def with_steps(left):
    """Return a run of PGD at two strengths and FGSM with several T; `left` is dict from T to PGD's films right."""
    cells = [
        made
        for steps, films in left.items()
        for condition in ["budget" if steps == 10 else f"budget-steps-{steps}"]
        for made in (
            *(cell("pgd", strength, condition=condition, VGG16=right(range(films))) for strength in (0.001, 0.003)),
            cell("fgsm", condition=condition, VGG16=right([1])),
        )
    ]
    return Run(None, None, "test films", sweeps=sweeps_of(cells))


def test_accuracy_is_drawn_against_t_where_several_were_run():
    (drawing,) = ball.describe(with_steps({10: 6, 50: 3, 2: 9})).drawings
    assert drawing.name == "ball-budget" and list(panels(drawing.figure)) == ["strength 0.001", "strength 0.003"]
    for axes in panels(drawing.figure).values():
        (line,) = lines(axes).values()
        assert line.get_label() == "PGD"
        assert line.get_xdata().tolist() == [2, 10, 50] and line.get_ydata().tolist() == [90, 60, 30]
        bars = [bar[:, 1].tolist() for bar in axes.collections[0].get_segments()]
        np.testing.assert_allclose(bars, [Patients(range(10)).share(np.arange(10) < count)[1:] for count in (9, 6, 3)])
    check_words(drawing.figure)
    assert ball.describe(with_steps({10: 6})).drawings == ()


def test_the_sentence_names_the_worst_case_and_the_strongest_attack():
    cells = [cell("fgsm", condition="budget", VGG16=right([0, 1, 2])), cell("apgd", condition="budget", VGG16=right([1, 9]))]
    finding = described(cells)
    assert [sentence.text for sentence in finding.sentences] == [
        "Within the L-inf ball (condition 'budget'), gradients from VGG16, films right in the worst case: 1 of 10 (10.00 %) at "
        "0.001, 2 under APGD alone, the strongest of 2."
    ]
    assert (
        "if each of FGSM and APGD, in all rows" in finding.tables[0].caption
        and "Not run: FGNM, BIM" in finding.tables[0].caption
    )
    assert finding.tables[0].sweep is None


def test_without_a_ball_or_the_source_among_the_targets_there_is_nothing_to_say():
    assert not described([cell("fgsm", VGG16=right([0]))])
    assert not described([cell("fgsm", condition="budget", InceptionV3=right([0]))])
    assert not described([cell("noise", condition="budget", VGG16=right([0]))]).sentences
