"""The visibility boundary: interpolation against hand-computed cases, what is exact, what lies beyond, what is drawn."""

import finished
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nosign.errors import UserError
from nosign.findings import accuracy, boundary
from nosign.finished import film_boundaries
from nosign.measures import visibility
from nosign.output import plot
from nosign.output.plot import DIRECTION_COLOURS
from nosign.output.table import Column

FILMS = pd.DataFrame({"film": [7, 8, 9, 12], "label": [0, 0, 1, 2]})


def write_small(results, ratios, *, boundary=None, attack="bim"):
    """Write one attack on four films, clean predictions all 0 for VGG16.

    Args:
        ratios: dict from strength to the four films' JND ratio; at the first strength VGG16 sees class 1 in all, later 2.
        boundary: text of boundary.csv.
    """
    finished.write(results / "clean.csv", FILMS.assign(VGG16=0))
    folder = results / "attacks/VGG16/paper" / attack
    for place, (strength, ratio) in enumerate(ratios.items(), start=1):
        cell = FILMS.assign(
            VGG16=min(place, 2), VGG16_8bit=0, linf=strength, l2=1, ssim=1, psnr=50, local_ratio=0.1, jnd_ratio=ratio
        )
        finished.write(folder / f"{strength:g}.csv", cell)
    if boundary is not None:
        (folder / "boundary.csv").write_text(boundary)


def sweep_of(results):
    """Return the first finished sweep of a results folder."""
    return finished.run_in(results).sweeps[0]


def sentences_of(results):
    """Return what is said of the boundary, as texts."""
    return [sentence.text for sentence in boundary.describe(finished.run_in(results)).sentences]


def boundaries_of(results, criterion="JND"):
    """Return the rows of `film_boundaries` of one criterion."""
    found = film_boundaries(sweep_of(results))
    return found[found["criterion"] == criterion]


def test_halfway_between_half_and_twice_the_limit_is_the_geometric_mean_of_the_strengths():
    strengths, beyond, last = visibility.interpolated_boundaries([0.001, 0.004], np.array([[0.5], [2.0]]))
    assert strengths == pytest.approx([0.002]) and beyond.tolist() == [0] and last.tolist() == [0]


def test_ssim_of_099_is_reached_halfway_where_the_loss_is_a_quarter_and_four_times_the_allowed():
    ratios = np.stack([visibility.CRITERIA["SSIM"].over_limit([ssim]) for ssim in (0.9975, 0.96)])
    assert ratios.ravel() == pytest.approx([0.25, 4])
    assert visibility.interpolated_boundaries([0.001, 0.004], ratios)[0] == pytest.approx([0.002])


@pytest.mark.parametrize("power", [1, 2])
def test_a_measure_that_is_a_power_of_the_strength_is_interpolated_exactly(power):
    strengths, wanted = np.array([0.001, 0.003, 0.01, 0.02]), np.array([0.0011, 0.0029, 0.005, 0.019])
    found, beyond, last = visibility.interpolated_boundaries(strengths, (strengths[:, None] / wanted) ** power)
    assert found == pytest.approx(wanted) and not beyond.any() and last.tolist() == [0, 0, 1, 2]


def test_a_film_beyond_the_strengths_has_the_last_one_as_its_bound():
    found, beyond, last = visibility.interpolated_boundaries([0.001, 0.004], np.array([[0.1, 2.0], [0.9, 8.0]]))
    assert found.tolist() == [0.004, 0.001] and beyond.tolist() == [1, -1] and last.tolist() == [1, -1]


def test_the_first_crossing_counts_where_a_measure_falls_again():
    found, _, last = visibility.interpolated_boundaries([1, 4, 16, 64], np.array([[0.5], [2], [0.5], [2]]))
    assert found == pytest.approx([2]) and last.tolist() == [0]


def test_a_ratio_of_exactly_one_is_invisible():
    found, beyond, last = visibility.interpolated_boundaries([1, 2, 4], np.array([[0.5], [1], [2]]))
    assert found == pytest.approx([2]) and beyond.tolist() == [0] and last.tolist() == [1]


def test_a_film_unchanged_before_it_becomes_visible_has_a_boundary_between():
    found, _, _ = visibility.interpolated_boundaries([1, 2], np.array([[0.0], [2.0]]))
    assert 1 < found[0] < 2


