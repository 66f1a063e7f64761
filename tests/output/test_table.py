"""Tables as Markdown, LaTeX and CSV."""

import numpy as np
import pandas as pd

from nosign.output import table
from nosign.output.table import Column, Table


def some_table():
    """Return a table of two rows under two groups of columns: one entry of each group bold, one missing."""
    rows = [["0.001", "50.00", "25.00", "50.00", "75.00"], ["0.003", "25.00", "25.00", "0.00", "—"]]
    columns = [Column(attack, target) for target in ("VGG16*", "InceptionV3") for attack in ("FGSM", "FGNM")]
    bold = np.array([[False, False, True, True, False], [False] * 5])
    frame = pd.DataFrame({"strength": [0.001, 0.003], "percent": [100 / 3, 25.0]})
    return Table("table2", "Table II", "Accuracy (%) on 4 films.", frame, (Column("Strength"), *columns), rows, bold)


def test_markdown_and_latex_carry_bold_dash_and_star():
    made = some_table()
    markdown, latex = table.to_markdown(made), table.to_latex(made)
    lines = markdown.splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "Strength",
        "VGG16* FGSM",
        "VGG16* FGNM",
        "InceptionV3 FGSM",
        "InceptionV3 FGNM",
    ]
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["0.001", "50.00", "**25.00**", "**50.00**", "75.00"]
    assert r"0.001 & 50.00 & \textbf{25.00} & \textbf{50.00} & 75.00 \\" in latex
    assert r"0.003 & 25.00 & 25.00 & 0.00 & --- \\" in latex
    assert r" & \multicolumn{2}{c}{VGG16*} & \multicolumn{2}{c}{InceptionV3} \\" in latex
    assert lines[0] == "**Table II.** Accuracy (%) on 4 films."


def test_latex_is_balanced_and_free_of_bare_specials():
    latex = table.to_latex(some_table())
    assert latex.count("{") == latex.count("}") and r"Accuracy (\%) on" in latex
    assert "%" not in latex.replace(r"\%", "") and "—" not in latex
    assert latex.index("\n\\footnotesize\n") < latex.index(r"\begin{tabular}")
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert table.escape_latex("50 % of a_b & c {x} ~ ^ \\ $1 #2") == (
        r"50 \% of a\_b \& c \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$1 \#2"
    )


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


def test_written_files_hold_the_rows_for_programs_with_ten_digits():
    texts = table.table_files(some_table())
    assert list(texts) == ["table2.csv", "table2.md", "table2.tex"]
    assert texts["table2.csv"].splitlines() == ["strength,percent", "0.001,33.33333333", "0.003,25"]


def test_words_stand_to_the_left_and_numbers_to_the_right():
    columns = (*table.words("Attack"), *table.numbers("Films", group="Of all"))
    made = Table("any", "Any", "Caption.", pd.DataFrame(), columns, [["FGSM", "4"]])
    assert table.to_markdown(made).splitlines()[3].startswith("|:--") and table.to_markdown(made).splitlines()[3].endswith(
        "--:|"
    )
    assert r"\begin{tabular}{lr}" in table.to_latex(made)


def test_the_last_column_is_bold_where_it_is_asked():
    assert table.bold_last([["a", "b"], ["c", "d"]], [True, False]).tolist() == [[False, True], [False, False]]
    assert not some_table().marks[1].any() and Table("n", "N", "C.", pd.DataFrame(), (), []).marks.shape == (0, 0)
