"""Reading and counting cells and laying out tables, on small files whose counts are known by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nosign import publish, rows
from nosign.errors import UserError
from nosign.findings import accuracy, classifiers, comparison_with_paper, confusion, directions, over_runs, transfer
from nosign.finished import read_run
from nosign.output import table, words
from nosign.rows import ROWS, find_files
from nosign.statistics import intervals

LABELS = [0, 0, 1, 2]
CLEAN = {"VGG16": [0, 0, 1, 1], "InceptionV3": [0, 0, 1, 2]}  # 3 and 4 of 4 right
MODELS = """model,parameters,correct,films,imagenet_top1,imagenet_top5,weights_sha256
InceptionV3,21942307,3,4,77.9,93.7,ab
VGG16,14749763,1,3,71.3,90.1,cd
"""


def write_clean(results):
    """Write the clean predictions of two models on four films."""
    results.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"film": [7, 8, 9, 12], "label": LABELS, **CLEAN}).to_csv(results / "clean.csv", index=False)


def write_cell(results, name, **predictions):
    """Write the cell `SOURCE/CONDITION/ATTACK/STRENGTH`; its 8-bit predictions are all class 0 (two films right)."""
    path = results / "attacks" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = {f"{model}_8bit": [0] * 4 for model in predictions}
    pd.DataFrame(
        {
            "film": [7, 8, 9, 12],
            "label": LABELS,
            **predictions,
            **rounded,
            "linf": [0.1, 0.2, 0.3, 0.4],
            "l2": [1, 2, 3, 6],
            "ssim": [1, 1, 0.5, 0.5],
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture
def results(tmp_path):
    """FGSM and FGNM at two strengths; FGNM is better, worse, equal and absent in turn."""
    write_clean(tmp_path)
    write_cell(tmp_path, "VGG16/paper/fgsm/0.001", VGG16=[0, 0, 2, 0], InceptionV3=[1, 0, 1, 1])  # 2, 2 right
    write_cell(tmp_path, "VGG16/paper/fgnm/0.001", VGG16=[0, 1, 2, 0], InceptionV3=[0, 0, 1, 1])  # 1, 3
    write_cell(tmp_path, "VGG16/paper/fgsm/0.003", VGG16=[0, 1, 0, 0], InceptionV3=[1, 1, 0, 0])  # 1, 0
    write_cell(tmp_path, "VGG16/paper/fgnm/0.003", VGG16=[1, 0, 0, 0])  # 1, absent
    return tmp_path


def run_of(results):
    """Return the run of a results folder, which gets a list of models if it has none."""
    if not (results / "models.csv").exists():
        (results / "models.csv").write_text(MODELS)
    return read_run(results, results)


def cells_of(results):
    """Return the counted cells of a results folder."""
    return run_of(results).counts


def sweep_of(run, source="VGG16", condition="paper"):
    """Return one sweep of a run."""
    return next(sweep for sweep in run.sweeps if sweep.name == (source, condition))


def attack_table(results, iterative=False, condition="paper", **verdicts):
    """Return Table II or III; `verdicts` replace the tests' ones, by target, at strength 0.001."""
    run = run_of(results)
    sweep, comparison = sweep_of(run, condition=condition), run.comparisons.copy()
    for target, verdict in verdicts.items():
        comparison.loc[(comparison["target"] == target) & (comparison["strength"] == 0.001), "verdict"] = verdict
    return accuracy.attack_table(sweep, run.of(run.counts, sweep), run.of(comparison, sweep), iterative)


def headings_of(made):
    """Return the (group, heading) of a table's columns."""
    return [(column.group, column.heading) for column in made.columns]


def table_two(results):
    """Return Table II of the paper's condition as if the tests told its first strength's pairs apart."""
    return attack_table(results, VGG16="no-sign better", InceptionV3="sign better")


def test_counts_and_accuracies_of_a_cell(results):
    row = cells_of(results).query("attack == 'fgnm' and strength == 0.001 and target == 'InceptionV3'").iloc[0]
    assert (row["correct"], row["films"], row["accuracy_percent"]) == (3, 4, 75.0)
    assert (row["correct_8bit"], row["accuracy_8bit_percent"]) == (2, 50.0)
    assert row["linf_mean"] == pytest.approx(0.25) and row["l2_mean"] == 3 and row["ssim_mean"] == 0.75
    assert not row["white_box"]