def test_one_strength_bounds_every_film_from_one_side():
    found, beyond, last = visibility.interpolated_boundaries([0.5], np.array([[0.5, 2]]))
    assert found.tolist() == [0.5, 0.5] and beyond.tolist() == [1, -1] and last.tolist() == [0, -1]


def test_predictions_at_an_interpolated_boundary_are_those_of_the_last_invisible_strength(tmp_path):
    write_small(tmp_path, {0.001: [0.5, 2, 0.5, 0.5], 0.004: [2, 3, 0.5, 1]})
    found = boundaries_of(tmp_path)
    assert found["VGG16"].tolist() == [1, 0, 2, 2]  # visible at once: the clean prediction, 0
    assert found["strength"].tolist() == pytest.approx([0.002, 0.001, 0.004, 0.004])
    assert found["beyond"].tolist() == [0, -1, 1, 1] and not found["exact"].any()


def test_strength_zero_takes_no_part_in_the_interpolation(tmp_path):
    write_small(tmp_path, {0: [0] * 4, 0.001: [2, 0.5, 0.5, 0.5], 0.004: [2] * 4})
    found = boundaries_of(tmp_path)
    assert found["strength"].tolist() == pytest.approx([0.001, 0.002, 0.002, 0.002])
    assert found["beyond"].tolist() == [-1, 0, 0, 0] and found["VGG16"].iloc[0] == 0


BOUNDARY = "film,label,criterion,strength,VGG16\n" + "".join(
    f"{film},{label},JND,{strength},{seen}\n"
    for film, label, strength, seen in [(7, 0, 0.002, 0), (8, 0, 0.004, 1), (9, 1, 0.006, 1), (12, 2, 1, 2)]
)


def test_solved_boundaries_come_before_interpolated_ones(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, boundary=BOUNDARY, attack="fgsm")
    found = boundaries_of(tmp_path)
    assert found["strength"].tolist() == [0.002, 0.004, 0.006, 1] and found["exact"].all()
    assert found["beyond"].tolist() == [0, 0, 0, 1] and found["VGG16"].tolist() == [0, 1, 1, 2]
    assert set(film_boundaries(sweep_of(tmp_path))["criterion"]) == {"JND"}


def test_without_solved_boundaries_a_single_step_attack_is_interpolated(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, attack="fgsm")
    assert boundaries_of(tmp_path)["strength"].tolist() == pytest.approx([0.002] * 4)


def test_a_film_that_never_becomes_visible_is_bounded_by_the_whole_grey_range(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4}, boundary=BOUNDARY.replace(",1,2\n", ",inf,2\n"), attack="fgsm")
    assert boundaries_of(tmp_path)["strength"].iloc[3] == 1 and boundaries_of(tmp_path)["beyond"].iloc[3] == 1


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,JND,1,2", ""), "films under 'JND' are not the 4"),
        (lambda text: text.replace("\n9,1", "\n9,2"), "films under 'JND' are not the 4"),
        (lambda text: text.replace("JND", "VIF"), "criterion VIF, expected local mean, JND, JND 99 %, SSIM"),
        (lambda text: text.replace("0.006", ""), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.006", "-0.006"), "a strength below 0"),
        (lambda text: text.replace("9,1,JND", "9,1,"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.006,1", "0.006,7"), "line 4: VGG16 is 7, expected a class from 0 to 2"),
        (lambda text: text.replace("criterion", "rule"), "lacks the column criterion"),
        (lambda text: "", "not a readable CSV file"),
    ],
)
def test_a_damaged_boundary_file_is_named_with_its_fault(tmp_path, change, complaint):
    write_small(tmp_path, {0.001: [0.5] * 4}, boundary=change(BOUNDARY), attack="fgsm")
    with pytest.raises(UserError) as caught:
        boundaries_of(tmp_path)
    assert "fgsm/boundary.csv: " in str(caught.value) and complaint in str(caught.value)
    assert "run attack.py again" in str(caught.value) and "\n" not in str(caught.value)


def test_summary_gives_medians_quartiles_bounds_and_accuracy_by_class(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4}, boundary=BOUNDARY, attack="fgsm")
    sweep = sweep_of(tmp_path)
    rows = {row["class"]: row for row in boundary.summarise(sweep, boundaries_of(tmp_path)).to_dict("records")}
    assert list(rows) == ["COVID-19", "Normal", "Pneumonia", "all"]
    covid, every = rows["COVID-19"], rows["all"]
    assert (covid["lower_quartile"], covid["median"], covid["upper_quartile"]) == pytest.approx((0.0025, 0.003, 0.0035))
    assert (covid["films"], covid["accuracy_percent_VGG16"]) == (2, 50) and every["median"] == pytest.approx(0.005)
    assert (every["films"], every["at_least"], every["at_most"], every["accuracy_percent_VGG16"]) == (4, 1, 0, 75)


