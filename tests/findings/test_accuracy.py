"""Tables II and III, and what Figure 4 is drawn from, on four films whose counts are known by hand."""

import finished
import numpy as np
import pytest
from finished import run_in, sweep_in, write_cell

from nosign import rows
from nosign.findings import accuracy


def attack_table(results, iterative=False, condition="paper", **verdicts):
    """Return Table II or III; `verdicts` replace the tests' ones, by target, at strength 0.001."""
    run = run_in(results)
    sweep, comparison = sweep_in(results, condition=condition), run.comparisons.copy()
    for target, verdict in verdicts.items():
        comparison.loc[(comparison["target"] == target) & (comparison["strength"] == 0.001), "verdict"] = verdict
    return accuracy.attack_table(sweep, run.of(run.counts, sweep), run.of(comparison, sweep), iterative)


def headings_of(made):
    """Return the (group, heading) of a table's columns."""
    return [(column.group, column.heading) for column in made.columns]


def table_two(results):
    """Return Table II of the paper's condition as if the tests told its first strength's pairs apart."""
    return attack_table(results, VGG16="no-sign better", InceptionV3="sign better")


def test_table_two_lists_the_clean_row_then_ascending_strengths(results):
    shown = table_two(results).rows
    assert shown == [
        ["0 (clean)", "75.00", "75.00", "100.00", "100.00"],
        ["0.001", "50.00", "25.00", "50.00", "75.00"],
        ["0.003", "25.00", "25.00", "0.00", "—"],
    ]


def test_star_marks_the_white_box_model_only(results):
    assert headings_of(table_two(results)) == [
        ("", "Strength"),
        ("VGG16*", "FGSM"),
        ("VGG16*", "FGNM"),
        ("InceptionV3", "FGSM"),
        ("InceptionV3", "FGNM"),
    ]


def test_bold_marks_the_attack_that_the_tests_find_better_and_no_other(results):
    assert table_two(results).bold.tolist() == [
        [False, False, False, False, False],
        [False, False, True, True, False],
        [False, False, False, False, False],
    ]
    assert not attack_table(results).marks.any()  # four films are too few to tell anything apart


def test_table_three_states_the_steps_on_record(results):
    write_cell(results, "VGG16/paper/pgd/0.001", VGG16=[0, 0, 0, 0])
    assert sweep_in(results).steps is None
    write_cell(results, "VGG16/budget-steps-50/bim/0.001", VGG16=[0, 0, 2, 0])
    assert sweep_in(results, condition="budget-steps-50").steps == 50
    (results / "attacks/VGG16/paper/manifest.json").write_text('{"settings": {"steps": 7}}')
    table = attack_table(results, iterative=True)
    assert "PGD against PGDNM" in table.caption and "BIM" not in table.caption and "T = 7," in table.caption
    assert headings_of(table)[1:] == [("VGG16*", "PGD"), ("VGG16*", "PGDNM")]
    assert table.rows[1] == ["0.001", "50.00", "—"]


def test_no_table_without_a_cell(results):
    assert attack_table(results, iterative=True) is None


def test_captions_name_the_comparisons_and_the_widest_interval(results):
    widest = max((row["ci_high_percent"] - row["ci_low_percent"]) / 2 for row in table_two(results).frame.to_dict("records"))
    caption = table_two(results).caption
    assert (
        "could reject: 0 of single-step attacks and 0 of transfer)" in caption
        and f"widest 95 % interval over draws of patients is ±{widest:.1f} points" in caption
    )
    write_cell(results, "VGG16/paper/pgd/0.001", VGG16=[0, 0, 0, 0])
    assert "No sign/no-sign pair is complete" in attack_table(results, iterative=True).caption