def test_clean_accuracy_counts_over_all_films(results):
    clean = run_of(results).accuracy
    assert clean[["target", "correct", "films", "accuracy_percent"]].to_numpy().tolist() == [
        ["VGG16", 3, 4, 75.0],
        ["InceptionV3", 4, 4, 100.0],
    ]


def test_every_accuracy_has_its_wilson_interval_in_the_tidy_rows(results):
    run = run_of(results)
    cells, models = run.counts, classifiers.table_one(run.classifiers).frame
    for frame in (cells, run.accuracy, models, table_two(results).frame):
        for row in frame.to_dict("records"):
            wanted = stats.binomtest(int(row["correct"]), int(row["films"])).proportion_ci(method="wilson")
            assert (row["ci_low_percent"], row["ci_high_percent"]) == pytest.approx((100 * wanted.low, 100 * wanted.high))
    rounded = stats.binomtest(2, 4).proportion_ci(method="wilson")  # two of four films are class 0, as all cells' are seen
    assert cells["ci_low_8bit_percent"].tolist() == pytest.approx([100 * rounded.low] * len(cells))


def test_success_is_told_over_all_films_and_over_those_right_before(results):
    # VGG16 is right on films 0, 1, 2 before; under FGSM at 0.003 on film 0 only, so three are wrong, two of them newly.
    row = cells_of(results).query("attack == 'fgsm' and strength == 0.003 and target == 'VGG16'").iloc[0]
    assert (row["reached"], row["attackable"], row["reached_percent"]) == (3, 4, 75)
    assert (row["turned"], row["can_turn"]) == (2, 3)
    assert row["turned_percent"] == pytest.approx(200 / 3)


def test_files_beside_cells_are_not_cells(results):
    before = cells_of(results)
    for name in ("0.001.steps.csv", "0.001.stored.csv", "boundary.csv"):
        (results / "attacks/VGG16/paper/fgsm" / name).write_text("film,step\n")
    pd.testing.assert_frame_equal(cells_of(results), before)


def test_later_measures_are_read_and_a_film_that_did_not_change_may_have_an_infinite_psnr(results):
    path = results / "attacks/VGG16/paper/fgsm/0.001.csv"
    before = cells_of(results)
    pd.read_csv(path).assign(psnr=[np.inf, 50, 40, 30], local_ratio=0.5, jnd_ratio=2.0).to_csv(path, index=False)
    pd.testing.assert_frame_equal(cells_of(results), before)
    films = rows.read_films(results, rows.read_clean(results))[0].films
    assert films["psnr"].tolist() == [np.inf, 50, 40, 30]
    pd.read_csv(path).assign(l2=np.inf).to_csv(path, index=False)
    with pytest.raises(UserError, match="line 2: a field is empty or not a number"):
        cells_of(results)


def test_table_two_lists_the_clean_row_then_ascending_strengths(results):
    shown = table_two(results).rows
    assert shown == [
        ["0 (clean)", "75.00", "75.00", "100.00", "100.00"],
        ["0.001", "50.00", "25.00", "50.00", "75.00"],
        ["0.003", "25.00", "25.00", "0.00", "—"],
    ]


def test_star_marks_the_white_box_model_only(results):
    assert headings_of(table_two(results)) == [
        ("", "Strength"),
        ("VGG16*", "FGSM"),
        ("VGG16*", "FGNM"),
        ("InceptionV3", "FGSM"),
        ("InceptionV3", "FGNM"),
    ]


def test_bold_marks_the_attack_that_the_tests_find_better_and_no_other(results):
    assert table_two(results).bold.tolist() == [
        [False, False, False, False, False],
        [False, False, True, True, False],
        [False, False, False, False, False],
    ]
    assert not attack_table(results).marks.any()  # four films are too few to tell anything apart


def test_markdown_and_latex_carry_bold_dash_and_star(results):
    made = table_two(results)
    markdown, latex = table.to_markdown(made), table.to_latex(made)
    lines = markdown.splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "Strength",
        "VGG16* FGSM",
        "VGG16* FGNM",
        "InceptionV3 FGSM",
        "InceptionV3 FGNM",
    ]
    assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == ["0.001", "50.00", "**25.00**", "**50.00**", "75.00"]
    assert r"0.001 & 50.00 & \textbf{25.00} & \textbf{50.00} & 75.00 \\" in latex
    assert r"0.003 & 25.00 & 25.00 & 0.00 & --- \\" in latex
    assert r" & \multicolumn{2}{c}{VGG16*} & \multicolumn{2}{c}{InceptionV3} \\" in latex
    assert "4 test films" in markdown and "T = 1," in markdown and "condition 'paper'" in markdown


