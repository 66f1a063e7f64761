"""What attacks spend and gain, what storing leaves of them, and grey perturbations: counts known by hand, and the figures."""

import finished
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from nosign import rows
from nosign.errors import UserError
from nosign.findings import effort, grey, steps, storage
from nosign.output import plot, table

FILMS = pd.DataFrame({"film": [7, 8, 9, 12], "label": [0, 0, 1, 2]})
CLEAN = [0, 0, 1, 1]  # VGG16: three of four right


def write_cell(results, name, seen, **measures):
    """Write the cell `CONDITION/ATTACK/STRENGTH` of VGG16 and return its folder and strength as a path without ending."""
    finished.write(results / "clean.csv", FILMS.assign(VGG16=CLEAN))
    path = results / "attacks/VGG16" / name
    measures = {"linf": 0.1, "l2": 1.0, "ssim": 0.99} | measures
    finished.write(path.with_name(f"{path.name}.csv"), FILMS.assign(VGG16=seen, VGG16_8bit=0, **measures))
    return path


def sweeps_of(results):
    """Return the finished sweeps of a results folder."""
    return finished.run_in(results).sweeps


everything_of = finished.everything_in


def test_effort_tells_mean_and_largest_norms_and_the_psnr_of_changed_films(tmp_path):
    write_cell(
        tmp_path,
        "paper/fgsm/0.01",
        [0, 1, 1, 2],
        linf=[0, 0.01, 0.02, 0.03],
        l2=[0, 1, 2, 5],
        ssim=[1, 1, 0.9, 0.7],
        psnr=[np.inf, 40, 50, 60],
    )
    (row,) = effort.measure_effort(sweeps_of(tmp_path)[0]).to_dict("records")
    assert (row["linf_mean"], row["linf_largest"]) == pytest.approx((0.015, 0.03))
    assert (row["l2_mean"], row["l2_largest"], row["ssim_mean"]) == pytest.approx((2, 5, 0.9))
    assert (row["psnr_mean"], row["films_changed"], row["accuracy_percent_VGG16"]) == (50, 3, 75)
    assert (row["correct_VGG16"], row["films"]) == (3, 4)
    # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = 3/4, n = 4, z = 1.959964
    assert (row["ci_low_percent_VGG16"], row["ci_high_percent_VGG16"]) == pytest.approx((30.0642, 95.4413), abs=1e-4)


def test_effort_of_old_results_has_a_dash_for_the_psnr(tmp_path):
    write_cell(tmp_path, "paper/fgsm/0.01", [0, 1, 1, 2])
    made, drawn, sentences = everything_of(tmp_path)
    assert made["effort"].rows == [["FGSM", "0.01", "75.00", "0.1", "0.1", "1", "1", "0.9900", "—"]]
    assert "theory" not in made and "storing" not in made and {"figure5", "boundary"} <= set(drawn)


def test_where_attacks_aim_at_a_class_their_success_is_told(tmp_path):
    write_cell(tmp_path, "paper-to-Normal/fgsm/0.01", [1, 0, 1, 1])  # of films 7, 8, 12 two are taken for Normal
    (sweep,) = sweeps_of(tmp_path)
    (row,) = effort.measure_effort(sweep).to_dict("records")
    assert row["success_percent_VGG16"] == pytest.approx(200 / 3)
    assert sweep.turned("VGG16", [1, 0, 1, 1]).tolist() == [True, False, False, False]  # film 12 was taken for it before


def test_norms_are_compared_film_by_film_at_equal_strength(tmp_path):
    write_cell(tmp_path, "paper/fgsm/0.01", CLEAN, linf=[0.01, 0.01, 0.01, 0], l2=[1, 2, 4, 0])
    write_cell(tmp_path, "paper/fgnm/0.01", CLEAN, linf=[0.02, 0.05, 0.09, 0], l2=[1, 3, 4, 0])
    write_cell(tmp_path, "paper/fgnm/0.03", CLEAN, linf=9, l2=9)  # without a twin
    (sentence,) = effort.spent_sentences(sweeps_of(tmp_path)[0])
    sentence = sentence.text
    assert "FGNM has 1.00 times the L2 and 5.00 times the L-inf norm of FGSM" in sentence


def test_no_sentence_where_no_pair_is_complete(tmp_path):
    write_cell(tmp_path, "paper/fgsm/0.01", CLEAN)
    write_cell(tmp_path, "paper/fgnm/0.02", CLEAN)
    assert effort.spent_sentences(sweeps_of(tmp_path)[0]) == []


def test_figure_five_sets_accuracy_against_strength_l2_linf_and_ssim(tmp_path):
    finished.write_results(tmp_path, films=30)
    (sweep,) = sweeps_of(tmp_path)
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


