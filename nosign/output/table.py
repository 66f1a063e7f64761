"""Tables in their two forms, rows for programs and a grid for readers, written as CSV, Markdown and LaTeX."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from nosign.files import write_csv, write_text
from nosign.output.words import MISSING

LATEX_SPECIALS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        MISSING: "---",
        "\N{EN DASH}": "--",
        "\N{MINUS SIGN}": "$-$",
        "\N{PLUS-MINUS SIGN}": r"$\pm$",
        "<": "$<$",
        ">": "$>$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
LATEX_ROWS = 40  # of a float in \footnotesize; a longer one would not fit on a page with its caption


@dataclass(frozen=True)
class Table:
    """A table in its two forms: tidy rows for programs, a laid-out grid for readers.

    Attributes:
        name: file name without ending.
        title: as in "Table II".
        caption: plain text, sentences.
        tidy: pandas frame, one row an observation, numbers at full precision.
        shown: pandas frame of str; a column's name is (group, heading), group "" for none.
        bold: bool [rows, columns], which entries of `shown` are set in bold.
    """

    name: str
    title: str
    caption: str
    tidy: pd.DataFrame
    shown: pd.DataFrame
    bold: np.ndarray


def plain_table(name, title, caption, tidy, shown, columns):
    """Return a `Table` without bold; `shown` is a list of rows of str, `columns` a list of (group, heading)."""
    shown = pd.DataFrame(shown, columns=pd.MultiIndex.from_tuples(columns))
    return Table(name, title, caption, tidy, shown, np.zeros(shown.shape, dtype=bool))


def to_markdown(table):
    """Return a table as GitHub-flavoured Markdown, its title and caption above it."""
    headings = [" ".join(filter(None, column)) for column in table.shown.columns]
    rows = [
        [f"**{text}**" if marked else text for text, marked in zip(texts, marks)]
        for texts, marks in zip(table.shown.to_numpy(), table.bold)
    ]
    grid = tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=alignments(table))
    return f"**{table.title}.** {table.caption}\n\n{grid}\n"


def alignments(table):
    """Return "left" or "right" for each column: numbers to the right, names and notes to the left."""
    words = ("Model", "Quantity", "Note", "Attack", "Source", "Pair", "Measure", "Criterion", "Target", "True class", "Verdict")
    return ["left" if heading in words else "right" for _, heading in table.shown.columns]


def escape_latex(text):
    """Return plain text with LaTeX's special characters escaped."""
    return text.translate(LATEX_SPECIALS)


def to_latex(table):
    """Return a table as LaTeX floats over both columns of a page, each of `LATEX_ROWS` rows at most.

    It needs the package booktabs.
    """
    shown = table.shown.map(escape_latex)
    shown.columns = pd.MultiIndex.from_tuples([tuple(map(escape_latex, column)) for column in shown.columns])
    parts = np.array_split(np.arange(len(shown)), max(1, -(-len(shown) // LATEX_ROWS)))
    floats = []
    for number, rows in enumerate(parts, start=1):
        marks = np.where(table.bold[rows], "textbf:--rwrap;", "")
        style = shown.iloc[rows].style.hide(axis="index").apply(lambda _: marks, axis=None)
        style.set_table_styles([{"selector": "footnotesize", "props": ":;"}])  # Table III is too wide at 10 pt
        part = f" Part {number} of {len(parts)}." if len(parts) > 1 else ""
        floats.append(
            style.to_latex(
                environment="table*",
                position="t",
                position_float="centering",
                hrules=True,
                multicol_align="c",
                column_format="".join(side[0] for side in alignments(table)),
                caption=escape_latex(table.caption + part),
                label=f"tab:{table.name}" + (f"-{number}" if number > 1 else ""),
            )
        )
    return "\n".join(floats)


def write_table(folder, table):
    """Write a table as CSV, Markdown and LaTeX.

    Returns:
        The three paths.
    """
    paths = [Path(folder) / f"{table.name}.{ending}" for ending in ("csv", "md", "tex")]
    write_csv(paths[0], table.tidy, float_format="%.10g")
    write_text(paths[1], to_markdown(table))
    write_text(paths[2], to_latex(table))
    return paths


def write_summary(folder, sentences, counts):
    """Write the generated sentences as `summary.md`, and the counts behind those of the tests as `summary.csv`.

    Args:
        folder: `tables/`.
        sentences: list of (heading, list of str).
        counts: what `statistics.summarise` returned; None if there are no tests behind the sentences.

    Returns:
        The paths.
    """
    paths = [Path(folder) / "summary.md"]
    groups = [f"## {heading}\n\n" + "".join(f"- {line}\n" for line in lines) for heading, lines in sentences]
    write_text(paths[0], "\n".join(groups))
    if counts is not None:
        paths.append(Path(folder) / "summary.csv")
        write_csv(paths[1], counts)
    return paths