def test_medians_beyond_the_strengths_that_were_run_are_marked_as_bounds(tmp_path):
    write_small(tmp_path, {0.001: [2, 2, 0.5, 0.5], 0.004: [2, 2, 2, 0.5]})
    (table,) = boundary.describe(finished.run_in(tmp_path)).tables
    at = table.columns.index(Column("JND", "Median boundary (strength)"))
    assert [[*row[:3], row[at]] for row in table.rows] == [
        ["BIM", "COVID-19", "2", "0.001-"],
        ["BIM", "Normal", "1", "0.002"],
        ["BIM", "Pneumonia", "1", "0.004+"],
        ["BIM", "all", "4", "0.0015-"],
    ]
    assert "interpolated" in table.caption and "solved for" not in table.caption


def test_criteria_that_are_not_on_record_are_left_out(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4})
    for path in tmp_path.glob("attacks/*/*/*/*.csv"):
        finished.write(path, pd.read_csv(path).drop(columns=["psnr", "local_ratio", "jnd_ratio"]))
    assert set(film_boundaries(sweep_of(tmp_path))["criterion"]) == {"SSIM"}


def test_every_criterion_has_a_measure():
    assert list(visibility.CRITERION_COLUMNS) == list(visibility.CRITERIA)


def test_accuracy_at_the_boundary_is_told_per_criterion(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4}, boundary=BOUNDARY, attack="fgsm")
    (sentence,) = sentences_of(tmp_path)
    assert "'JND', VGG16 is right on 75.0 % under FGSM (median boundary 0.005); without an attack, 50.0 %." in sentence


def test_what_happens_below_every_strength_that_was_run_is_not_told(tmp_path):
    write_small(tmp_path, {0.001: [2, 2, 0.5, 0.5], 0.004: [4] * 4})  # half of the films are visible at once
    table, *_ = boundary.describe(finished.run_in(tmp_path)).tables
    own = table.frame[table.frame["criterion"] == "JND"].set_index("class")
    assert own["correct_VGG16"].isna().to_dict() == {"COVID-19": True, "Normal": False, "Pneumonia": False, "all": True}
    told = [line for line in sentences_of(tmp_path) if "'JND'" in line]
    assert told == []
    write_small(tmp_path, {0.001: [2, 0.5, 0.5, 0.5], 0.004: [4] * 4})
    (sentence,) = [line for line in sentences_of(tmp_path) if "'JND'" in line]
    assert sentence.endswith("; BIM at the last strength run that is invisible.")


def test_sign_and_no_sign_are_tested_where_both_are_solved_for(tmp_path):
    films = pd.DataFrame({"film": range(12), "label": 0})
    finished.write(tmp_path / "clean.csv", films.assign(VGG16=0))
    for attack, fallen in (("fgsm", 1), ("fgnm", 9)):
        folder = tmp_path / "attacks/VGG16/paper" / attack
        finished.write(folder / "0.01.csv", films.assign(VGG16=0, VGG16_8bit=0, linf=0.1, l2=1, ssim=1))
        seen = (films["film"] < fallen).astype(int)
        finished.write(folder / "boundary.csv", films.assign(criterion="SSIM", strength=0.01, VGG16=seen))
    made, sentences = boundary.describe(finished.run_in(tmp_path)).tables, sentences_of(tmp_path)
    assert [table.name for table in made] == ["invisible", "boundary"]
    row = made[0].frame.iloc[0]
    assert row[["sign_films", "no_sign_films", "only_sign", "only_no_sign"]].tolist() == [11, 3, 8, 0]
    assert row["p"] == row["holm_p"] == pytest.approx(2 / 2**8) and row["verdict"] == "no-sign better"
    assert (
        "FGSM / FGNM, each film attacked as strongly as stays invisible: no-sign better by SSIM (−66.67 points)" in sentences[0]
    )


