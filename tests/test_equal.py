"""Sign against no-sign at equal effort: means along a line, tests over films and what is said, against cases done by hand."""

import finished
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nosign import equal, records
from nosign.sweeps import finished_sweeps

FILMS = pd.DataFrame({"film": [7, 8, 9, 12], "label": 0})
SIGN = {0.01: [0, 0, 0, 0], 0.04: [0, 0, 1, 1]}  # 100 and 50 % right
NO_SIGN = {0.01: [0, 0, 0, 1], 0.04: [0, 1, 1, 1]}  # 75 and 25 % right


def sweep_of(results, condition="paper", reach=2.0, **attacks):
    """Write attacks' cells, a dict from strength to VGG16's classes each, and return their sweep.

    The L2 norm is 100 times the strength, the L-inf norm of fgnm `reach` times the strength, that of the others once.
    """
    finished.write(results / "clean.csv", FILMS.assign(VGG16=0))
    for attack, cells in attacks.items():
        for strength, seen in cells.items():
            linf = strength * (reach if attack == "fgnm" else 1)
            finished.write(
                results / f"attacks/VGG16/{condition}/{attack}/{strength:g}.csv",
                FILMS.assign(VGG16=seen, VGG16_8bit=0, linf=linf, l2=100 * strength, ssim=1 - strength),
            )
    clean = records.read_clean(results)
    return finished_sweeps(records.read_films(results, clean), clean, "test films")[0]


@pytest.mark.parametrize(
    "places, low, high, weights",
    [
        ([0, 1, 2], 0, 2, [0.25, 0.5, 0.25]),
        ([0, 1], 0.25, 0.75, [0.5, 0.5]),
        ([0, 1], 0, 0.5, [0.75, 0.25]),
        ([0, 1, 4], 1, 4, [0, 0.5, 0.5]),
        ([0, 1, 3], 0.5, 2, [0.125 / 1.5, 0.375 / 1.5 + 0.75 / 1.5, 0.25 / 1.5]),
    ],
)
def test_weights_average_lines_between_places(places, low, high, weights):
    found = equal.mean_weights(np.array(places, float), low, high)
    assert found == pytest.approx(weights) and found.sum() == pytest.approx(1)


def test_at_equal_strength_and_l2_the_difference_is_that_of_the_means(tmp_path):
    frame = equal.compare_equal(sweep_of(tmp_path, fgsm=SIGN, fgnm=NO_SIGN)).set_index("measure")
    found = stats.ttest_1samp([0, -50, 0, -50], 0)  # film by film: (no-sign - sign) at both strengths, halved
    for measure in ("strength", "L2", "SSIM"):
        row = frame.loc[measure]
        assert row[["sign_percent", "no_sign_percent", "difference_points"]].tolist() == pytest.approx([75, 50, -25])
        assert row["p"] == pytest.approx(found.pvalue)
        assert row[["ci_low_points", "ci_high_points"]].tolist() == pytest.approx(list(found.confidence_interval(0.95)))
    assert frame.loc["L2", ["lowest", "highest"]].tolist() == pytest.approx([1, 4])


def test_at_equal_l_inf_lines_are_compared_where_both_have_been_run(tmp_path):
    row = equal.compare_equal(sweep_of(tmp_path, fgsm=SIGN, fgnm=NO_SIGN)).set_index("measure").loc["L-inf"]
    # From 0.02 to 0.04: the upper half of sign's line in the logarithm, the lower half of no-sign's.
    assert row[["lowest", "highest"]].tolist() == pytest.approx([0.02, 0.04])
    assert row[["sign_percent", "no_sign_percent"]].tolist() == pytest.approx([100 / 4 + 50 * 3 / 4, 75 * 3 / 4 + 25 / 4])


def test_verdicts_follow_holm_and_the_side(tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path, fgsm=SIGN, fgnm=NO_SIGN)
    differences = {"strength": [-50, -50, -50, -49], "L2": [50, 50, 50, 49], "L-inf": [0, 0, 0, 0], "SSIM": [-9, 9, -9, 8]}
    made = iter(differences.values())
    original = equal.mean_of_films
    monkeypatch.setattr(equal, "mean_of_films", lambda films: original(np.array(next(made), float)))
    frame = equal.compare_equal(sweep)
    assert frame["verdict"].tolist() == ["no-sign better", "sign better", "not told apart", "not told apart"]
    assert frame["holm_p"][0] == pytest.approx(4 * frame["p"][0]) and frame["p"][2] == 1
    (sentence,) = equal.equal_sentences(sweep, frame)
    assert "leaves right, against FGSM, 49.8 points fewer at equal strength (no-sign better), 49.8 points more at" in sentence
    assert sentence.endswith("(Student's t over films, Holm over 4 comparisons).")


def test_where_attacks_aim_at_a_class_more_is_better(tmp_path):
    sweep = sweep_of(tmp_path, "paper-to-Normal", fgsm=SIGN, fgnm=NO_SIGN)
    frame = equal.compare_equal(sweep)
    assert frame["difference_points"][0] == pytest.approx(25)
    certain = frame.assign(difference_points=25.0, p=0.0)
    (sentence,) = equal.equal_sentences(sweep, certain)
    assert "FGNM has taken for Normal, against FGSM, 25.0 points more at equal strength" in sentence


def test_attacks_without_a_range_in_common_are_left_out_and_named(tmp_path):
    sweep = sweep_of(tmp_path, reach=10.0, fgsm=SIGN, fgnm=NO_SIGN, bim=SIGN, binm={0.01: [0, 0, 0, 1]})
    frame = equal.compare_equal(sweep)
    assert frame["measure"].tolist() == ["strength", "L2", "SSIM"] and set(frame["sign_attack"]) == {"fgsm"}
    assert len(equal.equal_sentences(sweep, frame)) == 1
    table = equal.equal_table(sweep, frame)
    assert table.shown.iloc[0].tolist()[:6] == ["FGSM / FGNM", "strength", "0.01–0.04", "75.00", "50.00", "−25.00"]
    both = equal.compare_equal(sweep_of(tmp_path, reach=10.0, bim=SIGN, binm=NO_SIGN))
    first = equal.equal_sentences(sweep, both)[0]
    assert "; means over the range that both cover, no range in common at equal L-inf (" in first
    words = [text.get_text() for text in equal.draw_equal(sweep, both).get_axes()[0].texts]
    assert words.count("no range in common") == 1


def test_one_cell_an_attack_gives_nothing(tmp_path):
    one = {0.01: [0, 0, 1, 1]}
    assert equal.describe_equal(sweep_of(tmp_path, fgsm=one, fgnm=one)) == ([], {}, [])


def test_a_targeted_sweep_without_attackable_films_gives_nothing(tmp_path):
    assert equal.describe_equal(sweep_of(tmp_path, "paper-to-COVID-19", fgsm=SIGN, fgnm=NO_SIGN)) == ([], {}, [])
