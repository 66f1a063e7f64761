"""What attacks spend, by hand and as drawn."""

import finished
import numpy as np
import pytest
from finished import everything_in, run_in, sweep_in, write_cell

from nosign.findings import effort


def test_effort_tells_mean_and_largest_norms_and_the_psnr_of_changed_films(tmp_path):
    write_cell(
        tmp_path,
        "VGG16/paper/fgsm/0.01",
        VGG16=[0, 1, 1, 2],
        linf=[0, 0.01, 0.02, 0.03],
        l2=[0, 1, 2, 5],
        ssim=[1, 1, 0.9, 0.7],
        psnr=[np.inf, 40, 50, 60],
    )
    (row,) = effort.measure_effort(sweep_in(tmp_path)).to_dict("records")
    assert (row["linf_mean"], row["linf_largest"]) == pytest.approx((0.015, 0.03))
    assert (row["l2_mean"], row["l2_largest"], row["ssim_mean"]) == pytest.approx((2, 5, 0.9))
    assert (row["psnr_mean"], row["films_changed"], row["accuracy_percent_VGG16"]) == (50, 3, 75)
    assert (row["correct_VGG16"], row["films"]) == (3, 4)
    # 3 of 4 right: of 4 drawn, at most one is right with probability 13/256, none with 1/256; 2.5 % lies at one.
    assert (row["ci_low_percent_VGG16"], row["ci_high_percent_VGG16"]) == (25, 100)


def test_effort_of_old_results_has_a_dash_for_the_psnr(tmp_path):
    write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[0, 1, 1, 2])
    made, drawn, sentences = everything_in(tmp_path)
    assert made["effort"].rows == [["FGSM", "0.01", "75.00", "0.1", "0.1", "1", "1", "0.9900", "—"]]
    assert "theory" not in made and "storing" not in made and {"figure5", "boundary"} <= set(drawn)


def test_where_attacks_aim_at_a_class_their_success_is_told(tmp_path):
    write_cell(tmp_path, "VGG16/paper-to-Normal/fgsm/0.01", VGG16=[1, 0, 1, 1])  # of films 7, 8, 12 two are taken for Normal
    (sweep,) = run_in(tmp_path).sweeps
    (row,) = effort.measure_effort(sweep).to_dict("records")
    assert row["success_percent_VGG16"] == pytest.approx(200 / 3)
    assert sweep.turned("VGG16", [1, 0, 1, 1]).tolist() == [True, False, False, False]  # film 12 was taken for it before


def test_norms_are_compared_film_by_film_at_equal_strength(tmp_path):
    write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=finished.CLEAN["VGG16"], linf=[0.01, 0.01, 0.01, 0], l2=[1, 2, 4, 0])
    write_cell(tmp_path, "VGG16/paper/fgnm/0.01", VGG16=finished.CLEAN["VGG16"], linf=[0.02, 0.05, 0.09, 0], l2=[1, 3, 4, 0])
    write_cell(tmp_path, "VGG16/paper/fgnm/0.03", VGG16=finished.CLEAN["VGG16"], linf=9, l2=9)  # without a twin
    (sentence,) = effort.spent_sentences(sweep_in(tmp_path))
    sentence = sentence.text
    assert "FGNM has 1.00 times the L2 and 5.00 times the L-inf norm of FGSM" in sentence


def test_no_sentence_where_no_pair_is_complete(tmp_path):
    write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=finished.CLEAN["VGG16"])
    write_cell(tmp_path, "VGG16/paper/fgnm/0.02", VGG16=finished.CLEAN["VGG16"])
    assert effort.spent_sentences(sweep_in(tmp_path)) == []


def test_figure_five_sets_accuracy_against_strength_l2_linf_and_ssim(tmp_path):
    finished.write_results(tmp_path, films=30)
    (sweep,) = run_in(tmp_path).sweeps
    measured = effort.measure_effort(sweep)
    panels = effort.draw_effort(sweep, measured).get_axes()
    columns = ["strength", "l2_mean", "linf_mean", "ssim_mean"]
    for axes, column in zip(panels, columns, strict=True):
        handles, labels = axes.get_legend_handles_labels()
        lines = dict(zip(labels, handles))
        assert list(lines) == ["FGSM", "FGNM", "BIM", "BINM", "PGD", "PGDNM"]
        cells = measured[measured["attack"] == "binm"]
        wanted = 1 - cells[column] if column == "ssim_mean" else cells[column]
        assert lines["BINM"].get_xdata().tolist() == pytest.approx(wanted.tolist())
        assert lines["BINM"].get_ydata().tolist() == cells["accuracy_percent_VGG16"].tolist()
