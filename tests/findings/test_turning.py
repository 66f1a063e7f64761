"""Turning strengths: ratios by hand, and films that one attack alone turns."""

import shutil

import finished
import numpy as np
import pandas as pd
import pytest
from finished import run_in, sweep_in

from nosign.findings import turning
from nosign.findings.turning import reachable


def test_ratios_at_turning_count_films_that_one_attack_alone_turns(tmp_path):
    finished.write_turning(
        tmp_path, "fgsm", ["turned", "left-censored", "right-censored", "wrong before"], [1, 2, 9, 9], [1, 1, 9, 9]
    )
    finished.write_turning(tmp_path, "fgnm", ["turned", "turned", "turned", "wrong before"], [0.5, 1.5, 3, 9], [4, 6, 5, 9])
    (row,) = turning.turning_ratios(sweep_in(tmp_path)).to_dict("records")
    counts = ("films", "both", "only_sign", "only_no_sign", "neither")
    assert [row[name] for name in counts] == [3, 2, 0, 1, 0]
    # Ratios 0.5, 0.75 and, for the film that no sign step turns, 0.
    assert (row["l2_ratio"], row["linf_ratio"], row["cosine"]) == (0.5, 4, 0.7)
    # The patient of two films drawn alone has their middle, the other one 0.
    assert row["l2_ratio_low"] == 0 and row["l2_ratio_high"] == 0.625


def test_films_that_neither_attack_turns_are_counted_and_left_out(tmp_path):
    for attack in ("fgsm", "fgnm"):
        finished.write_turning(tmp_path, attack, ["right-censored"] * 4, 1, 1)
    finding = turning.describe(run_in(tmp_path))
    assert finding.tables[0].frame["neither"].item() == 4 and np.isnan(finding.tables[0].frame["l2_ratio"].item())
    assert finding.sentences == ()


def test_nothing_is_said_of_theory_where_it_predicts_nothing(tmp_path):
    for attack, l2 in (("universal-sign", [1, 1, 1, 1]), ("universal", [0.5, 0.6, 0.7, 0.8])):
        path = finished.write_turning(tmp_path, attack, ["turned"] * 4, l2, 1)
        finished.write(path, pd.read_csv(path).assign(cosine=np.nan))
    (sentence,) = turning.describe(run_in(tmp_path)).sentences
    assert "Universal no-sign needs 0.650 times the L2 norm of Universal sign" in sentence.text
    assert "theory" not in sentence.text and "nan" not in sentence.text


def test_nothing_is_said_of_theory_in_an_linf_ball_which_clips_the_no_sign_step(tmp_path):
    for attack, l2 in (("fgsm", [1, 1, 1, 1]), ("fgnm", [0.5, 0.6, 0.7, 0.8])):
        finished.write_turning(tmp_path, attack, ["turned"] * 4, l2, 1)
    attacks = tmp_path / "attacks/VGG16"
    for condition in ("budget-factor-8", "budget-l2"):
        shutil.copytree(attacks / "paper", attacks / condition)
    finding = turning.describe(run_in(tmp_path))
    said = [(sentence.sweep.condition, "theory" in sentence.text) for sentence in finding.sentences]
    assert sorted(said) == [("budget-factor-8", False), *[("budget-l2", True)] * 2, *[("paper", True)] * 2]
    assert {"turning-budget-factor-8", "turning-theory", "turning-theory-budget-l2"} < {table.name for table in finding.tables}
    assert "turning-theory-budget-factor-8" not in {table.name for table in finding.tables}


def test_a_film_that_no_no_sign_step_turns_counts_as_infinity(tmp_path):
    finished.write_turning(tmp_path, "fgsm", ["turned"] * 3 + ["right-censored"], [1, 2, 4, 9], 1)
    finished.write_turning(
        tmp_path, "fgnm", ["turned", "right-censored", "right-censored", "right-censored"], [0.5, 9, 9, 9], 3
    )
    (row,) = turning.turning_ratios(sweep_in(tmp_path)).to_dict("records")
    assert [row[name] for name in ("films", "both", "only_sign", "only_no_sign", "neither")] == [4, 1, 2, 0, 1]
    # 0.5 and twice infinity; the film that neither turns has no ratio.
    assert (row["l2_ratio"], row["linf_ratio"], row["l2_ratio_high"]) == (np.inf, np.inf, np.inf)
    assert row["cosine"] == pytest.approx(0.7)  # of 0.7, 0.8 and 0.6


