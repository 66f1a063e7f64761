"""Films without a gradient and the floor of attacks, on four films of which three have none."""

import json

import finished
import numpy as np
import pytest
from finished import run_in

from nosign.findings import floor

# Labels 0, 0, 1 and 2: margins of 20, 3 and 20, and a film that is wrong by 20.
LOGITS = np.array([[20, 0, -9], [3, 0, -9], [0, 20, -9], [-9, 20, 0]])
STUCK = {"linf": [0, 0.01, 0, 0], "VGG16": [0, 1, 1, 1]}


def write_films(results, cells, zero_gradient=3):
    """Write clean.csv with `LOGITS` of VGG16, cells by "CONDITION/ATTACK/STRENGTH" and each sweep's health report."""
    finished.write_clean(results, **{f"VGG16_logit{place}": LOGITS[:, place] for place in range(3)})
    for name, columns in cells.items():
        path = finished.write_cell(results, f"VGG16/{name}", **columns)
        health = {"health": {"films_with_zero_gradient": zero_gradient}}
        (path.parents[1] / "manifest.json").write_text(json.dumps(health))


def only_row(results, loss="probabilities"):
    """Return the row of a mistaken loss in the table of floors."""
    frame = floor.describe(run_in(results)).tables[0].frame
    return frame[frame["loss"] == loss].iloc[0]


@pytest.mark.parametrize(
    "loss, margin, has",
    [("probabilities", 15.9, True), ("probabilities", 16.7, False), ("softmax", 85, True), ("softmax", 88, False)],
)
def test_a_gradient_ends_where_float32_clips_or_underflows(loss, margin, has):
    logits = np.array([[margin, 0, -200]], np.float32)
    assert floor.has_gradient(logits, np.array([0]), loss) == [has]


def test_two_equal_classes_are_rounded_away_sooner_than_one():
    logits = np.array([[16.3, -np.log(2), -np.log(2)], [16.3, 0, -200]], np.float32)
    assert floor.has_gradient(logits, np.array([0, 0]), "probabilities").tolist() == [False, True]


def test_a_film_that_is_wrong_for_sure_has_no_gradient_either_with_clipped_probabilities():
    logits = np.array([[0, 17, 0], [0, 15, 0]], np.float32)
    assert floor.has_gradient(logits, np.array([0, 0]), "probabilities").tolist() == [False, True]


def test_attacks_stop_at_the_films_without_a_gradient(tmp_path):
    cells = {
        "paper-loss-probabilities/fgsm/0.01": STUCK,
        "paper-loss-probabilities/bim/0.001": STUCK | {"VGG16": [0, 0, 1, 1]},
        "paper-loss-probabilities/pgd/0.003": {"linf": 0.003, "VGG16": [0, 0, 1, 1]},  # its start moves every film
        "paper/fgsm/0.01": {"VGG16": [1, 0, 0, 1]},
        "paper/fgsm/0.03": {"VGG16": [1, 1, 0, 1]},  # not run with the mistaken loss
    }
    write_films(tmp_path, cells)
    row = only_row(tmp_path)
    assert row[["films", "predicted", "predicted_right"]].tolist() == [4, 3, 2]
    assert row[["condition", "zero_gradient", "unmoved", "unmoved_right"]].tolist() == ["paper-loss-probabilities", 3, 3, 2]
    assert row["unmoved_predicted"] == 3
    assert row[["floor", "floor_unmoved", "floor_attack", "floor_strength"]].tolist() == [2, 2, "fgsm", 0.01]
    assert row["floor_default"] == 1
    finding = floor.describe(run_in(tmp_path))
    assert [texts[-1] for texts in finding.tables[0].rows] == ["not run", "yes"]
    text = (
        "attacks leave 2 of 4 films right at the least (50.0 %), exactly the 2 right ones without a gradient; with the default"
    )
    assert text in finding.sentences[0].text and "leave 6.9 to 7.7 %" in finding.sentences[0].text


def test_a_film_that_moves_and_stays_right_is_not_their_share(tmp_path):
    write_films(tmp_path, {"paper-loss-probabilities/fgsm/0.01": STUCK | {"linf": [0, 0.01, 0.01, 0]}})
    row = only_row(tmp_path)
    assert row[["unmoved", "unmoved_right", "floor", "floor_unmoved"]].tolist() == [2, 1, 2, 1] and np.isnan(
        row["floor_default"]
    )
    finding = floor.describe(run_in(tmp_path))
    assert finding.tables[0].rows[1][-1] == "no"
    assert "right at the least (50.0 %), 1 of them among the 1 right ones without a gradient. The" in finding.sentences[0].text


def test_films_that_do_not_move_are_set_beside_those_predicted(tmp_path):
    write_films(tmp_path, {"paper-loss-probabilities/fgsm/0.01": STUCK | {"linf": [0, 0, 0.01, 0]}})
    assert only_row(tmp_path)[["predicted", "unmoved", "unmoved_predicted"]].tolist() == [3, 3, 2]


def test_as_many_films_as_do_not_move_need_not_be_these(tmp_path):
    cells = {"fgsm/0.01": STUCK | {"VGG16": [0, 0, 1, 1]}, "pgd/0.01": {"linf": 0.01, "VGG16": [1, 0, 1, 1]}}
    write_films(tmp_path, {f"paper-loss-probabilities/{name}": columns for name, columns in cells.items()})
    assert only_row(tmp_path)[["unmoved_right", "floor", "floor_unmoved"]].tolist() == [2, 2, 1]
    assert floor.describe(run_in(tmp_path)).tables[0].rows[1][-1] == "no"


def test_strength_0_controls_universal_and_targeted_attacks_make_no_floor(tmp_path):
    names = [f"paper-loss-softmax/{name}" for name in ("fgsm/0", "noise/0.01", "universal/0.01")]
    write_films(tmp_path, dict.fromkeys([*names, "paper-loss-softmax-to-Normal/fgsm/0.01"], {"VGG16": 1}))
    assert only_row(tmp_path, "softmax")[list(floor.FOUND)].isna().all()


def test_where_none_was_run_the_floor_is_predicted(tmp_path):
    write_films(tmp_path, {"paper/fgsm/0.01": {"VGG16": 1}})
    finding = floor.describe(run_in(tmp_path))
    assert len(finding.tables) == 1 and finding.tables[0].rows[1][3:6] == ["3", "2", "—"]
    (sentence,) = finding.sentences
    assert "right: 0.0 % (0 of 4) with the softmax taken for logits and 50.0 % (2 of 4) with cross-entropy" in sentence.text


def test_each_cell_stands_beside_that_with_the_default_loss(tmp_path):
    cells = {f"paper-loss-probabilities/fgsm/{strength:g}": STUCK for strength in (0.01, 0.03)}
    write_films(tmp_path, cells | {"paper/fgsm/0.01": {"VGG16": [1, 0, 0, 1]}})
    table = floor.describe(run_in(tmp_path)).tables[1]
    assert table.name == "floor-cells-paper-loss-probabilities" and table.sweep == ("VGG16", "paper-loss-probabilities")
    assert table.rows == [["FGSM", "0.01", "2", "50.00", "1"], ["FGSM", "0.03", "2", "50.00", "—"]]


def test_nothing_is_said_where_only_classes_are_on_record(tmp_path):
    finished.write_cell(tmp_path, "VGG16/paper-loss-softmax/fgsm/0.01", VGG16=1)
    assert not floor.describe(run_in(tmp_path))