def test_attacks_in_one_panel_differ_in_marker_fill_or_line():
    styles = [plot.attack_style(name) for name in plot.ATTACK_MARKS]
    assert len({(style["marker"], style["markerfacecolor"], style["color"]) for style in styles}) == len(styles)


STEPS = """film,step,cosine,predicted,gained
7,1,0.5,1,1
8,1,,0,0
9,1,0.7,3,2
12,1,0.6,4,3
7,2,0.4,2,1
8,2,0.4,2,1
9,2,0.4,2,1
12,2,0.4,2,1
"""


def test_cosine_is_averaged_over_films_that_have_one_and_gains_over_all(tmp_path):
    path = write_cell(tmp_path, "paper/bim/0.01", CLEAN)
    path.with_name("0.01.steps.csv").write_text(STEPS)
    made, _, _ = everything_of(tmp_path)
    tidy = made["theory"].frame
    assert tidy["step"].tolist() == [1, 2] and tidy["cosine_mean"].tolist() == pytest.approx([0.6, 0.4])
    assert tidy["predicted_mean"].tolist() == [2, 2] and tidy["gained_mean"].tolist() == [1.5, 1]
    assert tidy["share_percent"].tolist() == [75, 50]
    assert made["theory"].rows == [["BIM", "0.01", "2", "0.500", "0.600", "0.400", "4", "2.5", "62.50"]]


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,0.4,2,1", ""), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("\n12,2", "\n9,2"), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("\n12,", "\n13,"), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("0.7,3", "x,3"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.7,3", "inf,3"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("gained", "won"), "lacks the column gained"),
        (lambda text: text[: text.index("\n") + 1], "has a heading but no rows"),
    ],
)
def test_a_damaged_record_of_steps_is_named_with_its_fault(tmp_path, change, complaint):
    path = write_cell(tmp_path, "paper/bim/0.01", CLEAN)
    path.with_name("0.01.steps.csv").write_text(change(STEPS))
    with pytest.raises(UserError) as caught:
        steps.average_steps(sweeps_of(tmp_path)[0])
    assert "bim/0.01.steps.csv: " in str(caught.value) and complaint in str(caught.value)
    assert "run attack.py again" in str(caught.value) and "\n" not in str(caught.value)


def test_a_film_whose_loss_was_not_finite_does_not_count(tmp_path):
    path = write_cell(tmp_path, "paper/bim/0.01", CLEAN)
    record = FILMS[["film"]].assign(step=1, cosine=0.5, predicted=[1, 1, 3, np.nan], gained=[2, 4, 3, np.nan])
    finished.write(path.with_name("0.01.steps.csv"), record)
    row = steps.average_steps(sweeps_of(tmp_path)[0]).iloc[0]
    assert (row["predicted_mean"], row["gained_mean"]) == (pytest.approx(5 / 3), 3)


def test_a_gain_that_was_not_predicted_has_no_share():
    assert steps.share_of(pd.Series([1.0, 1.0]), pd.Series([0.0, 2.0])).tolist() == pytest.approx([np.nan, 50], nan_ok=True)


def test_theory_compares_cosine_and_gain_of_complete_pairs(tmp_path):
    for attack, cosine, gained in (("fgsm", 0.73, 0.9), ("fgnm", 1.0, 0.6)):
        path = write_cell(tmp_path, f"paper/{attack}/0.01", CLEAN)
        steps = FILMS[["film"]].assign(step=1, cosine=cosine, predicted=1, gained=gained)
        finished.write(path.with_name("0.01.steps.csv"), steps)
    _, _, sentences = everything_of(tmp_path)
    (sentence,) = [sentence for sentence in sentences if "mean cosine" in sentence]
    assert "is 0.730 under sign and 1.000 under no-sign attacks" in sentence
    assert "90 % and 60 % happened (medians over 1 pair of cells)" in sentence


def write_stored(path, seen):
    """Write a cell's predictions after storing, a dict from storage to the four films' classes."""
    frames = [FILMS.assign(storage=storage, VGG16=classes) for storage, classes in seen.items()]
    finished.write(path.with_name(f"{path.name}.stored.csv"), pd.concat(frames))


