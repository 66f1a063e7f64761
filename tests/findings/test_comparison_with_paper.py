"""The paper's sentences beside sixty films whose cells are made so that each holds, holds in part or does not."""

import json

import finished
import numpy as np
import pandas as pd
import pytest
from finished import run_in

from nosign.findings import comparison_with_paper as comparison
from nosign.paper import PAPER_SAYS

FILMS = pd.DataFrame({"film": range(60), "label": np.arange(60) % 3})


def seen(right):
    """Return classes that are right on the first so many of the sixty films."""
    return np.where(np.arange(60) < right, FILMS["label"], (FILMS["label"] + 1) % 3)


def answers(folder, cells, condition="VGG16/paper", steps=10):
    """Write cells and return the table by sentence.

    Args:
        cells: dict from "ATTACK/STRENGTH" to how many films VGG16, or VGG16 and InceptionV3, has right; before it is 60 and 54.
    """
    finished.write(folder / "clean.csv", FILMS.assign(VGG16=seen(60), InceptionV3=seen(54)))
    for name, right in cells.items():
        models = dict(zip(("VGG16", "InceptionV3"), map(seen, np.atleast_1d(right))))
        rounded = {f"{model}_8bit": classes for model, classes in models.items()}
        finished.write(
            folder / f"attacks/{condition}/{name}.csv", FILMS.assign(**models, **rounded, linf=0.1, l2=1.0, ssim=0.9)
        )
        (folder / f"attacks/{condition}/manifest.json").write_text(json.dumps({"settings": {"steps": steps}}))
    return comparison.describe(run_in(folder)).tables[0].frame.set_index("sentence")


def answer(folder, key, cells, **where):
    return answers(folder, cells, **where).loc[PAPER_SAYS[key].text]


@pytest.mark.parametrize("holds, same", [([True, True], "yes"), ([True, False], "in part"), ([False], "no"), ([], "not run")])
def test_comparisons_hold_at_all_at_some_or_at_none(holds, same):
    assert comparison.all_some_none(holds) == same


# Wilson's interval of 69 of 900 is 6.11 to 9.58 %.
@pytest.mark.parametrize(
    "interval, same", [((7, 10), "yes"), ((9, 12), "in part"), ((2, 6.5), "in part"), ((9.6, 12), "no"), ((0, 6), "no")]
)
def test_a_share_is_the_same_within_the_interval_and_in_part_where_intervals_overlap(interval, same):
    assert comparison.same_share(69, 900, (8, *interval)) == same


def test_a_difference_is_above_or_about_a_number_with_its_whole_interval():
    assert comparison.is_above((3, 0.1, 6)) and not comparison.is_above((3, -0.1, 6))
    about = comparison.is_about(30)
    assert about((30, 25.1, 34.9)) and not about((28, 24.9, 31)) and not about((32, 29, 35.1))


def test_models_are_set_beside_the_papers(tmp_path):
    rows = answers(tmp_path, {"fgsm/0.01": 30})
    assert rows.loc["Parameters of InceptionV3", ["paper", "measured", "same"]].tolist() == [21_934_307, 21_942_307, "no"]
    assert "batch normalisation" in rows.loc["Parameters of VGG16", "why"]
    assert rows.loc["Parameters of DenseNet201", ["same", "why"]].tolist() == ["not run", "not trained in this run"]
    clean = rows.loc["Clean accuracy of InceptionV3"]  # 811/900 is 90.1 %
    assert clean[["measured", "why", "same"]].tolist() == [90, "54/60", "yes"] and clean["ci_low"] < 90 < clean["ci_high"]
    assert rows.loc["Clean accuracy of VGG16", "same"] == "no"  # 60 of 60, from 94.0 %; 830/900, up to 93.8 %


