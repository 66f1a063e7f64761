"""Coloured against grey perturbations, counted and tested by hand."""

import finished
import pandas as pd
import pytest
from finished import everything_in, run_in, write_cell

from nosign.findings import grey


def test_grey_is_compared_with_the_coloured_twin_in_points(tmp_path):
    write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[1, 1, 1, 2])  # 2 of 4 right
    write_cell(tmp_path, "VGG16/paper-grey/fgsm/0.01", VGG16=[0, 1, 1, 2])  # 3 of 4
    write_cell(tmp_path, "VGG16/paper-grey/fgsm/0.02", VGG16=[0, 1, 1, 2])  # without a twin
    write_cell(tmp_path, "VGG16/budget-grey/fgsm/0.01", VGG16=[0, 1, 1, 2])  # of another condition
    made, drawn, sentences = everything_in(tmp_path)
    assert made["grey"].rows == [["FGSM", "0.01", "50.00", "75.00", "+25.00"]]
    assert "grey" in drawn and not {"grey-budget", "grey-paper-grey"} & {*made, *drawn}
    assert any(
        "+25.0 under FGSM; of 1 cell grey is weaker at 0, stronger at 0, and at 1 the two cannot be told apart" in sentence
        for sentence in sentences
    )
    row = made["grey"].frame.iloc[0]
    assert row[["correct_coloured", "correct_grey", "films", "only_coloured", "only_grey", "p"]].tolist() == [2, 3, 4, 0, 1, 1]
    assert not made["grey"].marks.any()


@pytest.mark.parametrize("aim", ["", "-to-Normal"])
def test_grey_and_coloured_are_told_apart_where_the_exact_test_after_holm_says_so(tmp_path, aim):
    films = pd.DataFrame({"film": range(12), "label": 0})
    finished.write(tmp_path / "clean.csv", films.assign(VGG16=0))
    normal = {"paper": {0.01: 8, 0.02: 12}, "paper-grey": {0.01: 0, 0.02: 6}}  # of 12 COVID-19 films so many are taken for it
    for condition, cells in normal.items():
        for strength, count in cells.items():
            seen = films.assign(VGG16=(films["film"] < count).astype(int), VGG16_8bit=0, linf=0.1, l2=1, ssim=0.99)
            finished.write(tmp_path / f"attacks/VGG16/{condition}{aim}/fgsm/{strength:g}.csv", seen)
    finding = grey.describe(run_in(tmp_path))
    (table,), (sentence,) = finding.tables, finding.sentences
    assert table.frame["p"].tolist() == pytest.approx([2 / 2**8, 2 / 2**6])  # 8 and 6 films, all to one side
    assert table.frame["holm_p"].tolist() == pytest.approx([4 / 2**8, 2 / 2**6])  # twice the smaller, the larger
    assert table.frame["told_apart"].tolist() == [True, True] and table.bold[:, -1].all() and not table.bold[:, :-1].any()
    points = "\u221258.3" if aim else "+58.3"  # of films that reach the aim, or stay right: of 8 and 6 in 12 the mean
    assert f"{points} under FGSM; of 2 cells grey is weaker at 2, stronger at 0, and at 0 the two" in sentence.text


def test_grey_twins_of_targeted_conditions_are_found(tmp_path):
    for condition in ("budget-l2-to-Normal", "budget-l2-grey-to-Normal"):
        write_cell(tmp_path, f"VGG16/{condition}/fgsm/0.01", VGG16=[1, 1, 1, 2])
    (twins,) = grey.grey_twins(run_in(tmp_path).sweeps)
    assert tuple(str(sweep.condition) for sweep in twins) == ("budget-l2-to-Normal", "budget-l2-grey-to-Normal")
