"""The classifiers: Table I, and the accuracy on the films that were attacked."""

from __future__ import annotations

import pandas as pd

from nosign.finished import Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, counted, interval, intervals_over, joined
from nosign.paper import PAPER_MODELS, PAPER_TEST_FILMS
from nosign.rows import MODEL_COLUMNS

HEADING = "The classifiers"


def describe(run: Run) -> Finding:
    """Return Table I, the accuracy on the attacked films, and that accuracy in a sentence."""
    if run.classifiers is None or run.clean is None:
        return Finding("classifiers", HEADING)
    told = [f"{row.target} {row.correct} ({row.accuracy_percent:.1f} %)" for row in run.accuracy.itertuples()]
    sentence = Sentence(f"Of {len(run.clean)} {run.films_are}, before any attack, so many are right: {joined(told)}.")
    return Finding("classifiers", HEADING, (table_one(run.classifiers), clean_table(run)), (), (sentence,))


def table_one(classifiers: pd.DataFrame) -> Table:
    """Build Table I: the classifiers' size and clean accuracy, beside what the paper states."""
    paper = [PAPER_MODELS.get(name) for name in classifiers["model"]]
    frame = classifiers[list(MODEL_COLUMNS)].assign(
        accuracy_percent=100 * classifiers["correct"] / classifiers["films"],
        paper_parameters=pd.array([stated and stated[0] for stated in paper], dtype="Int64"),
        paper_correct=pd.array([stated and stated[1] for stated in paper], dtype="Int64"),
        paper_films=PAPER_TEST_FILMS,
    )
    rows = [
        [
            row.model,
            f"{row.parameters:,}",
            counted(row.correct, row.films),
            *(MISSING if pd.isna(top) else f"{top:.1f}" for top in (row.imagenet_top1, row.imagenet_top5)),
            f"{stated[0]:,}" if stated else MISSING,
            counted(stated[1], PAPER_TEST_FILMS) if stated else MISSING,
        ]
        for row, stated in zip(frame.itertuples(), paper)
    ]
    columns = (
        *words("Model"),
        *numbers("Parameters", "Clean accuracy (%)", group="Measured"),
        *numbers("Top-1", "Top-5", group="ImageNet (%)"),
        *numbers("Parameters", "Clean accuracy (%)", group="Paper"),
    )
    caption = (
        "The classifiers: parameters of backbone and adaptation head together, accuracy on the clean test films "
        "with counts, and the backbones' published ImageNet accuracy."
    )
    return Table("table1", "Table I", caption, frame, columns, rows)


def clean_table(run: Run) -> Table:
    """Build the table of accuracies on the films that were attacked, before the attacks."""
    rows = [
        [row.target, counted(row.correct, row.films), interval(row.ci_low_percent, row.ci_high_percent)]
        for row in run.accuracy.itertuples()
    ]
    intervals = intervals_over(run.patients.draws) if run.patients else ""
    caption = f"Accuracy on the {run.films_are} that were attacked, before the attacks, with counts and {intervals}."
    columns = (*words("Model"), *numbers("Accuracy (%)", "95 % interval"))
    return Table("clean", "Before the attacks", caption, run.accuracy, columns, rows)