def test_latex_is_balanced_and_free_of_bare_specials(results):
    latex = table.to_latex(table_two(results))
    assert latex.count("{") == latex.count("}") and r"Accuracy (\%) on" in latex
    assert "%" not in latex.replace(r"\%", "") and "—" not in latex
    assert latex.index("\n\\footnotesize\n") < latex.index(r"\begin{tabular}")
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert table.escape_latex("50 % of a_b & c {x} ~ ^ \\ $1 #2") == (
        r"50 \% of a\_b \& c \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$1 \#2"
    )


def test_table_three_states_the_steps_on_record(results):
    write_cell(results, "VGG16/paper/pgd/0.001", VGG16=[0, 0, 0, 0])
    assert sweep_of(run_of(results)).steps is None
    (results / "attacks/VGG16/paper/manifest.json").write_text('{"settings": {"steps": 7}}')
    table = attack_table(results, iterative=True)
    assert "PGD against PGDNM" in table.caption and "BIM" not in table.caption and "T = 7," in table.caption
    assert headings_of(table)[1:] == [("VGG16*", "PGD"), ("VGG16*", "PGDNM")]
    assert table.rows[1] == ["0.001", "50.00", "—"]


def test_no_table_without_a_cell(results):
    assert attack_table(results, iterative=True) is None


@pytest.mark.parametrize(
    "condition, suffix",
    [
        (("VGG16", "paper"), ""),
        (("VGG16", "budget"), "-budget"),
        (("InceptionV3", "paper"), "-InceptionV3"),
        (("InceptionV3", "budget"), "-InceptionV3-budget"),
    ],
)
def test_other_conditions_have_names_of_their_own(condition, suffix):
    assert words.condition_suffix(*condition) == suffix


def test_missing_cells_are_those_of_the_paper_and_those_beside_the_found_ones(results):
    write_cell(results, "VGG16/paper/fgsm/0.5", VGG16=[0, 0, 0, 0])
    missing = publish.missing_cells(run_of(results))
    assert missing["VGG16/paper/fgnm"] == [0.0005, 0.002, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.5]
    assert 0.5 not in missing["VGG16/paper/fgsm"]
    assert missing["VGG16/paper/bim"] == [0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]


def test_a_file_that_is_still_being_written_is_no_cell(results):
    before = cells_of(results)
    (results / "attacks/VGG16/paper/fgsm/.0.002.123.part.csv").write_text("film,la")
    pd.testing.assert_frame_equal(cells_of(results), before)


def test_cells_come_in_the_order_of_the_paper(results):
    write_cell(results, "DenseNet201/budget/fgsm/1e-05", VGG16=[0, 0, 0, 0])
    write_cell(results, "VGG16/budget/fgsm/0.03", VGG16=[0, 0, 0, 0])
    found = find_files(results, ROWS)
    assert [(source, str(condition), *cell) for source, condition, *cell, _ in found] == [
        ("VGG16", "paper", "fgsm", 0.001),
        ("VGG16", "paper", "fgsm", 0.003),
        ("VGG16", "paper", "fgnm", 0.001),
        ("VGG16", "paper", "fgnm", 0.003),
        ("VGG16", "budget", "fgsm", 0.03),
        ("DenseNet201", "budget", "fgsm", 0.00001),
    ]


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text[: len(text) // 2], "empty or not a number"),
        (lambda text: text[: text.index("\n9,") + 1], "2 films are not the 4 films"),
        (lambda text: text.replace("\n9,", "\n10,"), "films are not the 4 films"),
        (lambda text: text.replace("\n9,1,", "\n9,2,"), "films are not the 4 films"),
        (lambda text: text.replace("\n9,1,2,", "\n9,1,5,"), "line 4: VGG16 is 5, expected a class from 0 to 2"),
        (lambda text: text.replace("\n9,1,2,", "\n9,1,x,"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("VGG16_8bit", "VGG19_8bit"), "one more that ends in _8bit"),
        (lambda text: text.replace("VGG16", "VGG19"), "targets VGG19, of which clean.csv holds no predictions"),
        (lambda text: text.replace("ssim", "ssin"), "lacks the column ssim"),
        (lambda text: text[: text.index("\n") + 1], "has a heading but no rows"),
        (lambda text: "", "not a readable CSV file"),
        (lambda text: text + "1,2,3,4,5,6,7,8,9,10,11,12\n", "not a readable CSV file"),
    ],
)
def test_a_damaged_cell_is_named_with_its_fault_and_the_cure(results, change, complaint):
    path = results / "attacks/VGG16/paper/fgsm/0.001.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        cells_of(results)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and complaint in message
    assert "remove the file and run attack.py again" in message


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("VGG16/paper/fgsm/strong", "should be a strength"),
        ("VGG16/paper/fgsm/-0.1", "should be a strength"),
        ("VGG16/paper/fgsm/inf", "should be a strength"),
        ("VGG16/paper/fgsm/0.0010", "the same cell as"),
        ("VGG16/paper/deepfool/0.001", "should read SOURCE/CONDITION"),
        ("VGG16/free/fgsm/0.001", "should read SOURCE/CONDITION"),
    ],
)
def test_a_path_that_names_no_cell_is_refused(results, name, complaint):
    write_cell(results, name, VGG16=[0, 0, 0, 0])
    with pytest.raises(UserError, match=complaint):
        cells_of(results)