def test_films_that_a_target_had_wrong_before_take_no_part_and_each_target_has_its_row(tmp_path):
    before = {"VGG16": ["wrong before", "turned", "turned", "turned"], "InceptionV3": ["turned"] * 3 + ["wrong before"]}
    for attack, l2 in (("fgsm", [1, 1, 1, 1]), ("fgnm", [0.5, 0.6, 0.7, 0.8])):
        path = finished.write_turning(tmp_path, attack, ["turned"] * 4, l2, 1)
        finished.write_clean(tmp_path, VGG16=0, InceptionV3=0)
        parts = [pd.read_csv(path).assign(target=target, status=status) for target, status in before.items()]
        finished.write(path, pd.concat(parts[::-1]))
    finding = turning.describe(run_in(tmp_path))
    frame = finding.tables[0].frame.set_index("target")
    assert frame["films"].to_dict() == {"InceptionV3": 3, "VGG16": 3}
    assert frame["l2_ratio"].to_dict() == pytest.approx({"InceptionV3": 0.6, "VGG16": 0.7})
    own, theory, other = finding.sentences  # the white-box model first, which alone belongs to the answer
    assert own.text.startswith("To turn a film of VGG16, FGNM needs 0.700 times the L2 norm of FGSM") and own.answer
    assert other.text.startswith("To turn a film of InceptionV3 with gradients from VGG16, FGNM needs") and not other.answer
    assert theory.text.startswith("Of first-order theory the level") and not theory.answer


def test_films_are_counted_for_a_direction_from_half_a_step_of_the_search_on(tmp_path):
    half_a_step = 2 ** (1 / 256)
    finished.write_turning(tmp_path, "fgsm", ["turned"] * 4, 1, 1)
    ratios = [1.01 * half_a_step, 0.999 * half_a_step, 1 / half_a_step / 1.01, 4]
    finished.write_turning(tmp_path, "fgnm", ["turned"] * 3 + ["right-censored"], 1, ratios)
    (row,) = turning.turning_ratios(sweep_in(tmp_path)).to_dict("records")
    assert (row["linf_for_sign"], row["linf_for_no_sign"]) == (2, 1)  # the last film is turned by sign alone


def test_nothing_is_said_where_one_attack_of_the_pair_has_no_turning_strengths(tmp_path):
    finished.write_turning(tmp_path, "fgsm", ["turned"] * 4, 1, 1)
    finished.write_cell(tmp_path, "VGG16/paper/fgnm/0.01", VGG16=1)
    assert not turning.describe(run_in(tmp_path))


def test_the_ratio_is_that_of_the_law_behind_the_films(tmp_path):
    finished.write_results(tmp_path, films=30, single_step=(0.003,), iterative=())
    ratios = turning.turning_ratios(sweep_in(tmp_path)).set_index("target")
    assert list(ratios.index) == ["VGG16", "InceptionV3", "DenseNet201"] and ratios["white_box"].tolist() == [
        True,
        False,
        False,
    ]
    own = ratios.loc["VGG16"]  # every film falls under no-sign at three quarters of the strength
    assert own[["l2_ratio", "l2_ratio_low", "l2_ratio_high"]].tolist() == pytest.approx([0.75] * 3, rel=1e-5)
    assert own["cosine"] == 0.73


def test_the_rank_correlation_that_a_slope_of_1_would_give():
    random = np.random.default_rng(3)
    predicted, scatter = random.standard_normal((2, 2000))
    # Of normal values with correlation r, Spearman's is 6 / pi asin(r / 2); here r = 1 / sqrt(1 + 4).
    expected = 6 / np.pi * np.arcsin(1 / np.sqrt(5) / 2)
    assert reachable(predicted, predicted + 2 * scatter) == pytest.approx(expected, abs=0.03)
    assert reachable(predicted, predicted + 0.5) == pytest.approx(1)
    # What the slope lacks is no scatter.
    assert reachable(predicted, 2 * scatter - 0.5 * predicted) == pytest.approx(expected, abs=0.03)
    assert np.isnan(reachable(predicted[:2], scatter[:2]))
