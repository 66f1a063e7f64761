"""Counting cells and laying out tables, on small files whose counts are known by hand."""

import numpy as np
import pandas as pd
import pytest

from nosign import tables
from nosign.errors import UserError

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
    pd.DataFrame({"film": [7, 8, 9, 12], "label": LABELS, **predictions, **rounded, "linf": [0.1, 0.2, 0.3, 0.4],
                  "l2": [1, 2, 3, 6], "ssim": [1, 1, 0.5, 0.5]}).to_csv(path, index=False)
    return path


@pytest.fixture
def results(tmp_path):
    """FGSM and FGNM at two strengths; FGNM is better, worse, equal and absent in turn."""
    write_clean(tmp_path)
    write_cell(tmp_path, "VGG16/paper/fgsm/0.001", VGG16=[0, 0, 2, 0], InceptionV3=[1, 0, 1, 1])  # 2, 2 right
    write_cell(tmp_path, "VGG16/paper/fgnm/0.001", VGG16=[0, 1, 2, 0], InceptionV3=[0, 0, 1, 1])  # 1, 3
    write_cell(tmp_path, "VGG16/paper/fgsm/0.003", VGG16=[0, 1, 0, 0], InceptionV3=[1, 1, 0, 0])  # 1, 0
    write_cell(tmp_path, "VGG16/paper/fgnm/0.003", VGG16=[1, 0, 0, 0])                            # 1, absent
    return tmp_path


def table_two(results):
    """Return Table II of the paper's condition."""
    cells, clean = tables.read_cells(results), tables.clean_accuracy(tables.read_clean(results))
    return tables.attack_table(cells, clean, iterative=False, steps=10)


def test_counts_and_accuracies_of_a_cell(results):
    row = tables.read_cells(results).query("attack == 'fgnm' and strength == 0.001 and target == 'InceptionV3'").iloc[0]
    assert (row["correct"], row["films"], row["accuracy_percent"]) == (3, 4, 75.0)
    assert (row["correct_8bit"], row["accuracy_8bit_percent"]) == (2, 50.0)
    assert row["linf_mean"] == pytest.approx(0.25) and row["l2_mean"] == 3 and row["ssim_mean"] == 0.75
    assert not row["white_box"]


def test_clean_accuracy_counts_over_all_films(results):
    clean = tables.clean_accuracy(tables.read_clean(results))
    assert clean.to_dict("list") == {"target": ["VGG16", "InceptionV3"], "correct": [3, 4], "films": [4, 4],
                                     "accuracy_percent": [75.0, 100.0]}


def test_table_two_lists_the_clean_row_then_ascending_strengths(results):
    shown = table_two(results).shown
    assert shown.to_numpy().tolist() == [
        ["0 (clean)", "75.00", "75.00", "100.00", "100.00"],
        ["0.001", "50.00", "25.00", "50.00", "75.00"],
        ["0.003", "25.00", "25.00", "0.00", "—"]]


def test_star_marks_the_white_box_model_only(results):
    assert list(table_two(results).shown.columns) == [
        ("", "Strength"), ("VGG16*", "FGSM"), ("VGG16*", "FGNM"), ("InceptionV3", "FGSM"), ("InceptionV3", "FGNM")]


def test_bold_marks_the_lower_accuracy_of_a_pair_and_neither_of_a_tie(results):
    assert table_two(results).bold.tolist() == [
        [False, False, False, False, False],
        [False, False, True, True, False],
        [False, False, False, False, False]]  # equal for VGG16, nothing to compare with for InceptionV3


def test_markdown_and_latex_carry_bold_dash_and_star(results):
    table = table_two(results)
    markdown, latex = tables.to_markdown(table), tables.to_latex(table)
    lines = markdown.splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "Strength", "VGG16* FGSM", "VGG16* FGNM", "InceptionV3 FGSM", "InceptionV3 FGNM"]
    assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == ["0.001", "50.00", "**25.00**", "**50.00**", "75.00"]
    assert r"0.001 & 50.00 & \textbf{25.00} & \textbf{50.00} & 75.00 \\" in latex
    assert r"0.003 & 25.00 & 25.00 & 0.00 & --- \\" in latex
    assert r" & \multicolumn{2}{c}{VGG16*} & \multicolumn{2}{c}{InceptionV3} \\" in latex
    assert "4 test films" in markdown and "T = 1," in markdown and "condition 'paper'" in markdown


