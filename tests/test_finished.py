"""Counting cells and testing sign against no-sign, on films whose counts are known by hand."""

import finished
import law
import numpy as np
import pandas as pd
import pytest
from finished import LABELS, cell, right, run_in, sweep_in, sweeps_of

from nosign.findings import directions
from nosign.finished import compare_directions, film_boundaries
from nosign.measures import visibility
from nosign.statistics.patients import Patients


def test_counts_and_accuracies_of_a_cell(results):
    row = run_in(results).counts.query("attack == 'fgnm' and strength == 0.001 and target == 'InceptionV3'").iloc[0]
    assert (row["correct"], row["films"], row["accuracy_percent"]) == (3, 4, 75.0)
    assert (row["correct_8bit"], row["accuracy_8bit_percent"]) == (2, 50.0)
    assert row["linf_mean"] == pytest.approx(0.25) and row["l2_mean"] == 3 and row["ssim_mean"] == 0.75
    assert not row["white_box"]


def test_clean_accuracy_counts_over_all_films(results):
    clean = run_in(results).accuracy
    assert clean[["target", "correct", "films", "accuracy_percent"]].to_numpy().tolist() == [
        ["VGG16", 3, 4, 75.0],
        ["InceptionV3", 4, 4, 100.0],
    ]


def test_every_accuracy_has_its_interval_by_patient_in_the_tidy_rows(results):
    run = run_in(results)
    for frame in (run.counts, run.accuracy):
        for row in frame.to_dict("records"):
            right = np.arange(4) < row["correct"]  # each film is a patient of its own: which are right matters little
            wanted = Patients(range(4)).share(right)
            assert (row["ci_low_percent"], row["ci_high_percent"]) == pytest.approx(wanted[1:])
    # Two of four films are class 0, as all cells' are seen after rounding.
    assert set(run.counts["ci_low_8bit_percent"]) == {Patients(range(4)).share([1, 1, 0, 0])[1]}


def test_success_is_told_over_all_films_and_over_those_right_before(results):
    # VGG16 is right on films 0, 1, 2 before; under FGSM at 0.003 on film 0 only, so three are wrong, two of them newly.
    row = run_in(results).counts.query("attack == 'fgsm' and strength == 0.003 and target == 'VGG16'").iloc[0]
    assert (row["reached"], row["attackable"], row["reached_percent"]) == (3, 4, 75)
    assert (row["turned"], row["can_turn"]) == (2, 3)
    assert row["turned_percent"] == pytest.approx(200 / 3)


def compared(cells):
    """Return the tests of sign against no-sign of some cells."""
    return compare_directions(sweeps_of(cells))


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


def test_holm_runs_over_each_question_of_each_condition_alone():
    several = [
        cell(attack, strength, condition, VGG16=right(films), InceptionV3=right(range(10)))
        for condition in ("paper", "budget")
        for strength in (0.001, 0.002)
        for attack, films in (("fgsm", range(6)), ("fgnm", []), ("bim", range(7)), ("binm", []))
    ]
    several += [cell("pgd", VGG16=right(range(7))), cell("pgdnm", VGG16=right([]))]
    comparison = compared(several).set_index(["condition", "question"])
    sizes = {family: set(part["comparisons"]) for family, part in comparison.groupby(level=[0, 1])}
    assert sizes == {
        ("paper", "single-step"): {2},
        ("paper", "iterative"): {3},
        ("paper", "transfer"): {0},  # no film differs, so no test could reject
        ("budget", "single-step"): {2},
        ("budget", "iterative"): {2},
        ("budget", "transfer"): {0},
    }
    # Both p values are 2 / 2**6: by Holm twice that. Seven patients of ten would have been told in two tests.
    single = comparison.loc[("paper", "single-step")]
    assert single["holm_p"].tolist() == pytest.approx([0.0625, 0.0625]) and single["least_points"].tolist() == [70, 70]
    assert (single["verdict"] == "not told apart").all()
    assert comparison.loc[("paper", "transfer"), "holm_p"].isna().all()


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


