"""Tables in their two forms, rows for programs and a grid for readers, written as CSV, Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tabulate import tabulate

from nosign.files import csv_text
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


class SweepName(NamedTuple):
    """Which sweep something is about: the source model whose gradients were followed, and the condition's folder name."""

    source: str
    condition: str


class Column(NamedTuple):
    """A column of a table's grid.

    Attributes:
        heading: over the column.
        group: heading over several neighbouring columns, "" for none.
        align: "left" for words, "right" for numbers.
    """

    heading: str
    group: str = ""
    align: str = "right"


def words(*headings: str, group: str = "") -> tuple[Column, ...]:
    """Return columns of words, aligned to the left."""
    return tuple(Column(heading, group, "left") for heading in headings)


def numbers(*headings: str, group: str = "") -> tuple[Column, ...]:
    """Return columns of numbers, aligned to the right."""
    return tuple(Column(heading, group) for heading in headings)


@dataclass(frozen=True)
class Table:
    """A table in its two forms: tidy rows for programs, a laid-out grid for readers.

    Attributes:
        name: file name without ending.
        title: as in "Table II".
        caption: plain text, sentences.
        frame: pandas frame, one row per observation, numbers at full precision.
        columns: `Column` of each column of the grid.
        rows: the grid, a list of rows of str.
        bold: bool [rows, columns], which entries of the grid are set in bold; None for none.
        sweep: what it is about; None where it is about no single sweep.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    rows: list[list[str]]
    bold: np.ndarray | None = None
    sweep: SweepName | None = None

    @property
    def marks(self) -> np.ndarray:
        """Which entries are set in bold, bool [rows, columns]."""
        return np.zeros((len(self.rows), len(self.columns)), bool) if self.bold is None else self.bold


def bold_last(rows: list[list[str]], which: ArrayLike) -> np.ndarray:
    """Return `Table.bold` with the last column of some rows set in bold."""
    bold = np.zeros((len(rows), len(rows[0])), bool)
    bold[:, -1] = which
    return bold


def to_markdown(table: Table) -> str:
    """Return a table as GitHub-flavoured Markdown, its title and caption above it."""
    headings = [" ".join(filter(None, (column.group, column.heading))) for column in table.columns]
    rows = [
        [f"**{text}**" if marked else text for text, marked in zip(texts, marks)]
        for texts, marks in zip(table.rows, table.marks)
    ]
    aligned = [column.align for column in table.columns]
    grid = tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=aligned)
    return f"**{table.title}.** {table.caption}\n\n{grid}\n"


def escape_latex(text: str) -> str:
    """Return plain text with LaTeX's special characters escaped."""
    return text.translate(LATEX_SPECIALS)


def to_latex(table: Table) -> str:
    """Return a table as LaTeX floats over both columns of a page, each of `LATEX_ROWS` rows at most.

    It needs the package booktabs.
    """
    headings = [(escape_latex(column.group), escape_latex(column.heading)) for column in table.columns]
    texts = [[escape_latex(text) for text in row] for row in table.rows]
    grid = pd.DataFrame(texts, columns=pd.MultiIndex.from_tuples(headings))
    parts = np.array_split(np.arange(len(grid)), max(1, -(-len(grid) // LATEX_ROWS)))
    floats = []
    for number, rows in enumerate(parts, start=1):
        marks = np.where(table.marks[rows], "textbf:--rwrap;", "")
        style = grid.iloc[rows].style.hide(axis="index").apply(lambda _, marks=marks: marks, axis=None)
        style.set_table_styles([{"selector": "footnotesize", "props": ":;"}])  # Table III is too wide at 10 pt
        part = f" Part {number} of {len(parts)}." if len(parts) > 1 else ""
        floats.append(
            style.to_latex(
                environment="table*",
                position="t",
                position_float="centering",
                hrules=True,
                multicol_align="c",
                column_format="".join(column.align[0] for column in table.columns),
                caption=escape_latex(table.caption + part),
                label=f"tab:{table.name}" + (f"-{number}" if number > 1 else ""),
            )
        )
    return "\n".join(floats)


def table_files(table: Table) -> dict[str, str]:
    """Return a table as CSV, Markdown and LaTeX: dict from a file's name to its text."""
    texts = {"csv": csv_text(table.frame, float_format="%.10g"), "md": to_markdown(table), "tex": to_latex(table)}
    return {f"{table.name}.{ending}": text for ending, text in texts.items()}