def test_latex_is_balanced_and_free_of_bare_specials(results):
    latex = tables.to_latex(table_two(results))
    assert latex.count("{") == latex.count("}") and r"Accuracy (\%) on" in latex
    assert "%" not in latex.replace(r"\%", "") and "—" not in latex
    assert latex.index("\n\\footnotesize\n") < latex.index(r"\begin{tabular}")
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert tables.escape_latex("50 % of a_b & c {x} ~ ^ \\ $1 #2") == (
        r"50 \% of a\_b \& c \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$1 \#2")


def test_table_three_states_the_steps_on_record(results):
    write_cell(results, "VGG16/paper/pgd/0.001", VGG16=[0, 0, 0, 0])
    cells, clean = tables.read_cells(results), tables.clean_accuracy(tables.read_clean(results))
    table = tables.attack_table(cells, clean, iterative=True, steps=7)
    assert "PGD against PGDNM" in table.caption and "BIM" not in table.caption and "T = 7," in table.caption
    assert list(table.shown.columns)[1:] == [("VGG16*", "PGD"), ("VGG16*", "PGDNM")]
    assert table.shown.to_numpy().tolist()[1] == ["0.001", "50.00", "—"]
    assert tables.recorded_steps(results, "VGG16", "paper") is None
    (results / "attacks/VGG16/paper/manifest.json").write_text('{"settings": {"steps": 7}}')
    assert tables.recorded_steps(results, "VGG16", "paper") == 7


def test_no_table_without_a_cell(results):
    cells, clean = tables.read_cells(results), tables.clean_accuracy(tables.read_clean(results))
    assert tables.attack_table(cells, clean, iterative=True, steps=10) is None


@pytest.mark.parametrize("condition, suffix", [
    (("VGG16", "paper"), ""), (("VGG16", "budget"), "-budget"), (("InceptionV3", "paper"), "-InceptionV3"),
    (("InceptionV3", "budget"), "-InceptionV3-budget")])
def test_other_conditions_have_names_of_their_own(condition, suffix):
    assert tables.condition_suffix(*condition) == suffix


def test_missing_cells_are_those_of_the_paper_and_those_beside_the_found_ones(results):
    write_cell(results, "VGG16/paper/fgsm/0.5", VGG16=[0, 0, 0, 0])
    missing = tables.missing_cells(tables.read_cells(results))
    assert missing["VGG16", "paper", "fgnm"] == [0.0005, 0.002, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025,
                                                0.03, 0.5]
    assert 0.5 not in missing["VGG16", "paper", "fgsm"]
    assert missing["VGG16", "paper", "bim"] == [0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]


def test_a_file_that_is_still_being_written_is_no_cell(results):
    before = tables.read_cells(results)
    (results / "attacks/VGG16/paper/fgsm/.0.002.123.part.csv").write_text("film,la")
    pd.testing.assert_frame_equal(tables.read_cells(results), before)


def test_cells_come_in_the_order_of_the_paper(results):
    write_cell(results, "DenseNet201/budget/fgsm/1e-05", VGG16=[0, 0, 0, 0])
    write_cell(results, "VGG16/budget/fgsm/0.03", VGG16=[0, 0, 0, 0])
    assert [cell[:4] for cell in tables.find_cells(results)] == [
        ("VGG16", "paper", "fgsm", 0.001), ("VGG16", "paper", "fgsm", 0.003),
        ("VGG16", "paper", "fgnm", 0.001), ("VGG16", "paper", "fgnm", 0.003),
        ("VGG16", "budget", "fgsm", 0.03), ("DenseNet201", "budget", "fgsm", 0.00001)]