def marks_of(boundaries, limits=(0.001, 0.03)):
    """Return what `draw_boundary_marks` draws: (strength, line, colour, face, marker) of each mark."""
    axes = Figure().subplots()
    axes.set(xscale="log", xlim=limits)
    columns = ["attacks", "direction", "criterion", "strength", "bound"]
    plot.draw_boundary_marks(axes, pd.DataFrame(boundaries, columns=columns))
    assert axes.get_xlim() == limits
    return [
        (line.get_xdata()[0], round(line.get_ydata()[0]), line.get_color(), line.get_markerfacecolor(), line.get_marker())
        for line in axes.get_lines()
    ]


def test_marks_stand_at_the_strengths_on_the_line_of_their_criterion_hollow_where_they_are_bounds():
    blue, amber = DIRECTION_COLOURS["sign"], DIRECTION_COLOURS["no-sign"]
    assert marks_of(
        [
            ("single-step", "sign", "local mean", 0.002, ""),
            ("single-step", "no-sign", "local mean", 0.002, "at most"),
            ("single-step", "no-sign", "SSIM", 0.5, ""),
        ]
    ) == [
        (0.002, 0, blue, blue, "o"),
        (0.002, 0, amber, "white", "s"),
        (0.03, 1, amber, amber, ">"),  # beyond the axis: an arrowhead at its edge
    ]


def test_marks_of_both_directions_do_not_hide_each_other():
    axes = Figure().subplots()
    axes.set(xscale="log", xlim=(0.001, 0.03))
    same = [("single-step", direction, "SSIM", 0.002, "") for direction in ("sign", "no-sign")]
    plot.draw_boundary_marks(axes, pd.DataFrame(same, columns=["attacks", "direction", "criterion", "strength", "bound"]))
    first, second = (line.get_ydata()[0] for line in axes.get_lines())
    assert abs(first - second) > 0.3


def test_medians_for_figure_four_are_those_of_all_classes(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4}, boundary=BOUNDARY, attack="fgsm")
    medians = accuracy.median_boundaries(sweep_of(tmp_path))
    assert medians.to_numpy().tolist() == [["single-step", "sign", "JND", 0.005, ""]]


def test_iterative_attacks_of_one_direction_share_a_mark(tmp_path):
    write_small(tmp_path, {0.001: [0.5] * 4, 0.004: [2] * 4}, attack="bim")  # at 0.002
    write_small(tmp_path, {0.001: [0.25] * 4, 0.016: [4] * 4}, attack="pgd")  # at 0.004
    jnd = accuracy.median_boundaries(sweep_of(tmp_path)).query("criterion == 'JND'")
    assert jnd[["attacks", "direction"]].to_numpy().tolist() == [["iterative", "sign"]]
    assert jnd["strength"].item() == pytest.approx(0.003)


def test_figure_draws_each_median_in_the_panel_of_its_criterion(tmp_path):
    finished.write_results(tmp_path, films=30)
    sweep = sweep_of(tmp_path)
    summary = boundary.summarise(sweep, film_boundaries(sweep))
    panels = boundary.draw_boundaries(sweep, summary).get_axes()
    assert [axes.get_title() for axes in panels] == list(visibility.CRITERIA)
    for axes in panels:
        wanted = summary[(summary["criterion"] == axes.get_title()) & (summary["class"] != "all")]["median"]
        drawn = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() in boundary.CLASS_MARKS]
        assert sorted(drawn) == pytest.approx(sorted(wanted))


def test_interpolated_boundaries_recover_the_law_behind_the_cells(tmp_path):
    films = finished.write_results(tmp_path, films=30, attacks=("bim",))
    found = film_boundaries(sweep_of(tmp_path)).query("beyond == 0")
    assert set(found["criterion"]) == set(visibility.CRITERIA)
    limits = pd.DataFrame(films.visible, index=films.film)
    wanted = [limits.loc[row.film, row.criterion] / (0.7 * finished.STEPS) for row in found.itertuples()]
    np.testing.assert_allclose(found["strength"], wanted, rtol=1e-3)
