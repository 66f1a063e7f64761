"""Each number that the paper states, beside the same quantity measured here."""

from __future__ import annotations

import math

import pandas as pd

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import ACCURACY, Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import Table, numbers, words
from nosign.output.words import plural, quantity
from nosign.paper import PAPER_BEST, PAPER_CONDITION, PAPER_GAP, PAPER_MODELS, PAPER_TEST_FILMS

HEADING = "Comparison with the paper"


def describe(run: Run) -> Finding:
    """Return the table that lists each number which the paper states beside the same quantity measured here."""
    if run.classifiers is None:
        return Finding("comparison_with_paper", HEADING)
    table = paper_table(run.classifiers, run.counts)
    gap = table.frame.iloc[-1]
    sentences: tuple[Sentence, ...] = ()
    if not math.isnan(gap["measured"]):
        here = f"{gap['measured']:.1f} here ({gap['measured_note']})"
        text = f"{gap['quantity']}: about {gap['paper']:g} points in the paper, {here}."
        sentences = (Sentence(text),)
    return Finding("comparison_with_paper", HEADING, (table,), (), sentences)


def white_box_cells(cells, attack, source=PAPER_CONDITION[0], condition=PAPER_CONDITION[1]):
    """Return one attack's white-box rows of a condition, the paper's by default, ascending in strength."""
    wanted = (cells["source"] == source) & (cells["condition"] == condition) & (cells["attack"] == attack)
    return cells[wanted & cells["white_box"]].sort_values("strength")


def best_comparison(cells, attack, paper_percent, paper_strength):
    """Return the row that sets the paper's lowest white-box accuracy of an attack beside the measured one."""
    found = white_box_cells(cells, attack)
    paper_note = f"{round(paper_percent / 100 * PAPER_TEST_FILMS)}/{PAPER_TEST_FILMS}"
    if paper_strength is not None:
        paper_note += f" at {paper_strength:g}"
    row = {
        "quantity": f"{ATTACKS[attack].title}, lowest white-box accuracy",
        "unit": "%",
        "paper": paper_percent,
        "paper_note": paper_note,
    }
    if found.empty:
        return {**row, "measured": math.nan, "measured_note": "not run"}
    best = found.loc[found["correct"].idxmin()]
    note = f"{best['correct']}/{best['films']} at {best['strength']:g} (of {len(found)} run)"
    return {**row, "measured": best["accuracy_percent"], "measured_note": note, **best[list(ACCURACY)]}


def gap_comparison(cells):
    """Return the row that sets the paper's gap between FGSM and FGNM beside the mean of the measured gaps."""
    sign, no_sign, points, low, high = PAPER_GAP
    accuracy = [white_box_cells(cells, attack).set_index("strength")["accuracy_percent"] for attack in (sign, no_sign)]
    gaps = (accuracy[0] - accuracy[1]).dropna()
    inside = gaps[(gaps.index > low) & (gaps.index < high)]
    return {
        "quantity": f"{ATTACKS[no_sign].title} below {ATTACKS[sign].title} within ({low}, {high})",
        "unit": "points",
        "paper": points,
        "paper_note": "about",
        "measured": inside.mean(),
        "measured_note": f"mean of {plural(len(inside), 'strength')}" if len(inside) else "not run",
    }


def model_comparisons(models):
    """Return the rows that set the paper's parameter counts and clean accuracies beside the measured ones."""
    measured = {row.model: row for row in models.itertuples()}
    parameters, accuracies = [], []
    for name, (stated_parameters, stated_correct) in PAPER_MODELS.items():
        own = measured.get(name)
        parameters.append(
            {
                "quantity": f"{name} parameters",
                "unit": "",
                "paper": stated_parameters,
                "paper_note": "",
                "measured": own.parameters if own else math.nan,
                "measured_note": "" if own else "not trained",
            }
        )
        accuracies.append(
            {
                "quantity": f"{name} clean accuracy",
                "unit": "%",
                "paper": 100 * stated_correct / PAPER_TEST_FILMS,
                "paper_note": f"{stated_correct}/{PAPER_TEST_FILMS}",
                "measured": 100 * own.correct / own.films if own else math.nan,
                "measured_note": f"{own.correct}/{own.films}" if own else "not trained",
            }
        )
    return parameters + accuracies


def paper_table(models: pd.DataFrame, counts: pd.DataFrame) -> Table:
    """Build the table that lists each number which the paper states beside the same quantity measured here.

    Args:
        models: `Run.classifiers`.
        counts: `Run.counts`; only the paper's own condition is compared.
    """
    frame = [*model_comparisons(models), *(best_comparison(counts, *best) for best in PAPER_BEST), gap_comparison(counts)]
    rows = [
        [
            *(row["quantity"], quantity(row["paper"], row["unit"]), row["paper_note"]),
            *(quantity(row["measured"], row["unit"]), row["measured_note"]),
        ]
        for row in frame
    ]
    columns = (
        *words("Quantity"),
        *numbers("Value", group="Paper"),
        *words("Note", group="Paper"),
        *numbers("Value", group="Measured"),
        *words("Note", group="Measured"),
    )
    caption = (
        f"The numbers that the paper states, beside the same quantities measured here (gradients from "
        f"{PAPER_CONDITION[0]}, condition '{PAPER_CONDITION[1]}')."
    )
    return Table("paper", HEADING, caption, pd.DataFrame(frame), columns, rows)