def test_a_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(UserError, match="clean.csv: not found; run attack.py"):
        cells_of(tmp_path)
    write_clean(tmp_path)
    with pytest.raises(UserError, match="attacks: no finished cells; run attack.py"):
        cells_of(tmp_path)


def test_table_one_sets_the_paper_beside_the_measured(tmp_path):
    (tmp_path / "models.csv").write_text(MODELS + "MyNet,1000,2,4,,,ef\n")
    table = classifiers.table_one(rows.read_models(tmp_path))
    assert table.rows == [
        ["VGG16", "14,749,763", "33.33 (1/3)", "6.15–79.23", "71.3", "90.1", "14,747,715", "92.22 (830/900)"],
        ["InceptionV3", "21,942,307", "75.00 (3/4)", "30.06–95.44", "77.9", "93.7", "21,934,307", "90.11 (811/900)"],
        ["MyNet", "1,000", "50.00 (2/4)", "15.00–85.00", "—", "—", "—", "—"],
    ]


@pytest.mark.parametrize(
    "text, complaint",
    [
        (MODELS.replace("parameters", "size"), "lacks the column parameters"),
        (MODELS.replace(",3,4,", ",5,4,"), "at most films"),
        (MODELS.replace(",3,4,", ",,4,"), "whole numbers"),
        (MODELS.replace("VGG16", "InceptionV3"), "names a model twice"),
        ("", "not a readable CSV file"),
    ],
)
def test_a_damaged_list_of_models_is_refused(tmp_path, text, complaint):
    (tmp_path / "models.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        rows.read_models(tmp_path)


def paper_rows(folder, results):
    """Return the comparison with the paper: quantity -> (paper, measured, note)."""
    (folder / "models.csv").write_text(MODELS)
    tidy = comparison_with_paper.paper_table(rows.read_models(folder), cells_of(results)).frame
    assert tidy["paper_note"].tolist()[3:] == [
        "830/900",
        "811/900",
        "871/900",
        "69/900 at 0.01",
        "66/900 at 0.02",
        "62/900",
        "about",
    ]
    return {row.quantity: (row.paper, row.measured, row.measured_note) for row in tidy.itertuples()}


def test_comparison_takes_the_lowest_white_box_accuracy_at_its_smallest_strength(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 1, 0, 0])  # 1 right, as at 0.003
    write_cell(results, "VGG16/budget/fgsm/0.001", VGG16=[1, 1, 0, 0])  # another protocol: none right
    write_cell(results, "InceptionV3/paper/fgsm/0.001", InceptionV3=[1, 1, 0, 0])
    rows = paper_rows(results, results)
    assert rows["FGSM, lowest white-box accuracy"] == (7.67, 25.0, "1/4 at 0.002 (of 3 run)")
    assert rows["PGDNM, lowest white-box accuracy"][2] == "not run"
    assert rows["VGG16 clean accuracy"][:2] == (pytest.approx(830 / 9), pytest.approx(100 / 3))
    assert rows["VGG16 clean accuracy"][2] == "1/3"
    assert rows["DenseNet201 clean accuracy"][2] == "not trained"
    assert rows["VGG16 parameters"][:2] == (14_747_715, 14_749_763)