@pytest.mark.parametrize("change, complaint", [
    (lambda text: text[:len(text) // 2], "empty or not a number"),
    (lambda text: text[:text.index("\n9,") + 1], "2 films are not the 4 films"),
    (lambda text: text.replace("\n9,", "\n10,"), "films are not the 4 films"),
    (lambda text: text.replace("\n9,1,", "\n9,2,"), "films are not the 4 films"),
    (lambda text: text.replace("\n9,1,2,", "\n9,1,5,"), "line 4: VGG16 is 5, expected a class from 0 to 2"),
    (lambda text: text.replace("\n9,1,2,", "\n9,1,x,"), "line 4: a field is empty or not a number"),
    (lambda text: text.replace("VGG16_8bit", "VGG19_8bit"), "one more that ends in _8bit"),
    (lambda text: text.replace("VGG16", "VGG19"), "targets VGG19, of which clean.csv holds no predictions"),
    (lambda text: text.replace("ssim", "ssin"), "lacks the column ssim"),
    (lambda text: text[:text.index("\n") + 1], "has a heading but no rows"),
    (lambda text: "", "not a readable CSV file"),
    (lambda text: text + "1,2,3,4,5,6,7,8,9,10,11,12\n", "not a readable CSV file"),
])
def test_a_damaged_cell_is_named_with_its_fault_and_the_cure(results, change, complaint):
    path = results / "attacks/VGG16/paper/fgsm/0.001.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        tables.read_cells(results)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and complaint in message
    assert "remove the file and run attack.py again" in message


@pytest.mark.parametrize("name, complaint", [
    ("VGG16/paper/fgsm/strong", "should be a strength"), ("VGG16/paper/fgsm/-0.1", "should be a strength"),
    ("VGG16/paper/fgsm/inf", "should be a strength"), ("VGG16/paper/fgsm/0.0010", "the same cell as"),
    ("VGG16/paper/deepfool/0.001", "should read SOURCE/CONDITION"),
    ("VGG16/free/fgsm/0.001", "should read SOURCE/CONDITION")])
def test_a_path_that_names_no_cell_is_refused(results, name, complaint):
    write_cell(results, name, VGG16=[0, 0, 0, 0])
    with pytest.raises(UserError, match=complaint):
        tables.read_cells(results)


def test_a_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(UserError, match="clean.csv: not found; run attack.py"):
        tables.read_cells(tmp_path)
    write_clean(tmp_path)
    with pytest.raises(UserError, match="attacks: no finished cells; run attack.py"):
        tables.read_cells(tmp_path)


def test_table_one_sets_the_paper_beside_the_measured(tmp_path):
    (tmp_path / "models.csv").write_text(MODELS + "MyNet,1000,2,4,,,ef\n")
    table = tables.models_table(tables.read_models(tmp_path))
    assert table.shown.to_numpy().tolist() == [
        ["VGG16", "14,749,763", "33.33 (1/3)", "71.3", "90.1", "14,747,715", "92.22 (830/900)"],
        ["InceptionV3", "21,942,307", "75.00 (3/4)", "77.9", "93.7", "21,934,307", "90.11 (811/900)"],
        ["MyNet", "1,000", "50.00 (2/4)", "—", "—", "—", "—"]]


@pytest.mark.parametrize("text, complaint", [
    (MODELS.replace("parameters", "size"), "lacks the column parameters"),
    (MODELS.replace(",3,4,", ",5,4,"), "at most films"),
    (MODELS.replace(",3,4,", ",,4,"), "whole numbers"), (MODELS.replace("VGG16", "InceptionV3"), "names a model twice"),
    ("", "not a readable CSV file")])
def test_a_damaged_list_of_models_is_refused(tmp_path, text, complaint):
    (tmp_path / "models.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        tables.read_models(tmp_path)


def paper_rows(folder, results):
    """Return the comparison with the paper: quantity -> (paper, measured, note)."""
    (folder / "models.csv").write_text(MODELS)
    tidy = tables.paper_table(tables.read_models(folder), tables.read_cells(results)).tidy
    assert tidy["paper_note"].tolist()[3:] == ["830/900", "811/900", "871/900", "69/900 at 0.01", "66/900 at 0.02",
                                               "62/900", "about"]
    return {row.quantity: (row.paper, row.measured, row.measured_note) for row in tidy.itertuples()}


def test_comparison_takes_the_lowest_white_box_accuracy_at_its_smallest_strength(results):
    write_cell(results, "VGG16/paper/fgsm/0.002", VGG16=[0, 1, 0, 0])         # 1 right, as at 0.003
    write_cell(results, "VGG16/budget/fgsm/0.001", VGG16=[1, 1, 0, 0])        # another protocol: none right
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
    paths = tables.write_table(results / "tables", table_two(results))
    assert [path.name for path in paths] == ["table2.csv", "table2.md", "table2.tex"]
    written = pd.read_csv(paths[0])
    pd.testing.assert_frame_equal(written, tables.read_cells(results), check_dtype=False)


def test_success_counts_films_of_other_classes_that_reach_the_target_or_right_ones_that_fall():
    labels, before, after = (pd.Series(column) for column in ([0, 0, 1, 2, 2], [0, 1, 1, 2, 2], [1, 1, 1, 0, 2]))
    # Right before: films 0, 2, 3, 4; of them 0 and 3 fall.
    assert tables.count_success(after, before, labels, "paper") == (2, 4)
    # Of class 0 or 2: films 0, 1, 3, 4; of them 0 and 1 are taken for class 1.
    assert tables.count_success(after, before, labels, "budget-to-Normal") == (2, 4)


def test_a_table_of_targeted_attacks_shows_success_and_marks_the_larger(results):
    # Of the four films, labels 0, 1, 0, 0 are class 0 three times: one film of another class or three can reach a target.
    write_cell(results, "VGG16/paper-to-Normal/fgsm/0.003", VGG16=[1, 1, 0, 0])
    write_cell(results, "VGG16/paper-to-Normal/fgnm/0.003", VGG16=[1, 1, 1, 0])
    cells = tables.read_cells(results)
    part = cells[cells["condition"] == "paper-to-Normal"]
    labels = tables.read_clean(results)["label"]
    table = tables.attack_table(part, tables.clean_accuracy(tables.read_clean(results)), False, 1)
    others = labels != 1
    expected = [100 * ((np.array(seen) == 1) & others).sum() / others.sum() for seen in ([1, 1, 0, 0], [1, 1, 1, 0])]
    assert table.shown.to_numpy()[0].tolist()[:3] == ["0.003", *(f"{value:.2f}" for value in expected)]
    assert table.bold[0, 1:3].tolist() == [False, expected[1] > expected[0]]
    assert table.name == "table2-paper-to-Normal" and "taken for Normal" in table.caption


def test_the_transfer_table_takes_the_largest_strength_that_all_sources_share(results):
    assert tables.transfer_table(tables.read_cells(results)[lambda cells: cells["source"] == "VGG16"]) is None
    for strength in ("0.003", "0.03"):
        write_cell(results, f"VGG16/budget/fgsm/{strength}", VGG16=[0, 0, 0, 0], InceptionV3=[0, 1, 0, 0])
    write_cell(results, "InceptionV3/budget/fgsm/0.003", VGG16=[1, 1, 1, 1], InceptionV3=[2, 2, 2, 2])
    cells = tables.read_cells(results)
    table = tables.transfer_table(cells[cells["condition"] == "budget"])
    labels = tables.read_clean(results)["label"]
    percent = [f"{100 * (np.array(seen) == labels).mean():.2f}" for seen in ([0] * 4, [0, 1, 0, 0], [1] * 4, [2] * 4)]
    assert table.shown.to_numpy().tolist() == [["FGSM", "0.003", "VGG16", percent[0] + "*", percent[1]],
                                               ["FGSM", "0.003", "InceptionV3", percent[2], percent[3] + "*"]]
    assert table.name == "transfer-budget"