def test_the_lowest_accuracy_is_that_of_the_smallest_strength_in_the_papers_own_sweep(tmp_path):
    answers(tmp_path, {"fgsm/0.001": 0}, condition="VGG16/budget")
    answers(tmp_path, {"fgsm/0.001": 0}, condition="InceptionV3/paper")
    found = answer(tmp_path, "best fgsm", {"fgsm/0": 2, "fgsm/0.002": 4, "fgsm/0.003": 4, "fgsm/0.01": 9})
    assert found[["paper", "paper_note"]].tolist() == [7.67, "69/900 at 0.01"]
    assert found[["measured", "why", "same"]].tolist() == [pytest.approx(100 / 15), "4/60 at 0.002 (3 strengths run)", "yes"]
    assert answers(tmp_path, {}).loc[PAPER_SAYS["best pgdnm"].text, "same"] == "not run"


def test_the_gap_is_averaged_over_the_strengths_strictly_inside_the_interval(tmp_path):
    outside = {"fgsm/0.001": 60, "fgnm/0.001": 0, "fgsm/0.005": 60, "fgnm/0.005": 0, "fgsm/0.0025": 60}
    found = answer(tmp_path, "gap", outside | {"fgsm/0.002": 45, "fgnm/0.002": 30, "fgsm/0.004": 33, "fgnm/0.004": 12})
    assert found[["measured", "same"]].tolist() == [30, "yes"] and found["ci_low"] < 30 < found["ci_high"]
    found = answer(tmp_path, "gap", {"fgsm/0.002": 36, "fgsm/0.004": 18})  # 6 films each
    assert found[["measured", "same"]].tolist() == [10, "in part"]
    found = answer(tmp_path, "gap", {"fgsm/0.002": 30, "fgsm/0.004": 12})
    assert found[["measured", "same"]].tolist() == [0, "no"]


def test_the_gap_narrows_if_it_is_wider_before_than_after(tmp_path):
    before = {"fgsm/0.002": 45, "fgnm/0.002": 15}
    found = answer(tmp_path, "narrows", before | {"fgsm/0.006": 20, "fgnm/0.006": 17, "fgsm/0.03": 20, "fgnm/0.03": 23})
    assert found[["measured", "same"]].tolist() == [50, "yes"]
    assert (
        answer(tmp_path, "narrows", before | {"fgsm/0.006": 45, "fgnm/0.006": 15, "fgsm/0.03": 45, "fgnm/0.03": 15})["same"]
        == "no"
    )


def test_single_steps_are_compared_below_the_threshold_alone(tmp_path):
    cells = {"fgsm/0.002": 40, "fgnm/0.002": 20, "fgsm/0.01": 0, "fgnm/0.01": 30}
    assert answer(tmp_path, "ahead", cells)[["measured", "same"]].tolist() == [pytest.approx(100 / 3), "yes"]
    found = answer(tmp_path, "ahead", cells | {"fgsm/0.003": 20, "fgnm/0.003": 20})
    assert found[["same", "why"]].tolist() == ["in part", "holds in 1 of 2 comparisons"]


def test_the_fall_is_that_from_before_the_attack_at_the_larger_strengths(tmp_path):
    cells = {"fgsm/0.005": 60, "fgsm/0.006": 12, "fgnm/0.03": 30}
    found = answer(tmp_path, "fall", cells)  # by 80 and 50 points; the interval of the former is wider than 5 points
    assert found[["measured", "same", "why"]].tolist() == [65, "no", "holds in 0 of 2 comparisons"]


def test_iterative_attacks_are_compared_in_pairs_at_every_strength(tmp_path):
    cells = {"bim/0.001": 40, "binm/0.001": 20, "pgd/0.001": 40, "pgdnm/0.001": 20, "mifgsm/0.001": 0, "mifgnm/0.001": 60}
    assert answer(tmp_path, "iterative", cells)[["same", "why"]].tolist() == ["yes", "holds in 2 of 2 comparisons"]
    assert answer(tmp_path, "iterative", cells | {"bim/0.003": 0, "binm/0.003": 0})["same"] == "in part"


def test_a_random_start_makes_no_difference_where_bim_and_pgd_leave_the_same_films(tmp_path):
    assert answer(tmp_path, "start", {"bim/0.001": 40, "pgd/0.001": 20})["same"] == "no"
    # Alike on all 60 films, the interval still reaches 1 - 0.025^(1/60) = 6 points: too few films to say so.
    assert answer(tmp_path, "start", {"pgd/0.001": 40})["same"] == "no"