def test_gap_is_averaged_over_the_strengths_strictly_inside_the_interval(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 0, 1, 2])  # 4 right: gap 75 points; at 0.003 the gap is 0
    write_cell(results, "VGG16/paper/fgnm/0.002", VGG16=[0, 1, 0, 0])  # 1 right
    write_cell(results, "VGG16/paper/fgsm/0.004", VGG16=[0, 0, 1, 2])  # no FGNM at this strength
    gap = paper_rows(results, results)["FGNM below FGSM within (0.001, 0.005)"]
    assert gap == (30, 37.5, "mean of 2 strengths")


def test_written_files_hold_the_tidy_rows(results):
    paths = table.write_table(results / "tables", table_two(results))
    assert [path.name for path in paths] == ["table2.csv", "table2.md", "table2.tex"]
    written = pd.read_csv(paths[0])
    pd.testing.assert_frame_equal(written, cells_of(results), check_dtype=False)


def test_a_table_of_targeted_attacks_shows_success_and_marks_what_the_tests_find(results):
    # Of the four films, labels 0, 1, 0, 0 are class 0 three times: one film of another class or three can reach a target.
    write_cell(results, "VGG16/paper-to-Normal/fgsm/0.003", VGG16=[1, 1, 0, 0])
    write_cell(results, "VGG16/paper-to-Normal/fgnm/0.003", VGG16=[1, 1, 1, 0])
    run = run_of(results)
    sweep = sweep_of(run, condition="paper-to-Normal")
    comparison = run.of(run.comparisons, sweep).assign(verdict="no-sign better")
    table = accuracy.attack_table(sweep, run.of(run.counts, sweep), comparison, False)
    others = rows.read_clean(results)["label"] != 1
    expected = [100 * ((np.array(seen) == 1) & others).sum() / others.sum() for seen in ([1, 1, 0, 0], [1, 1, 1, 0])]
    assert table.rows[0][:3] == ["0 (clean)", "33.33", "33.33"]  # film 12 of films 7, 8 and 12
    assert table.rows[1][:3] == ["0.003", *(f"{value:.2f}" for value in expected)]
    assert table.bold[:, 1:3].tolist() == [[False, False], [False, True]]
    assert table.name == "table2-paper-to-Normal" and "taken for Normal" in table.caption
    assert "succeeds more often" in table.caption


def test_the_transfer_table_takes_the_largest_strength_that_all_sources_share(results):
    assert not transfer.describe(run_of(results))
    for strength in ("0.003", "0.03"):
        write_cell(results, f"VGG16/budget/fgsm/{strength}", VGG16=[0, 0, 0, 0], InceptionV3=[0, 1, 0, 0])
    write_cell(results, "InceptionV3/budget/fgsm/0.003", VGG16=[1, 1, 1, 1], InceptionV3=[2, 2, 2, 2])
    (table,) = transfer.describe(run_of(results)).tables
    labels = rows.read_clean(results)["label"]
    percent = [f"{100 * (np.array(seen) == labels).mean():.2f}" for seen in ([0] * 4, [0, 1, 0, 0], [1] * 4, [2] * 4)]
    assert table.rows == [
        ["FGSM", "0.003", "VGG16", percent[0] + "*", percent[1]],
        ["FGSM", "0.003", "InceptionV3", percent[2], percent[3] + "*"],
    ]
    assert table.name == "transfer-budget"


def test_the_comparison_lists_counts_p_values_and_verdicts(results):
    run = run_of(results)
    made = directions.comparison_table(sweep_of(run), run.comparisons, "test films")
    heading = [" ".join(filter(None, column)) for column in headings_of(made)]
    assert heading == [
        "Pair",
        "Strength",
        "Target",
        "Films",
        "Films right under sign",
        "Films right under no-sign",
        "Films right under only sign",
        "Films right under only no-sign",
        "Difference",
        "95 % interval",
        "p",
        "Holm p",
        "Verdict",
    ]
    spans = [words.span(*intervals.paired_interval(*only, 4)) for only in ((1, 0), (0, 1), (1, 1))]
    # By the predictions in `results`: VGG16 gets films 0, 1 right under FGSM and 0 under FGNM, then one film each.
    assert made.rows == [
        ["FGSM / FGNM", "0.001", "VGG16*", "4", "2", "1", "1", "0", "−25.00", spans[0], "1.00", "1.00", "not told apart"],
        ["FGSM / FGNM", "0.001", "InceptionV3", "4", "2", "3", "0", "1", "+25.00", spans[1], "1.00", "1.00", "not told apart"],
        ["FGSM / FGNM", "0.003", "VGG16*", "4", "1", "1", "1", "1", "0.00", spans[2], "1.00", "1.00", "not told apart"],
    ]
    assert made.name == "comparison" and "Holm's correction over 3 comparisons of single-step attacks" in made.caption
    assert not made.marks.any()
    assert directions.comparison_table(sweep_of(run), run.comparisons.iloc[:0], "test films") is None
    assert r"$-$25.00" in table.to_latex(made)