def test_strength_0_is_no_attack_and_is_not_tested():
    films = [cell(attack, 0.0, VGG16=LABELS) for attack in ("fgsm", "fgnm")]
    attacked = [cell("fgsm", 0.01, VGG16=LABELS), cell("fgnm", 0.01, VGG16=right(range(4)))]
    (row,) = compared(films + attacked).to_dict("records")
    assert (row["strength"], row["comparisons"], row["holm_p"]) == (0.01, 1, pytest.approx(2 / 2**6))


def boundaries_of(results, criterion="JND"):
    """Return the frame of `film_boundaries` of one criterion and the only attack."""
    (films,) = (films for (_, name), films in film_boundaries(sweep_in(results)).items() if name == criterion)
    return films


def test_predictions_at_an_interpolated_boundary_are_those_of_the_last_invisible_strength(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5, 2, 0.5, 0.5], 0.004: [2, 3, 0.5, 1]})
    found = boundaries_of(tmp_path)
    assert found["VGG16"].tolist() == [1, 0, 2, 2]  # visible at once: the clean prediction, 0
    assert found["strength"].tolist() == pytest.approx([0.002, 0.001, 0.004, 0.004])
    assert found["beyond"].tolist() == [0, -1, 1, 1] and not found["exact"].any()


def test_strength_zero_takes_no_part_in_the_interpolation(tmp_path):
    finished.write_visible(tmp_path, {0: [0] * 4, 0.001: [2, 0.5, 0.5, 0.5], 0.004: [2] * 4})
    found = boundaries_of(tmp_path)
    assert found["strength"].tolist() == pytest.approx([0.001, 0.002, 0.002, 0.002])
    assert found["beyond"].tolist() == [-1, 0, 0, 0] and found["VGG16"].iloc[0] == 0


def test_solved_boundaries_come_before_interpolated_ones(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, boundary=finished.BOUNDARY, attack="fgsm")
    found = boundaries_of(tmp_path)
    assert found["strength"].tolist() == [0.002, 0.004, 0.006, 1] and found["exact"].all()
    assert found["beyond"].tolist() == [0, 0, 0, 1] and found["VGG16"].tolist() == [0, 1, 1, 2]
    assert list(film_boundaries(sweep_in(tmp_path))) == [("fgsm", "JND")]


def test_without_solved_boundaries_a_single_step_attack_is_interpolated(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, attack="fgsm")
    assert boundaries_of(tmp_path)["strength"].tolist() == pytest.approx([0.002] * 4)


def test_a_film_that_never_becomes_visible_is_bounded_by_the_whole_grey_range(tmp_path):
    finished.write_visible(
        tmp_path, {0.001: [0.5] * 4}, boundary=finished.BOUNDARY.replace(",1,2\n", ",inf,2\n"), attack="fgsm"
    )
    assert boundaries_of(tmp_path)["strength"].iloc[3] == 1 and boundaries_of(tmp_path)["beyond"].iloc[3] == 1


def test_criteria_that_are_not_on_record_are_left_out(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4})
    for path in tmp_path.glob("attacks/*/*/*/*.csv"):
        finished.write(path, pd.read_csv(path).drop(columns=["psnr", "local_ratio", "jnd_ratio"]))
    assert list(film_boundaries(sweep_in(tmp_path))) == [("bim", "SSIM")]


def test_interpolated_boundaries_recover_the_law_behind_the_cells(tmp_path):
    films = finished.write_results(tmp_path, films=30, attacks=("bim",))
    found = film_boundaries(sweep_in(tmp_path))
    assert [criterion for _, criterion in found] == list(visibility.CRITERIA)
    for (_, criterion), boundaries in found.items():
        known = (boundaries["beyond"] == 0).to_numpy()
        wanted = films.visible[criterion][known] / (0.7 * law.STEPS)
        assert known.any()
        np.testing.assert_allclose(boundaries["strength"][known], wanted, rtol=1e-3)
