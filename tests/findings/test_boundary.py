"""What is said and drawn of the visibility boundary."""

import finished
import pandas as pd
import pytest
from finished import run_in, sweep_in

from nosign.findings import boundary
from nosign.measures import visibility
from nosign.output.table import Column


def sentences_of(results):
    """Return what is said of the boundary, as texts."""
    return [sentence.text for sentence in boundary.describe(run_in(results)).sentences]


def test_summary_gives_medians_quartiles_bounds_and_accuracy_by_class(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4}, boundary=finished.BOUNDARY, attack="fgsm")
    sweep = sweep_in(tmp_path)
    rows = {row["class"]: row for row in boundary.summarise(sweep).query("criterion == 'JND'").to_dict("records")}
    assert list(rows) == ["COVID-19", "Normal", "Pneumonia", "all"]
    covid, every = rows["COVID-19"], rows["all"]
    assert (covid["lower_quartile"], covid["median"], covid["upper_quartile"]) == pytest.approx((0.0025, 0.003, 0.0035))
    assert (covid["films"], covid["accuracy_percent_VGG16"]) == (2, 50) and every["median"] == pytest.approx(0.005)
    assert (every["films"], every["at_least"], every["at_most"], every["accuracy_percent_VGG16"]) == (4, 1, 0, 75)


def test_medians_beyond_the_strengths_that_were_run_are_marked_as_bounds(tmp_path):
    finished.write_visible(tmp_path, {0.001: [2, 2, 0.5, 0.5], 0.004: [2, 2, 2, 0.5]})
    (table,) = boundary.describe(run_in(tmp_path)).tables
    at = table.columns.index(Column("JND", "Median boundary (strength)"))
    assert [[*row[:3], row[at]] for row in table.rows] == [
        ["BIM", "COVID-19", "2", "0.001-"],
        ["BIM", "Normal", "1", "0.002"],
        ["BIM", "Pneumonia", "1", "0.004+"],
        ["BIM", "all", "4", "0.0015-"],
    ]
    assert "interpolated" in table.caption and "solved for" not in table.caption


def test_accuracy_at_the_boundary_is_told_per_criterion(tmp_path):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4}, boundary=finished.BOUNDARY, attack="fgsm")
    (sentence,) = sentences_of(tmp_path)
    assert "'JND', VGG16 is right on 75.0 % under FGSM (median boundary 0.005); without an attack, 50.0 %." in sentence


def test_what_happens_below_every_strength_that_was_run_is_not_told(tmp_path):
    finished.write_visible(tmp_path, {0.001: [2, 2, 0.5, 0.5], 0.004: [4] * 4})  # half of the films are visible at once
    table, *_ = boundary.describe(run_in(tmp_path)).tables
    own = table.frame[table.frame["criterion"] == "JND"].set_index("class")
    assert own["correct_VGG16"].isna().to_dict() == {"COVID-19": True, "Normal": False, "Pneumonia": False, "all": True}
    told = [line for line in sentences_of(tmp_path) if "'JND'" in line]
    assert told == []
    finished.write_visible(tmp_path, {0.001: [2, 0.5, 0.5, 0.5], 0.004: [4] * 4})
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
    made, sentences = boundary.describe(run_in(tmp_path)).tables, sentences_of(tmp_path)
    assert [table.name for table in made] == ["invisible", "boundary"]
    row = made[0].frame.iloc[0]
    assert row[["sign_films", "no_sign_films", "only_sign", "only_no_sign"]].tolist() == [11, 3, 8, 0]
    assert row["p"] == row["holm_p"] == pytest.approx(2 / 2**8) and row["verdict"] == "no-sign better"
    assert (
        "FGSM / FGNM, each film attacked as strongly as stays invisible: no-sign better by SSIM (−66.67 points)" in sentences[0]
    )


def test_figure_draws_each_median_in_the_panel_of_its_criterion(tmp_path):
    finished.write_results(tmp_path, films=30)
    sweep = sweep_in(tmp_path)
    summary = boundary.summarise(sweep)
    panels = boundary.draw_boundaries(sweep, summary).get_axes()
    assert [axes.get_title() for axes in panels] == list(visibility.CRITERIA)
    for axes in panels:
        wanted = summary[(summary["criterion"] == axes.get_title()) & (summary["class"] != "all")]["median"]
        drawn = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() in boundary.CLASS_MARKS]
        assert sorted(drawn) == pytest.approx(sorted(wanted))
