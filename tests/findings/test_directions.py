"""Sign against no-sign: the table of tests and what is said of them."""

import finished
import numpy as np
import pandas as pd
import pytest
from finished import LABELS, cell, right, run_in, sweep_in, sweeps_of

from nosign.findings import directions
from nosign.finished import compare_directions
from nosign.output import table, words


def headings_of(made):
    """Return the (group, heading) of a table's columns."""
    return [(column.group, column.heading) for column in made.columns]


def test_the_comparison_lists_counts_p_values_and_verdicts(results):
    run = run_in(results)
    made = directions.comparison_table(sweep_in(results), run.comparisons, "test films")
    heading = [" ".join(filter(None, column)) for column in headings_of(made)]
    assert heading == [
        "Pair",
        "Strength",
        "Target",
        "Films",
        "Films right under sign",
        "Films right under no-sign",
        "Films right under only sign",
        "Films right under only no-sign",
        "Difference",
        "95 % interval",
        "p",
        "Holm p",
        "Least told",
        "Verdict",
    ]
    spans = [words.span(*ends) for ends in run.comparisons[["ci_low_points", "ci_high_points"]].to_numpy()]
    untold = ("1.00", "—", "—", "not told apart")  # four films cannot tell anything
    # By the predictions in `results`: VGG16 gets films 0, 1 right under FGSM and 0 under FGNM, then one film each.
    assert made.rows == [
        ["FGSM / FGNM", "0.001", "VGG16*", "4", "2", "1", "1", "0", "−25.00", spans[0], *untold],
        [
            "FGSM / FGNM",
            "0.001",
            "InceptionV3",
            "4",
            "2",
            "3",
            "0",
            "1",
            "+25.00",
            spans[1],
            "1.00",
            "—",
            "—",
            "not told apart",
        ],
        ["FGSM / FGNM", "0.003", "VGG16*", "4", "1", "1", "1", "1", "0.00", spans[2], *untold],
    ]
    assert made.name == "comparison" and "could reject: single-step (0) and transfer (0)." in made.caption
    assert not made.marks.any()
    assert directions.comparison_table(sweep_in(results), run.comparisons.iloc[:0], "test films") is None
    assert r"$-$25.00" in table.to_latex(made)


def compared(cells):
    """Return the tests of sign against no-sign of some cells."""
    return compare_directions(sweeps_of(cells))


def some_comparison():
    """Return the tests of a sweep: FGNM better white-box at one of two strengths, both the same on the other model."""
    return compared(
        [
            cell(attack, strength, InceptionV3=LABELS, VGG16=right(films))
            for attack, strength, films in (
                ("fgsm", 0.001, range(10)),
                ("fgnm", 0.001, []),
                ("fgsm", 0.002, [1, 2]),
                ("fgnm", 0.002, [1]),
            )
        ]
    )


def test_the_summary_counts_verdicts_white_box_and_transfer_apart():
    summary = directions.summarise(some_comparison())
    assert summary[
        [
            "white_box",
            "targets",
            "strengths",
            "comparisons",
            "no_sign_better",
            "sign_better",
            "not_told_apart",
            "films",
            "holm_over",
        ]
    ].to_numpy().tolist() == [[True, "VGG16", 2, 2, 1, 0, 1, 10, 1], [False, "InceptionV3", 2, 2, 0, 0, 2, 10, 0]]


def test_the_summary_says_its_counts_in_words():
    white_box, transfer = directions.summarise(some_comparison())["sentence"]
    assert white_box == (
        "Condition 'paper', single-step attacks, white-box (VGG16): of 2 strengths no-sign left fewer films right at 1 "
        "(0.001), more at 0, and at 1 the two cannot be told apart (exact sign-change test by patient, Holm over 1 comparison, "
        "10 films)."
    )
    assert transfer.startswith(
        "Condition 'paper', single-step attacks, transfer from VGG16 to InceptionV3: of 2 strengths "
        "no-sign left fewer films right at 0, more at 0,"
    )


@pytest.mark.parametrize(
    "better, words",
    [
        ([], ""),
        ([0.003], " (0.003)"),
        ([0.001, 0.002], " (0.001, 0.002)"),
        ([0.002, 0.003, 0.004], " (0.002 to 0.004)"),
        ([0.001, 0.002, 0.004], " (0.001, 0.002, 0.004)"),
    ],
)
def test_strengths_are_named_one_by_one_unless_three_or_more_follow_each_other(better, words):
    part = pd.DataFrame({"strength": [0.001, 0.002, 0.003, 0.004]})
    part["verdict"] = np.where(part["strength"].isin(better), "no-sign better", "not told apart")
    assert directions.strengths_in_words(part) == words
    assert directions.strengths_in_words(pd.concat([part, part])) == ""


def test_a_sentence_over_several_pairs_and_models_says_what_it_counts():
    several = [
        cell(attack, strength, VGG16=LABELS, InceptionV3=LABELS, DenseNet201=LABELS)
        for attack in ("bim", "binm", "pgd", "pgdnm")
        for strength in (0.001, 0.002, 0.003)
    ]
    sweeps = sweeps_of(several, finished.TEN_FILMS.assign(DenseNet201=LABELS))
    white_box, transfer = directions.summarise(compare_directions(sweeps))["sentence"]
    assert "white-box (VGG16): of 6 comparisons (2 pairs and 3 strengths) no-sign" in white_box
    assert (
        "transfer from VGG16 to InceptionV3 and DenseNet201: of 12 comparisons (2 pairs, 3 strengths and 2 models) "
        "no-sign left fewer films right at 0, more at 0, and at 12 the two"
    ) in transfer
    aimed = [cell(attack, condition="paper-to-Normal", VGG16=LABELS) for attack in ("fgsm", "fgnm")]
    (sentence,) = directions.summarise(compared(aimed))["sentence"]
    assert "of 1 strength no-sign had more films taken for Normal at 0, fewer at 0, and at 1 the two" in sentence
