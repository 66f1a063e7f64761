"""The paper's numbers beside those measured on four films."""

import finished
import pytest
from finished import run_in, write_cell

from nosign import rows
from nosign.findings import comparison_with_paper


def paper_rows(folder, results):
    """Return the comparison with the paper: quantity -> (paper, measured, note)."""
    (folder / "models.csv").write_text(finished.LIST_OF_MODELS)
    tidy = comparison_with_paper.paper_table(rows.read_models(folder), run_in(results).counts).frame
    assert tidy["paper_note"].tolist()[3:] == [
        "830/900",
        "811/900",
        "871/900",
        "69/900 at 0.01",
        "66/900 at 0.02",
        "62/900",
        "about",
    ]
    return {row.quantity: (row.paper, row.measured, row.measured_note) for row in tidy.itertuples()}


def test_comparison_takes_the_lowest_white_box_accuracy_at_its_smallest_strength(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 1, 0, 0])  # 1 right, as at 0.003
    write_cell(results, "VGG16/budget/fgsm/0.001", VGG16=[1, 1, 0, 0])  # another protocol: none right
    write_cell(results, "InceptionV3/paper/fgsm/0.001", InceptionV3=[1, 1, 0, 0])
    rows = paper_rows(results, results)
    assert rows["FGSM, lowest white-box accuracy"] == (7.67, 25.0, "1/4 at 0.002 (of 3 run)")
    assert rows["PGDNM, lowest white-box accuracy"][2] == "not run"
    assert rows["VGG16 clean accuracy"][:2] == (pytest.approx(830 / 9), pytest.approx(100 / 3))
    assert rows["VGG16 clean accuracy"][2] == "1/3"
    assert rows["DenseNet201 clean accuracy"][2] == "not trained"
    assert rows["VGG16 parameters"][:2] == (14_747_715, 14_749_763)


def test_gap_is_averaged_over_the_strengths_strictly_inside_the_interval(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 0, 1, 2])  # 4 right: gap 75 points; at 0.003 the gap is 0
    write_cell(results, "VGG16/paper/fgnm/0.002", VGG16=[0, 1, 0, 0])  # 1 right
    write_cell(results, "VGG16/paper/fgsm/0.004", VGG16=[0, 0, 1, 2])  # no FGNM at this strength
    gap = paper_rows(results, results)["FGNM below FGSM within (0.001, 0.005)"]
    assert gap == (30, 37.5, "mean of 2 strengths")