@pytest.mark.parametrize("p, text", [(1, "1.00"), (0.03125, "0.0312"), (0.00012345, "0.000123"), (1e-9, "<0.0001")])
def test_p_values_have_three_digits(p, text):
    assert words.p_value(p) == text


def test_captions_name_the_comparisons_and_the_widest_interval(results):
    widest = max((row["ci_high_percent"] - row["ci_low_percent"]) / 2 for row in table_two(results).frame.to_dict("records"))
    caption = table_two(results).caption
    assert (
        "Holm's correction over 3 comparisons" in caption and f"widest Wilson 95 % interval is ±{widest:.1f} points" in caption
    )
    write_cell(results, "VGG16/paper/pgd/0.001", VGG16=[0, 0, 0, 0])
    assert "No sign/no-sign pair is complete" in attack_table(results, iterative=True).caption


def test_a_long_table_is_split_into_floats_that_fit_a_page():
    rows = [[str(number), "x_y"] for number in range(90)]
    bold = np.zeros((90, 2), bool)
    bold[89, 0] = True
    columns = (*table.numbers("Number"), *table.words("Name"))
    long = table.Table("long", "Long", "Caption.", pd.DataFrame(rows), columns, rows, bold)
    latex = table.to_latex(long)
    assert r"\textbf{89} & x\_y" in latex and latex.count("textbf") == 1
    assert latex.count(r"\begin{table*}") == latex.count(r"\end{table*}") == 3
    rows = [line.split(" & ")[0] for line in latex.splitlines() if "x\\_y" in line]
    assert rows[:89] == [str(number) for number in range(89)] and len(rows) == 90
    assert latex.count(r"\label{tab:long}") == 1 and "Caption. Part 3 of 3." in latex


def test_confusion_shows_the_white_box_matrices_at_the_largest_strengths(results):
    run = run_of(results)
    counts = confusion.count_confusion(run.sweeps)
    table = confusion.confusion_table(sweep_of(run), counts)
    assert table.rows == [  # labels 0, 0, 1, 2
        ["clean", "—", "COVID-19", "2", "0", "0"],
        ["clean", "—", "Normal", "0", "1", "0"],
        ["clean", "—", "Pneumonia", "0", "1", "0"],
        ["FGSM", "0.003", "COVID-19", "1", "1", "0"],
        ["FGSM", "0.003", "Normal", "1", "0", "0"],
        ["FGSM", "0.003", "Pneumonia", "1", "0", "0"],
        ["FGNM", "0.003", "COVID-19", "1", "1", "0"],
        ["FGNM", "0.003", "Normal", "1", "0", "0"],
        ["FGNM", "0.003", "Pneumonia", "1", "0", "0"],
    ]
    assert len(table.frame) == 9 * (2 + 7)  # two models clean, seven times a model in a cell
    assert confusion.confusion_table(sweep_of(run), counts[counts["target"] == "InceptionV3"]) is None


def test_seeds_show_mean_spread_and_range(results):
    run = run_of(results)
    first, name = over_runs.shares_of(run, 0), sweep_of(run).name
    raised = np.where(first["attack"] == "clean", first["percent"], np.minimum(first["percent"] + 10, 100))
    both = pd.concat([first, first.assign(percent=raised, run=1)])
    table = over_runs.seeds_table(over_runs.spread_over_runs(both), name, "test films")
    assert table.rows[0] == ["clean", "—", "2", "75.00 ± 0.00", "75.00–75.00", "100.00 ± 0.00", "100.00–100.00"]
    # 50 and 60, 50 and 60: the standard deviation with n - 1 is the root of 50.
    assert table.rows[1] == ["FGSM", "0.001", "2", "55.00 ± 7.07", "50.00–60.00", "55.00 ± 7.07", "50.00–60.00"]
    alone = over_runs.seeds_table(over_runs.spread_over_runs(first), name, "test films").rows
    assert alone[4][:5] == ["FGNM", "0.003", "1", "25.00 ± —", "25.00–25.00"] and alone[4][5:] == ["—", "—"]
