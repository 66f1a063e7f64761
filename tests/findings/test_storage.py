"""What storing leaves of attacks, counted by hand."""

import finished
import numpy as np
import pandas as pd
import pytest
from finished import cell, everything_in, right, run_in, sweep_in, sweeps_of, write_cell

from nosign.findings import storage
from nosign.rows import STORED_TURNING, TURNING


def test_storing_counts_the_successes_that_survive(tmp_path):
    # Right before: 7, 8, 9. Turned: 8 and 9. After 8 bits 9 is right again; 7 is wrong only now, and counts as newly turned.
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[0, 1, 2, 0]), {"8 bits": [2, 1, 1, 2], "JPEG 75": [0, 0, 1, 2]}
    )
    made, _, _ = everything_in(tmp_path)
    tidy = made["storing"].frame.set_index("storage")
    assert tidy.loc["8 bits", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 1, 50, 50]
    assert tidy.loc["JPEG 75", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 0, 0, 100]
    assert tidy["newly_turned"].to_dict() == {"8 bits": 1, "JPEG 75": 0}
    assert made["storing"].rows == [["FGSM", "0.01", "2", "50.00", "0.00", "1", "0"]]


def test_an_attack_without_success_has_no_share_that_survives(tmp_path):
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=finished.CLEAN["VGG16"]), {"JPEG 75": [1, 1, 2, 2]}
    )
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgnm/0.01", VGG16=finished.CLEAN["VGG16"]), {"JPEG 75": [1, 1, 2, 2]}
    )
    made, drawn, sentences = everything_in(tmp_path)
    # In 8 bits all are taken for class 0, which 9 is not; after JPEG 7, 8 and 9 are wrong.
    assert made["storing"].rows[0] == ["FGSM", "0.01", "0", "—", "—", "1", "3"] and "storing" in drawn
    assert any("0 / 0 and 0 / 0 after 8 bits and JPEG 75" in sentence for sentence in sentences)


def test_storing_pools_sign_and_no_sign_over_complete_pairs(tmp_path):
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[1, 1, 2, 0]), {"JPEG 90": [1, 0, 1, 2], "JPEG 75": [1, 0, 1, 2]}
    )  # 1 of 3
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgnm/0.01", VGG16=[1, 1, 1, 0]), {"JPEG 90": [1, 1, 1, 2], "JPEG 75": [1, 1, 1, 2]}
    )  # 2 of 2
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgnm/0.02", VGG16=[1, 1, 2, 0]), {"JPEG 75": [0, 0, 1, 2]}
    )  # without a twin
    _, _, sentences = everything_in(tmp_path)
    # In 8 bits all are taken for class 0: of the films turned 9 alone is wrong then, and no-sign did not turn it.
    assert any(
        "of the 3 / 2 films that sign / no-sign attacks turned, and of the 2 that both turned, so many are still turned after "
        "storing: 1 / 0 and 0 / 0 after 8 bits and 1 / 2 and 1 / 2 after JPEG 90 and JPEG 75 (all" in sentence
        for sentence in sentences
    )


def test_what_storing_does_to_clean_films_is_counted_by_model(tmp_path):
    write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=finished.CLEAN["VGG16"])
    sweep = finished.sweep_in(tmp_path)
    assert storage.count_stored_clean(tmp_path, sweep) is None
    # Right before: 7, 8, 9. After JPEG 9 is wrong and 12 is right.
    finished.write(
        tmp_path / "clean.stored.csv",
        pd.concat(
            [
                finished.FILMS.assign(storage="16 bits", VGG16=finished.CLEAN["VGG16"]),
                finished.FILMS.assign(storage="JPEG 75", VGG16=[0, 0, 2, 2]),
            ]
        ),
    )
    stored = storage.count_stored_clean(tmp_path, sweep)
    assert stored[["right_before", "correct", "fallen"]].to_numpy().tolist() == [[3, 3, 0], [3, 3, 1]]
    assert storage.stored_clean_table(stored, "test films").rows == [["VGG16", "3", "3", "0", "3", "1"]]


def test_storages_come_with_more_bits_before_fewer_and_jpeg_last():
    stored = pd.DataFrame({"storage": ["JPEG 75", "8 bits", "16 bits", "JPEG 95", "10 bits"]})
    assert storage.storages_in(stored) == ["16 bits", "10 bits", "8 bits", "JPEG 95", "JPEG 75"]