def test_a_table_of_targeted_attacks_shows_success_and_marks_what_the_tests_find(results):
    # Of the four films, labels 0, 1, 0, 0 are class 0 three times: one film of another class or three can reach a target.
    write_cell(results, "VGG16/paper-to-Normal/fgsm/0.003", VGG16=[1, 1, 0, 0])
    write_cell(results, "VGG16/paper-to-Normal/fgnm/0.003", VGG16=[1, 1, 1, 0])
    run = run_in(results)
    sweep = sweep_in(results, condition="paper-to-Normal")
    comparison = run.of(run.comparisons, sweep).assign(verdict="no-sign better")
    table = accuracy.attack_table(sweep, run.of(run.counts, sweep), comparison, False)
    others = rows.read_clean(results)["label"] != 1
    expected = [100 * ((np.array(seen) == 1) & others).sum() / others.sum() for seen in ([1, 1, 0, 0], [1, 1, 1, 0])]
    assert table.rows[0][:3] == ["0 (clean)", "33.33", "33.33"]  # film 12 of films 7, 8 and 12
    assert table.rows[1][:3] == ["0.003", *(f"{value:.2f}" for value in expected)]
    assert table.bold[:, 1:3].tolist() == [[False, False], [False, True]]
    assert table.name == "table2-paper-to-Normal" and "taken for Normal" in table.caption
    assert "succeeds more often" in table.caption


def test_medians_for_figure_four_are_those_of_all_classes(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4}, boundary=finished.BOUNDARY, attack="fgsm")
    medians = accuracy.median_boundaries(sweep_in(tmp_path))
    assert medians.to_numpy().tolist() == [["single-step", "sign", "JND", 0.005, ""]]


def test_iterative_attacks_of_one_direction_share_a_mark(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, attack="bim")  # at 0.002
    finished.write_visible(tmp_path, {0.001: [0.25] * 4, 0.016: [4] * 4}, attack="pgd")  # at 0.004
    jnd = accuracy.median_boundaries(sweep_in(tmp_path)).query("criterion == 'JND'")
    assert jnd[["attacks", "direction"]].to_numpy().tolist() == [["iterative", "sign"]]
    assert jnd["strength"].item() == pytest.approx(0.003)


def test_controls_have_no_mark(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, attack="fgsm")  # at 0.002
    finished.write_visible(tmp_path, {0.001: [0.25] * 4, 0.016: [4] * 4}, attack="noise-sign")  # at 0.004
    (jnd,) = accuracy.median_boundaries(sweep_in(tmp_path)).query("criterion == 'JND'").to_dict("records")
    assert (jnd["attacks"], jnd["direction"]) == ("single-step", "sign") and jnd["strength"] == pytest.approx(0.002)


def test_the_sentence_names_the_lowest_count_and_the_first_strength_that_has_it(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 1, 0, 0])  # one right, as at 0.003
    write_cell(results, "VGG16/paper-to-Normal/fgsm/0.001", VGG16=[1, 0, 1, 1])  # films 7 and 12 of 7, 8 and 12
    write_cell(results, "VGG16/paper-to-Normal/fgsm/0.002", VGG16=[1, 1, 1, 0])
    assert [sentence.text for sentence in accuracy.describe(run_in(results)).sentences] == [
        "VGG16, white-box, condition 'paper', has 3 of 4 films right before the attacks; the fewest at any strength are 1 "
        "under FGSM (at 0.002) and 1 under FGNM (at 0.001).",
        "VGG16, white-box, condition 'paper-to-Normal', takes 1 of 3 films of other classes for Normal before the attacks; the "
        "most at any strength are 2 under FGSM (at 0.001).",
    ]


def test_figure_four_says_what_it_shows_and_from_which_sweep(results):
    (drawing,) = accuracy.describe(run_in(results)).drawings
    assert (drawing.name, drawing.title, drawing.sweep) == ("figure4", "Figure 4", ("VGG16", "paper"))
    assert "4 test films, gradients from VGG16, condition 'paper'" in drawing.caption
    assert drawing.figure.get_supxlabel() == "4 test films; gradients from VGG16; bands: 95 % intervals"


def test_controls_stand_beside_the_single_steps_in_table_two_and_figure_four(results):
    write_cell(results, "VGG16/paper/noise/0.003", VGG16=[0, 0, 1, 0], InceptionV3=[0, 0, 1, 1])
    assert [heading for _, heading in headings_of(table_two(results))[1:4]] == ["FGSM", "FGNM", "Gaussian noise"]
    assert "FGSM against FGNM and Gaussian noise" in table_two(results).caption
    (drawing,) = accuracy.figure4(sweep_in(results), run_in(results).counts)
    labels = {line.get_label() for axes in drawing.figure.get_axes() for line in axes.get_lines()}
    assert "Gaussian noise" in labels
