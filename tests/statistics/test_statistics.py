"""Intervals and tests against closed forms and scipy, and what is said of small sweeps whose counts are known by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nosign.attacks.catalogue import Condition
from nosign.findings import confusion, directions, over_runs
from nosign.finished import FinishedSweep, Run, compare_directions
from nosign.output.table import SweepName
from nosign.statistics import families, intervals, paired

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
WRONG = (LABELS + 1) % 3


def cell(attack, strength=0.001, condition="paper", source="VGG16", **predictions):
    """Return a cell of ten films: (source, condition, attack, strength, frame)."""
    seen = {name + ending: classes for name, classes in predictions.items() for ending in ("", "_8bit")}
    films = pd.DataFrame({"film": range(10), "label": LABELS, **seen, "linf": 0.1, "l2": 1.0, "ssim": 0.9}).astype(float)
    return source, condition, attack, strength, films


def sweeps(cells, clean=None):
    """Return the finished sweeps of some cells."""
    clean, made = CLEAN if clean is None else clean, {}
    for source, condition, attack, strength, films in cells:
        if (source, condition) not in made:
            groups = np.arange(len(clean))
            parsed = Condition.parse(condition)
            made[source, condition] = FinishedSweep(source, parsed, "test films", 10, clean, groups, {}, {})
        made[source, condition].cells[attack, strength] = films
    return tuple(made.values())


def compared(cells):
    """Return the tests of sign against no-sign of some cells."""
    return compare_directions(sweeps(cells))


def right(films):
    """Return predictions that are right on the films of these positions, wrong elsewhere."""
    return np.where(np.isin(np.arange(10), films), LABELS, WRONG)


CLEAN = pd.DataFrame({"film": range(10), "label": LABELS, "VGG16": right(range(1, 10)), "InceptionV3": LABELS}).astype(float)


@pytest.mark.parametrize("count, total", [(0, 10), (5, 10), (10, 10), (830, 900), (1, 7)])
def test_wilson_interval_is_that_of_scipy(count, total):
    wanted = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert intervals.wilson_percent(count, total) == pytest.approx((100 * wanted.low, 100 * wanted.high))


def test_wilson_interval_of_none_of_ten_has_its_closed_form():
    z2 = stats.norm.ppf(0.975) ** 2
    low, high = intervals.wilson_percent(np.array([0, 0, 3]), np.array([10, 0, 3]))
    assert low[0] == 0 and high[0] == pytest.approx(100 * z2 / (10 + z2))
    assert np.isnan([low[1], high[1]]).all()
    assert (low[2], high[2]) == (pytest.approx(100 * 3 / (3 + z2)), 100)


@pytest.mark.parametrize("first, second", [(0, 6), (6, 0), (3, 9), (20, 21)])
def test_mcnemar_is_the_exact_binomial_test_of_the_films_with_one_result_only(first, second):
    assert paired.mcnemar_p(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_mcnemar_of_six_films_on_one_side_and_of_none_by_hand():
    assert paired.mcnemar_p(6, 0) == pytest.approx(2 / 2**6)
    assert paired.mcnemar_p(0, 0) == 1


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_keeps_their_order():
    assert families.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_comparison_counts_the_films_that_one_direction_alone_leaves_right():
    comparison = compared([cell("fgsm", VGG16=right(range(1, 10))), cell("fgnm", VGG16=right([0, 1]))])
    (row,) = comparison.to_dict("records")
    assert (row["films"], row["sign_films"], row["no_sign_films"]) == (10, 9, 2)
    assert (row["only_sign"], row["only_no_sign"], row["difference_points"]) == (8, 1, -70)
    assert row["p"] == row["holm_p"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert (row["verdict"], row["counted"], row["white_box"]) == ("no-sign better", "right", True)


@pytest.mark.parametrize(
    "sign, no_sign, verdict",
    [
        (range(10), [], "no-sign better"),
        ([], range(10), "sign better"),
        (range(5), [], "not told apart"),  # p = 2 / 2**5
        (range(5), range(5, 10), "not told apart"),
        (range(6), [], "no-sign better"),
    ],
)  # p = 2 / 2**6
def test_a_verdict_needs_a_difference_that_the_test_finds(sign, no_sign, verdict):
    comparison = compared([cell("bim", VGG16=right(sign)), cell("binm", VGG16=right(no_sign))])
    assert comparison["verdict"].tolist() == [verdict]


def test_where_attacks_aim_at_a_class_more_films_that_reach_it_are_better_and_its_own_do_not_count():
    aimed = [
        cell("fgsm", condition="paper-to-Normal", VGG16=LABELS),
        cell("fgnm", condition="paper-to-Normal", VGG16=np.ones(10)),
    ]
    (row,) = compared(aimed).to_dict("records")
    assert (row["films"], row["sign_films"], row["no_sign_films"], row["only_no_sign"]) == (7, 0, 7, 7)
    assert (row["verdict"], row["counted"]) == ("no-sign better", "taken for Normal")


def test_holm_runs_over_each_table_of_each_condition_alone():
    several = [
        cell(attack, strength, condition, VGG16=right(films), InceptionV3=right(range(10)))
        for condition in ("paper", "budget")
        for strength in (0.001, 0.002)
        for attack, films in (("fgsm", range(6)), ("fgnm", []), ("bim", range(7)), ("binm", []))
    ]
    several += [cell("pgd", VGG16=right(range(7))), cell("pgdnm", VGG16=right([]))]
    comparison = compared(several).set_index(["condition", "attacks"])
    sizes = {family: set(part["comparisons"]) for family, part in comparison.groupby(level=[0, 1])}
    assert sizes == {
        ("paper", "single-step"): {4},
        ("paper", "iterative"): {5},
        ("budget", "single-step"): {4},
        ("budget", "iterative"): {4},
    }
    # Two of the four p values are 2 / 2**6, the others 1: by Holm 4 times that.
    single = comparison.loc[("paper", "single-step")]
    assert single["holm_p"].tolist() == pytest.approx([0.125, 1, 0.125, 1])
    assert (single["verdict"] == "not told apart").all()


def test_cells_and_targets_without_a_twin_are_not_compared():
    lonely = [
        cell("fgsm", VGG16=LABELS),
        cell("fgnm", 0.002, VGG16=LABELS),
        cell("bim", VGG16=LABELS, InceptionV3=LABELS),
        cell("binm", InceptionV3=LABELS),
    ]
    comparison = compared(lonely)
    assert comparison[["sign_attack", "target"]].to_numpy().tolist() == [["bim", "InceptionV3"]]
    nothing = compared(lonely[:2])
    assert nothing.empty and list(nothing.columns) == list(comparison.columns)
    assert directions.summarise(nothing).empty and list(directions.summarise(nothing)["sentence"]) == []


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
    ].to_numpy().tolist() == [[True, "VGG16", 2, 2, 1, 0, 1, 10, 4], [False, "InceptionV3", 2, 2, 0, 0, 2, 10, 4]]


def test_the_summary_says_its_counts_in_words():
    white_box, transfer = directions.summarise(some_comparison())["sentence"]
    assert white_box == (
        "Condition 'paper', single-step attacks, white-box (VGG16): of 2 strengths no-sign left fewer films right at 1 "
        "(0.001), more at 0, and at 1 the two cannot be told apart (exact McNemar, Holm over 4 comparisons, 10 films)."
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
    white_box, transfer = directions.summarise(compare_directions(sweeps(several, CLEAN.assign(DenseNet201=LABELS))))[
        "sentence"
    ]
    assert "white-box (VGG16): of 6 comparisons (2 pairs and 3 strengths) no-sign" in white_box
    assert (
        "transfer from VGG16 to InceptionV3 and DenseNet201: of 12 comparisons (2 pairs, 3 strengths and 2 models) "
        "no-sign left fewer films right at 0, more at 0, and at 12 the two"
    ) in transfer
    aimed = [cell(attack, condition="paper-to-Normal", VGG16=LABELS) for attack in ("fgsm", "fgnm")]
    (sentence,) = directions.summarise(compared(aimed))["sentence"]
    assert "of 1 strength no-sign had more films taken for Normal at 0, fewer at 0, and at 1 the two" in sentence


def test_confusion_counts_every_pair_of_classes_before_and_under_each_attack():
    turned = np.array([0, 1, 1, 1, 1, 2, 0, 0, 0, 2])
    counts = confusion.count_confusion(sweeps([cell("fgsm", 0.03, VGG16=turned)]))
    assert counts["attack"].unique().tolist() == ["clean", "fgsm"]
    matrix = {
        attack: part.pivot(index="true_class", columns="predicted_class", values="films").to_numpy().tolist()
        for attack, part in counts[counts["target"] == "VGG16"].groupby("attack")
    }
    assert matrix == {"clean": [[2, 1, 0], [0, 3, 0], [0, 0, 4]], "fgsm": [[1, 2, 0], [0, 2, 1], [3, 0, 1]]}
    assert set(counts.groupby(["attack", "target"])["films"].sum()) == {10}
    assert set(counts["true_class"].head(3)) == {"COVID-19"} and counts["white_box"].sum() == 18


def test_each_attack_is_asked_at_its_largest_strength_what_covid_turns_into():
    sweep = [
        cell("fgsm", 0.001, VGG16=LABELS),
        cell("fgsm", 0.03, VGG16=np.array([0, 1, 2, 0, 0, 0, 0, 0, 0, 0])),
        cell("fgnm", 0.002, VGG16=np.array([2, 2, 2, 0, 0, 0, 0, 0, 0, 0])),
        cell("fgnm", 0.002, "budget", VGG16=LABELS),
    ]
    whole = sweeps(sweep)
    counts = confusion.count_confusion(whole)
    sentences = [
        sentence.text
        for one in whole
        for sentence in confusion.turned_sentences(one, counts[counts["condition"] == str(one.condition)])
    ]
    assert sentences[:2] == [
        "FGSM at 0.03, white-box, condition 'paper': of 3 COVID-19 films VGG16 recognises 2 before the attack and 1 after it, "
        "and takes 1 for Normal and 1 for Pneumonia.",
        "FGNM at 0.002, white-box, condition 'paper': of 3 COVID-19 films VGG16 recognises 2 before the attack and 0 after "
        "it, and takes 0 for Normal and 3 for Pneumonia.",
    ]
    assert len(sentences) == 3 and "FGNM at 0.002, white-box, condition 'budget'" in sentences[2]


def run_of(**right_films):
    """Return the cells of a run with FGSM and FGNM at one strength, by how many films VGG16 still gets right."""
    return [cell(attack, 0.01, VGG16=right(range(films))) for attack, films in right_films.items()]


def shares(runs):
    """Return what the tables of several runs, lists of cells, show."""
    made = [Run(None, None, "test films", None, CLEAN, sweeps(cells)) for cells in runs]
    return pd.concat([over_runs.shares_of(run, number) for number, run in enumerate(made)])


def test_spread_has_mean_standard_deviation_and_range_over_the_runs_that_have_a_cell():
    spread = over_runs.spread_over_runs(shares([run_of(fgsm=4, fgnm=2), run_of(fgsm=8, fgnm=2), run_of(fgsm=6)]))
    rows = {row["attack"]: row for row in spread.to_dict("records") if row["target"] == "VGG16"}
    assert list(rows) == ["clean", "fgsm", "fgnm"]
    assert [rows["fgsm"][name] for name in ("runs", "mean_percent", "lowest_percent", "highest_percent")] == [3, 60, 40, 80]
    assert rows["fgsm"]["sd_points"] == pytest.approx(20)  # of 40, 80 and 60: the root of (20**2 + 20**2 + 0) / 2
    assert (rows["fgnm"]["runs"], rows["fgnm"]["sd_points"]) == (2, 0)
    assert (rows["clean"]["mean_percent"], rows["clean"]["runs"], rows["clean"]["strength"]) == (90, 3, 0)


def test_one_run_has_no_spread_and_no_directions():
    runs = [run_of(fgsm=4, fgnm=2)]
    assert over_runs.spread_over_runs(shares(runs))["sd_points"].isna().all()
    assert over_runs.directions_sentences(over_runs.directions_over_runs(shares(runs))) == []


def test_directions_are_compared_within_each_run():
    runs = [run_of(fgsm=4, fgnm=1), run_of(fgsm=8, fgnm=7), run_of(fgsm=5), run_of(fgnm=5)]
    directions = over_runs.directions_over_runs(shares(runs))
    (row,) = directions.to_dict("records")
    assert (row["runs"], row["no_sign_better"], row["sign_better"], row["equal"]) == (2, 2, 0, 0)
    assert (row["mean_points"], row["lowest_points"], row["highest_points"]) == pytest.approx((-20, -30, -10))
    assert row["sd_points"] == pytest.approx(200**0.5)
    assert [sentence.text for sentence in over_runs.directions_sentences(directions)] == [
        "Condition 'paper', single-step attacks, white-box (VGG16), over 2 runs: of 1 comparison no-sign is better in every "
        "run at 1, sign in every run at 0; no-sign minus sign is -20.0 points of accuracy on average, and varies from run to "
        "run by 14.1 points (mean SD)."
    ]
    table = over_runs.runs_table(directions, SweepName("VGG16", "paper"), "test films")
    assert table.rows == [
        ["FGSM / FGNM", "0.01", "VGG16*", "2", "2", "0", "\u221220.00 \u00b1 14.14", "\u221230.00 to \u221210.00"]
    ]


def test_runs_that_disagree_or_tie_are_counted_apart():
    runs = [run_of(fgsm=4, fgnm=2), run_of(fgsm=4, fgnm=6), run_of(fgsm=4, fgnm=4)]
    (row,) = over_runs.directions_over_runs(shares(runs)).to_dict("records")
    assert (row["runs"], row["no_sign_better"], row["sign_better"], row["equal"]) == (3, 1, 1, 1)


def test_where_attacks_aim_more_is_better_in_a_run():
    runs = []
    for sign, no_sign in ((1, 3), (2, 3)):
        runs.append(
            [
                cell(attack, condition="paper-to-Normal", VGG16=np.where(np.arange(10) < films, 1, LABELS))
                for attack, films in (("fgsm", sign), ("fgnm", no_sign))
            ]
        )
    (row,) = over_runs.directions_over_runs(shares(runs)).to_dict("records")
    assert (row["measure"], row["no_sign_better"]) == ("success", 2) and row["mean_points"] > 0


@pytest.mark.parametrize("only_first, only_second, films", [(3, 9, 40), (0, 6, 10), (0, 0, 5), (20, 1, 180)])
def test_the_paired_interval_is_walds_with_half_a_film_more_in_each_count(only_first, only_second, films):
    counts = np.array([only_first, only_second, (films - only_first - only_second) / 2, 0]) + [0.5, 0.5, 0.5, 0.5]
    counts[3] = films + 2 - counts[:3].sum()  # both or neither: how the rest is divided does not matter
    values = np.array([-1, 1, 0, 0])
    mean = np.average(values, weights=counts)
    error = np.sqrt(np.average((values - mean) ** 2, weights=counts) / (films + 2))
    low, high = intervals.paired_interval(only_first, only_second, films)
    assert (low, high) == pytest.approx((100 * (mean - 1.959964 * error), 100 * (mean + 1.959964 * error)))


def test_strength_0_is_no_attack_and_is_not_tested():
    films = [cell(attack, 0.0, VGG16=LABELS) for attack in ("fgsm", "fgnm")]
    attacked = [cell("fgsm", 0.01, VGG16=LABELS), cell("fgnm", 0.01, VGG16=right(range(4)))]
    (row,) = compared(films + attacked).to_dict("records")
    assert (row["strength"], row["comparisons"], row["holm_p"]) == (0.01, 1, pytest.approx(2 / 2**6))