def test_storing_counts_the_successes_that_survive(tmp_path):
    # Right before: 7, 8, 9. Turned: 8 and 9. After 8 bits 9 is right again; 7 is wrong only now, so it does not count.
    write_stored(write_cell(tmp_path, "paper/fgsm/0.01", [0, 1, 2, 0]), {"8 bits": [2, 1, 1, 2], "JPEG 75": [0, 0, 1, 2]})
    made, _, _ = everything_of(tmp_path)
    tidy = made["storing"].frame.set_index("storage")
    assert tidy.loc["8 bits", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 1, 50, 50]
    assert tidy.loc["JPEG 75", ["turned", "surviving", "share_percent", "accuracy_percent"]].tolist() == [2, 0, 0, 100]
    assert made["storing"].rows == [["FGSM", "0.01", "2", "50.00", "0.00"]]


def test_an_attack_without_success_has_no_share_that_survives(tmp_path):
    write_stored(write_cell(tmp_path, "paper/fgsm/0.01", CLEAN), {"JPEG 75": [1, 1, 2, 2]})
    write_stored(write_cell(tmp_path, "paper/fgnm/0.01", CLEAN), {"JPEG 75": [1, 1, 2, 2]})
    made, drawn, sentences = everything_of(tmp_path)
    assert made["storing"].rows[0] == ["FGSM", "0.01", "0", "—"] and "storing" in drawn
    assert any("0 / 0 and 0 / 0 after JPEG 75" in sentence for sentence in sentences)


def test_storing_pools_sign_and_no_sign_over_complete_pairs(tmp_path):
    write_stored(
        write_cell(tmp_path, "paper/fgsm/0.01", [1, 1, 2, 0]), {"JPEG 90": [1, 0, 1, 2], "JPEG 75": [1, 0, 1, 2]}
    )  # 1 of 3
    write_stored(
        write_cell(tmp_path, "paper/fgnm/0.01", [1, 1, 1, 0]), {"JPEG 90": [1, 1, 1, 2], "JPEG 75": [1, 1, 1, 2]}
    )  # 2 of 2
    write_stored(write_cell(tmp_path, "paper/fgnm/0.02", [1, 1, 2, 0]), {"JPEG 75": [0, 0, 1, 2]})  # without a twin
    _, _, sentences = everything_of(tmp_path)
    assert any(
        "of the 3 / 2 films that sign / no-sign attacks turned, and of the 2 that both turned, so many are still turned after "
        "storing: 1 / 2 and 1 / 2 after JPEG 90 and JPEG 75 (all" in sentence
        for sentence in sentences
    )


def test_what_storing_does_to_clean_films_is_counted_by_model(tmp_path):
    write_cell(tmp_path, "paper/fgsm/0.01", CLEAN)
    clean = rows.read_clean(tmp_path)
    assert storage.count_stored_clean(tmp_path, clean) is None
    # Right before: 7, 8, 9. After JPEG 9 is wrong and 12 is right.
    finished.write(
        tmp_path / "clean.stored.csv",
        pd.concat([FILMS.assign(storage="16 bits", VGG16=CLEAN), FILMS.assign(storage="JPEG 75", VGG16=[0, 0, 2, 2])]),
    )
    stored = storage.count_stored_clean(tmp_path, clean)
    assert stored[["right_before", "correct", "fallen"]].to_numpy().tolist() == [[3, 3, 0], [3, 3, 1]]
    assert storage.stored_clean_table(stored, "test films").rows == [["VGG16", "3", "3", "0", "3", "1"]]


def test_storages_come_with_more_bits_before_fewer_and_jpeg_last():
    stored = pd.DataFrame({"storage": ["JPEG 75", "8 bits", "16 bits", "JPEG 95", "10 bits"]})
    assert storage.storages_in(stored) == ["16 bits", "10 bits", "8 bits", "JPEG 95", "JPEG 75"]


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,JPEG 75,2", ""), "films under 'JPEG 75' are not the 4 of clean.csv"),
        (lambda text: text.replace("VGG16", "seen"), "no model of clean.csv"),
        (lambda text: text.replace("JPEG 75,0", "JPEG 75,9", 1), "VGG16 is 9, expected a class from 0 to 2"),
    ],
)
def test_a_damaged_file_of_stored_films_is_named_with_its_fault(tmp_path, change, complaint):
    path = write_cell(tmp_path, "paper/fgsm/0.01", [1, 1, 1, 1])
    write_stored(path, {"JPEG 75": [0, 0, 1, 2]})
    path = path.with_name("0.01.stored.csv")
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        storage.count_stored(sweeps_of(tmp_path)[0])
    assert "fgsm/0.01.stored.csv: " in str(caught.value) and complaint in str(caught.value)