def test_the_strongest_attack_is_compared_with_each_other_where_that_is_strongest(tmp_path):
    cells = {"fgsm/0.002": 40, "fgsm/0.01": 30, "pgdnm/0.001": 10, "pgdnm/0.003": 40}
    found = answer(tmp_path, "strongest", cells)
    assert found[["measured", "same"]].tolist() == [pytest.approx(100 / 3), "yes"]
    found = answer(tmp_path, "strongest", cells | {"binm/0.001": 10})
    assert found[["same", "why"]].tolist() == ["in part", "holds in 1 of 2 comparisons"]


def test_single_and_iterative_attacks_are_compared_where_one_strength_is_t_times_the_other(tmp_path):
    cells = {"fgsm/0.005": 40, "bim/0.0005": 10, "fgsm/0.001": 0, "bim/0.001": 60, "fgnm/0.03": 40, "binm/0.003": 10}
    found = answers(tmp_path, cells)
    assert found.loc[PAPER_SAYS["steps"].text, ["measured", "same", "why"]].tolist() == [
        50,
        "yes",
        "holds in 2 of 2 comparisons",
    ]
    assert found.loc[PAPER_SAYS["figure 4"].text, "same"] == "no"
    assert answer(tmp_path, "steps", cells, steps=20)["same"] == "not run"


def test_other_models_are_asked_whether_they_are_fooled_and_the_source_model_more(tmp_path):
    found = answers(tmp_path, {"fgsm/0.001": (20, 54), "fgsm/0.03": (10, 30)})
    black, white = (found.loc[PAPER_SAYS[key].text] for key in ("black box", "white box"))
    assert black[["measured", "same"]].tolist() == [40, "yes"]  # 54 before, 30 after
    assert black["why"] == "holds in 1 of 1 comparison; without controls, see their table"
    assert white[["measured", "same"]].tolist() == [pytest.approx(100 * (34 + 20) / 120), "yes"]
    found = answers(tmp_path / "weak", {"fgsm/0.03": (54, 54)})
    assert [found.loc[PAPER_SAYS[key].text, "same"] for key in ("black box", "white box")] == ["no", "no"]


def test_an_attack_that_leaves_more_right_at_a_larger_strength_does_not_fall_with_it(tmp_path):
    cells = {
        "fgsm/0.001": (40, 50),
        "fgsm/0.002": (10, 40),
        "fgsm/0.03": (30, 30),
        "fgnm/0.001": (40, 50),
        "fgnm/0.002": (9, 40),
    }
    found = answers(tmp_path, cells)
    white, black = (found.loc[PAPER_SAYS[key].text] for key in ("strength white", "strength"))
    assert white[["measured", "same"]].tolist() == [pytest.approx(100 / 3), "in part"] and "for 1 of 2 lines" in white["why"]
    assert black[["measured", "same"]].tolist() == [pytest.approx(-100 / 6), "yes"]
    still = answer(tmp_path / "still", "strength", {"fgsm/0.001": (40, 50), "fgsm/0.03": (40, 50)})
    assert still[["measured", "same"]].tolist() == [0, "no"]


def test_sentences_say_how_many_hold_and_what_the_papers_own_counts_allow(tmp_path):
    answers(tmp_path, {"bim/0.001": 40, "pgd/0.001": 20, "binm/0.001": 10})
    finding = comparison.describe(run_in(tmp_path))
    tally, own = finding.sentences
    same = finding.tables[0].frame.set_index("sentence")["same"]
    text = f"{(same == 'yes').sum()} hold, {(same == 'in part').sum()} hold in part and {(same == 'no').sum()} do not ("
    assert f"Of the paper's {len(same)} sentences that can be tested, {text}" in tally.text
    assert tally.text.endswith(f"; PGD does as BIM does); {(same == 'not run').sum()} were not run.")
    assert "between 0.016 (all 62 are among the 69) and 0.60 (none is)" in own.text


def test_without_the_papers_sweep_all_but_the_models_is_not_run(tmp_path):
    rows = answers(tmp_path, {"fgsm/0.01": 30}, condition="VGG16/budget")
    assert set(rows.loc[[said.text for said in PAPER_SAYS.values()], "same"]) == {"not run"}
