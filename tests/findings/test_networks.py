"""The primary endpoint over networks: means by hand, and which networks count."""

import shutil

import finished
import numpy as np
import pandas as pd
import pytest

from nosign.findings import networks
from nosign.finished import read_runs

TRAINED = {"phase_kept": "all", "epoch_kept": 3, "convolutions": 13, "convolutions_changed": 13}


def run_of(folder, ratios, **changed):
    """Return a run of several networks, on each of which no-sign needs a share of sign's L2; `changed` facts are the last's."""
    for number, ratio in enumerate(ratios):
        seed = folder / f"seed-0-{number}"
        for attack, l2 in (("fgsm", 1), ("fgnm", ratio)):
            finished.write_turning(seed, attack, ["turned"] * 4, l2, 1)
        facts = TRAINED | {"weights_sha256": f"w{number}"} | (changed if number == len(ratios) - 1 else {})
        model = {"model": "VGG16", "parameters": 1, "correct": 3, "films": 4, "imagenet_top1": 1, "imagenet_top5": 1}
        pd.DataFrame([model | facts]).to_csv(seed / "models.csv", index=False)
    return read_runs(folder, folder)


def test_the_mean_over_networks_is_geometric_with_students_interval(tmp_path):
    finding = networks.describe(run_of(tmp_path, [0.5, 0.5, 2.0]))
    (table,) = finding.tables
    assert table.rows[-1][2:5] == ["mean of 3", "", "0.794"]  # 2 ** (-1 / 3)
    # Logarithms -1, -1, 1: mean -1/3, standard error 2/3, t of two degrees of freedom 4.302653.
    low, high = 2 ** (-1 / 3 - 4.302653 * 2 / 3), 2 ** (-1 / 3 + 4.302653 * 2 / 3)
    assert table.rows[-1][5] == f"{low:.3f}–{high:.3f}"
    (sentence,) = finding.sentences
    assert sentence.text.startswith(
        "Over 3 networks, to turn a film of VGG16, FGNM needs 0.794 times the L2 norm of FGSM (95 %"
    )
    assert "5 networks are needed" in sentence.text and sentence.answer


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"phase_kept": "head"}, "its convolutions were not trained"),
        ({"epoch_kept": 0}, "its convolutions were not trained"),
        ({"convolutions_changed": 12}, "some convolutions were not trained"),
        ({"weights_sha256": "w0"}, "the same weights as another"),
    ],
)
def test_a_network_whose_convolutions_its_run_did_not_train_does_not_count(tmp_path, changed, reason):
    finding = networks.describe(run_of(tmp_path, [0.5, 0.5, 0.7], **changed))
    rows = finding.tables[0].rows
    assert [row[-1] for row in rows] == ["", "", reason, ""] and rows[-1][2:6] == ["mean of 2", "", "0.500", "—"]
    assert finding.sentences == ()  # an interval needs three


def test_one_network_alone_has_none_to_be_compared_with(tmp_path):
    assert not networks.describe(run_of(tmp_path, [0.5])) and networks.describe(run_of(tmp_path, [0.5, 0.6]))


def test_a_condition_of_one_network_alone_is_left_out(tmp_path):
    run_of(tmp_path, [0.5, 0.6])
    own, clipped = (tmp_path / "seed-0-0/attacks/VGG16" / name for name in ("paper", "budget"))
    shutil.copytree(own, clipped)
    tables = networks.describe(read_runs(tmp_path, tmp_path)).tables
    assert [table.name for table in tables] == ["networks"]


def test_turning_strengths_without_any_cell_are_enough(tmp_path):
    run_of(tmp_path, [0.5, 0.6, 0.7])
    for path in tmp_path.glob("seed-*/attacks/*/*/*/0.01.csv"):
        path.unlink()
    frame = networks.describe(read_runs(tmp_path, tmp_path)).tables[0].frame
    assert frame["l2_ratio"].tolist() == [0.5, 0.6, 0.7] and np.isfinite(frame["cosine"]).all()


def test_the_figure_has_a_row_for_each_network_that_counts_and_one_for_the_mean(tmp_path):
    (drawing,) = networks.describe(run_of(tmp_path, [0.5, 0.6, 0.7, 0.8], phase_kept="head")).drawings
    left, right = drawing.figure.axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert [label.split(", ")[-1] for label in labels] == ["seed-0-0", "seed-0-1", "seed-0-2", "mean of 3"]
    drawn = [line.get_xdata()[0] for line in left.lines if line.get_marker() in ("o", "D")]
    np.testing.assert_allclose(drawn, [0.5, 0.6, 0.7, (0.5 * 0.6 * 0.7) ** (1 / 3)])


def test_one_network_that_counts_is_not_drawn(tmp_path):
    assert networks.describe(run_of(tmp_path, [0.5, 0.6], phase_kept="head")).drawings == ()
