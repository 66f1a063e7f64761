"""What storing leaves of attacks, counted by hand."""

import finished
import pandas as pd
from finished import everything_in, write_cell

from nosign.findings import storage


def test_storing_counts_the_successes_that_survive(tmp_path):
    # Right before: 7, 8, 9. Turned: 8 and 9. After 8 bits 9 is right again; 7 is wrong only now, so it does not count.
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[0, 1, 2, 0]), {"8 bits": [2, 1, 1, 2], "JPEG 75": [0, 0, 1, 2]}
    )
    made, _, _ = everything_in(tmp_path)
    tidy = made["storing"].frame.set_index("storage")
    assert tidy.loc["8 bits", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 1, 50, 50]
    assert tidy.loc["JPEG 75", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 0, 0, 100]
    assert made["storing"].rows == [["FGSM", "0.01", "2", "50.00", "0.00"]]


def test_an_attack_without_success_has_no_share_that_survives(tmp_path):
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=finished.CLEAN["VGG16"]), {"JPEG 75": [1, 1, 2, 2]}
    )
    finished.write_stored(
        write_cell(tmp_path, "VGG16/paper/fgnm/0.01", VGG16=finished.CLEAN["VGG16"]), {"JPEG 75": [1, 1, 2, 2]}
    )
    made, drawn, sentences = everything_in(tmp_path)
    assert made["storing"].rows[0] == ["FGSM", "0.01", "0", "—"] and "storing" in drawn
    assert any("0 / 0 and 0 / 0 after JPEG 75" in sentence for sentence in sentences)


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
    assert any(
        "of the 3 / 2 films that sign / no-sign attacks turned, and of the 2 that both turned, so many are still turned after "
        "storing: 1 / 2 and 1 / 2 after JPEG 90 and JPEG 75 (all" in sentence
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
