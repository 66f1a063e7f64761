"""Half-distortions and controls by hand."""

import finished
import numpy as np
import pandas as pd
import pytest
from finished import run_in, sweep_in
from law import Films

from nosign.attacks.catalogue import ATTACKS
from nosign.findings import security
from nosign.rows import TURNING


def write(results, attack, status, l2, strength=0.01):
    """Write an attack's turning strengths on the four films, each one a patient."""
    path = finished.write_turning(results, attack, status, l2, 0.1)
    finished.write_clean(results, VGG16=0)
    finished.write(path, pd.read_csv(path).assign(strength=strength))


def test_half_distortion_is_the_change_at_which_half_of_the_films_are_turned(tmp_path):
    write(tmp_path, "fgsm", ["turned", "turned", "right-censored", "wrong before"], [1, 3, 9, 9], [0.1, 0.3, 0.25, 0.1])
    (row,) = security.half_distortions(sweep_in(tmp_path)).to_dict("records")
    assert [row[name] for name in ("films", "turned", "l2", "strength")] == [3, 2, 3, 0.3]
    assert row["l2_high"] == np.inf  # the film that nothing turns, drawn often


def test_fewer_than_half_turned_have_none(tmp_path):
    write(tmp_path, "fgsm", ["turned", "right-censored", "right-censored", "wrong before"], [1, 3, 9, 9])
    finding = security.describe(run_in(tmp_path))
    assert finding.tables[0].rows[0][:7] == ["FGSM", "VGG16*", "3", "1", "0", "∞", "0.01000–∞"]
    assert [table.name for table in finding.tables] == ["half"] and finding.sentences == ()


def test_a_control_is_compared_with_the_attack_of_its_size_on_the_same_films(tmp_path):
    write(tmp_path, "fgnm", ["turned", "turned", "turned", "wrong before"], [1, 2, 4, 9], [0.001, 0.02, 0.04, 0.1])
    write(tmp_path, "fgsm", ["turned"] * 4, 1)
    write(tmp_path, "noise", ["turned", "turned", "right-censored", "wrong before"], [10, 10, 9, 9], [0.03, 0.002, 0.25, 0.1])
    compared = security.compare_controls(sweep_in(tmp_path))
    assert compared[["attack", "control", "films", "strength"]].to_numpy().tolist() == [
        ["fgnm", "noise", 3, 0.003],
        ["fgnm", "noise", 3, 0.03],
    ]
    assert compared["ratio"].tolist() == [10, 10]  # of 10, 5 and, for the film that noise does not turn, infinity
    assert compared["attack_percent"].tolist() == pytest.approx([100 / 3, 200 / 3])
    assert compared["control_percent"].tolist() == pytest.approx([100 / 3, 200 / 3])
    assert compared[["only_attack", "only_control"]].to_numpy().tolist() == [[1, 1], [0, 0]]
    assert set(compared["verdict"]) == {"not told apart"}


def test_an_attack_that_turns_what_noise_does_not_is_told_apart(tmp_path):
    films = Films(30)
    finished.write(tmp_path / "clean.csv", films.identity.assign(**films.clean))
    right = films.clean["VGG16"] == films.identity["label"]
    for attack, strength in (("fgsm", 0.002), ("noise-sign", 0.2)):
        rows = films.turning(ATTACKS["fgsm"], 1.0)
        rows = rows[rows["target"] == "VGG16"]
        status = np.where(right, "turned", "wrong before")
        finished.write(tmp_path / f"attacks/VGG16/paper/{attack}/{TURNING}", rows.assign(strength=strength, status=status))
    finding = security.describe(run_in(tmp_path))
    assert set(finding.tables[1].frame["verdict"]) == {"attack turns more"}
    (sentence,) = finding.sentences
    assert "On VGG16 itself attacks turn more films than noise of their size in 2 of 2 comparisons" in sentence.text
    assert not sentence.answer  # that of a transfer would be