def test_grey_is_compared_with_the_coloured_twin_in_points(tmp_path):
    write_cell(tmp_path, "paper/fgsm/0.01", [1, 1, 1, 2])  # 2 of 4 right
    write_cell(tmp_path, "paper-grey/fgsm/0.01", [0, 1, 1, 2])  # 3 of 4
    write_cell(tmp_path, "paper-grey/fgsm/0.02", [0, 1, 1, 2])  # without a twin
    write_cell(tmp_path, "budget-grey/fgsm/0.01", [0, 1, 1, 2])  # of another condition
    made, drawn, sentences = everything_of(tmp_path)
    assert made["grey"].rows == [["FGSM", "0.01", "50.00", "75.00", "+25.00"]]
    assert "grey" in drawn and not {"grey-budget", "grey-paper-grey"} & {*made, *drawn}
    assert any(
        "+25.0 under FGSM; of 1 cell grey is weaker at 0, stronger at 0, and at 1 the two cannot be told apart" in sentence
        for sentence in sentences
    )
    row = made["grey"].frame.iloc[0]
    assert row[["correct_coloured", "correct_grey", "films", "only_coloured", "only_grey", "p"]].tolist() == [2, 3, 4, 0, 1, 1]
    assert not made["grey"].marks.any()


def test_grey_and_coloured_are_told_apart_where_the_exact_test_after_holm_says_so(tmp_path):
    films = pd.DataFrame({"film": range(12), "label": 0})
    finished.write(tmp_path / "clean.csv", films.assign(VGG16=0))
    wrong = {"paper": {0.01: 8, 0.02: 12}, "paper-grey": {0.01: 0, 0.02: 6}}  # of 12 films
    for condition, cells in wrong.items():
        for strength, count in cells.items():
            cell = films.assign(VGG16=(films["film"] < count).astype(int), VGG16_8bit=0, linf=0.1, l2=1, ssim=0.99)
            finished.write(tmp_path / f"attacks/VGG16/{condition}/fgsm/{strength:g}.csv", cell)
    table = everything_of(tmp_path)[0]["grey"]
    assert table.frame["p"].tolist() == pytest.approx([2 / 2**8, 2 / 2**6])  # 8 and 6 films, all to one side
    assert table.frame["holm_p"].tolist() == pytest.approx([4 / 2**8, 2 / 2**6])  # twice the smaller, the larger
    assert table.frame["told_apart"].tolist() == [True, True] and table.bold[:, -1].all() and not table.bold[:, :-1].any()


def test_grey_twins_of_targeted_conditions_are_found(tmp_path):
    for condition in ("budget-l2-to-Normal", "budget-l2-grey-to-Normal"):
        write_cell(tmp_path, f"{condition}/fgsm/0.01", [1, 1, 1, 2])
    (twins,) = grey.grey_twins(sweeps_of(tmp_path))
    assert tuple(str(sweep.condition) for sweep in twins) == ("budget-l2-to-Normal", "budget-l2-grey-to-Normal")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return tables, figures and sentences of a small results folder with all that stage 3 leaves."""
    results = tmp_path_factory.mktemp("results")
    finished.write_results(
        results,
        films=24,
        conditions=("paper", "paper-grey", "paper-to-Normal"),
        single_step=(0.0005, 0.003, 0.03),
        iterative=(0.0005, 0.003),
    )
    return everything_of(results)


def test_everything_is_made_for_each_condition(whole):
    made, drawn, sentences = whole
    endings = ("", "-paper-grey", "-paper-to-Normal")
    for kind in ("boundary", "storing", "theory"):
        assert {kind + ending for ending in endings} <= set(drawn) & set(made)
    assert {f"{kind}{ending}" for kind in ("figure4", "figure5", "confusion") for ending in endings} | {"grey"} <= set(drawn)
    tables = ("table2", "table3", "effort", "invisible", "comparison", "confusion")
    assert {f"{kind}{ending}" for kind in tables for ending in endings} | {"grey", "table1", "clean", "paper"} <= set(made)
    assert all(sentence.endswith(".") and "nan" not in sentence.split() for sentence in sentences)
    captions = {name: one.caption for name, one in made.items() if name not in ("table1", "paper")}
    assert not [name for name, caption in captions.items() if "synthetic test films" not in caption]


def test_tables_can_be_written_in_every_form(whole, tmp_path):
    for one in whole[0].values():
        latex = table.write_table(tmp_path, one)[-1].read_text()
        assert latex.count("{") == latex.count("}") and latex.isascii()
        assert not any("nan" in row for row in one.rows)


def test_words_are_at_least_seven_points_and_inside_their_figure(whole):
    for name, figure in whole[1].items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        assert figure.get_figwidth() == pytest.approx(plot.WIDTH)
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7, name
        drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.bbox_inches
        assert page.x0 <= drawn.x0 and drawn.x1 <= page.x1 and page.y0 <= drawn.y0 and drawn.y1 <= page.y1, name