def test_sign_and_no_sign_are_compared_in_8_bits_at_every_strength_and_as_jpeg_where_it_was_measured(tmp_path):
    for strength in (0.01, 0.02):
        write_cell(tmp_path, f"VGG16/paper/fgsm/{strength}", VGG16=[0, 0, 1, 2])
        path = write_cell(tmp_path, f"VGG16/paper/fgnm/{strength}", VGG16=[0, 0, 1, 2])
        finished.write(path, pd.read_csv(path).assign(VGG16_8bit=[1, 1, 1, 2]))  # sign has the first two right, all are 0
    finished.write_stored(path.with_name("0.02.csv"), {"JPEG 95": [1, 1, 1, 2]})
    finished.write_stored(tmp_path / "attacks/VGG16/paper/fgsm/0.02.csv", {"JPEG 95": [0, 1, 0, 1]})
    found = storage.compare_stored(run_in(tmp_path).sweeps)
    counts = ["storage", "strength", "sign_films", "no_sign_films", "only_sign", "only_no_sign", "difference_points"]
    assert found[counts].to_numpy().tolist() == [
        ["8 bits", 0.01, 2, 2, 2, 2, 0],
        ["8 bits", 0.02, 2, 2, 2, 2, 0],
        ["JPEG 95", 0.02, 1, 2, 1, 2, 25],
    ]


def test_holm_runs_over_the_stored_films_of_a_source_coloured_and_grey_together():
    cells = [
        cell(attack, condition=condition, VGG16=right(films))
        for condition in ("paper", "paper-grey", "budget")
        for attack, films in (("fgsm", range(6)), ("fgnm", []))
    ]
    found = storage.compare_stored(sweeps_of(cells)).set_index("condition")
    assert found["p"].tolist() == pytest.approx([2 / 2**6] * 3)
    assert found["comparisons"].to_dict() == {"paper": 2, "paper-grey": 2, "budget": 1}
    assert found["verdict"].to_dict() == {"paper": "not told apart", "paper-grey": "not told apart", "budget": "no-sign better"}


def test_films_that_the_source_did_not_score_are_not_compared_stored():
    cells = [cell(attack, InceptionV3=right(range(5))) for attack in ("fgsm", "fgnm")]
    nothing = storage.compare_stored(sweeps_of(cells))
    assert nothing.empty and {"source", "condition", "holm_p", "verdict"} <= set(nothing)


def test_ratios_at_which_stored_films_turn_stand_beside_those_before_rounding(tmp_path):
    turned = ["turned", "turned", "turned", "wrong before"]
    for attack, l2, stored in (("fgsm", [1, 2, 4, 9], [2, 2, 2, 9]), ("fgnm", [0.5, 1, 2, 9], [1.5, 1, 3, 9])):
        finished.write_turning(tmp_path, attack, turned, l2, 1)
        status = turned if attack == "fgsm" else ["turned", "right-censored", "turned", "wrong before"]
        finished.write_turning(tmp_path, attack, status, stored, 1, name=STORED_TURNING)
    (row,) = storage.turning_ratios(sweep_in(tmp_path)).to_dict("records")
    assert [row[name] for name in ("films", "both", "only_sign", "only_no_sign", "neither")] == [3, 2, 1, 0, 0]
    # Ratios 0.75, 1.5 and, for the film that no no-sign step turns once it is stored, infinity; 0.5 throughout before.
    assert (row["l2_ratio"], row["l2_ratio_high"], row["unrounded_l2_ratio"]) == (1.5, np.inf, 0.5)
    made, _, sentences = everything_in(tmp_path)
    assert made["storing-turning"].rows[0][:8] == ["FGSM / FGNM", "3", "2", "1", "0", "0", "0", "1.500"]
    told = "stored in 8 bits, one no-sign step needs 1.500 times the L2 norm of one sign step (median of 3 films; "
    assert any(told in sentence and "without rounding 0.500" in sentence for sentence in sentences)


def test_stored_films_that_neither_attack_turns_have_no_ratio(tmp_path):
    for attack in ("fgsm", "fgnm"):
        for name in (TURNING, STORED_TURNING):
            finished.write_turning(tmp_path, attack, ["right-censored"] * 4, 1, 1, name=name)
    made, _, sentences = everything_in(tmp_path)
    assert made["storing-turning"].rows[0][5:9] == ["4", "0", "—", "—"]
    assert not any("stored in 8 bits, one no-sign step" in sentence for sentence in sentences)
