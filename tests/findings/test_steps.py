"""Cosine and gain of steps, averaged by hand."""

import finished
import numpy as np
import pandas as pd
import pytest
from finished import everything_in, run_in, sweep_in, write_cell

from nosign.findings import steps


def test_cosine_is_averaged_over_films_that_have_one_and_gains_over_all(tmp_path):
    path = write_cell(tmp_path, "VGG16/paper/bim/0.01", VGG16=finished.CLEAN["VGG16"])
    path.with_suffix(".steps.csv").write_text(finished.TWO_STEPS)
    made, _, _ = everything_in(tmp_path)
    tidy = made["theory"].frame
    assert tidy["step"].tolist() == [1, 2] and tidy["cosine_mean"].tolist() == pytest.approx([0.6, 0.4])
    assert tidy["predicted_mean"].tolist() == [2, 2] and tidy["gained_mean"].tolist() == [1.5, 1]
    assert tidy["share_percent"].tolist() == [75, 50]
    assert made["theory"].rows == [["BIM", "0.01", "2", "0.500", "0.600", "0.400", "4", "2.5", "62.50"]]


def test_a_film_whose_loss_was_not_finite_does_not_count(tmp_path):
    path = write_cell(tmp_path, "VGG16/paper/bim/0.01", VGG16=finished.CLEAN["VGG16"])
    record = finished.FILMS[["film"]].assign(step=1, cosine=0.5, predicted=[1, 1, 3, np.nan], gained=[2, 4, 3, np.nan])
    finished.write(path.with_suffix(".steps.csv"), record)
    row = steps.average_steps(sweep_in(tmp_path)).iloc[0]
    assert (row["predicted_mean"], row["gained_mean"]) == (pytest.approx(5 / 3), 3)


def test_a_gain_that_was_not_predicted_has_no_share():
    assert steps.share_of(pd.Series([1.0, 1.0]), pd.Series([0.0, 2.0])).tolist() == pytest.approx([np.nan, 50], nan_ok=True)


def test_theory_compares_cosine_and_gain_of_complete_pairs(tmp_path):
    for attack, cosine, gained in (("fgsm", 0.73, 0.9), ("fgnm", 1.0, 0.6)):
        path = write_cell(tmp_path, f"VGG16/paper/{attack}/0.01", VGG16=finished.CLEAN["VGG16"])
        steps = finished.FILMS[["film"]].assign(step=1, cosine=cosine, predicted=1, gained=gained)
        finished.write(path.with_suffix(".steps.csv"), steps)
    _, _, sentences = everything_in(tmp_path)
    (sentence,) = [sentence for sentence in sentences if "mean cosine" in sentence]
    assert "is 0.730 under sign and 1.000 under no-sign attacks" in sentence
    assert "90 % and 60 % happened (medians over 1 pair of cells)" in sentence


@pytest.mark.parametrize("gained, panels", [(1.0, 2), (-1.0, 1)])
def test_the_panel_of_gains_is_left_out_where_no_cell_has_one(tmp_path, gained, panels):
    path = write_cell(tmp_path, "VGG16/paper/bim/0.01", VGG16=finished.CLEAN["VGG16"])
    record = finished.FILMS[["film"]].assign(step=1, cosine=0.5, predicted=1, gained=gained)
    finished.write(path.with_suffix(".steps.csv"), record)
    (drawing,) = steps.describe(run_in(tmp_path)).drawings
    assert len(drawing.figure.get_axes()) == panels and ("(b)" in drawing.caption) == (panels == 2)
