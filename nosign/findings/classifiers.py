"""The classifiers: Table I, and the accuracy on the films that were attacked."""

import pandas as pd

from nosign.classifiers.catalogue import BACKBONES
from nosign.findings.accuracy import with_share
from nosign.output.table import plain_table
from nosign.output.words import MISSING, counted, interval
from nosign.paper import PAPER_TEST_FILMS


def clean_accuracy(clean):
    """Count each model's right predictions on the clean films.

    Returns:
        Frame with columns target, correct, films, accuracy_percent and its Wilson 95 % interval, ci_low_percent and
        ci_high_percent.
    """
    rows = [
        {"target": model, "correct": int((clean[model] == clean["label"]).sum()), "films": len(clean)}
        for model in clean.columns.drop(["film", "label"])
    ]
    return with_share(pd.DataFrame(rows), "correct", "films", "accuracy_percent")


def models_table(models):
    """Build Table I: the classifiers' size and clean accuracy, beside what the paper states."""
    paper = [BACKBONES.get(name) for name in models["model"]]
    tidy = with_share(models, "correct", "films", "accuracy_percent").assign(
        paper_parameters=pd.array([backbone and backbone.paper_parameters for backbone in paper], dtype="Int64"),
        paper_correct=pd.array([backbone and backbone.paper_correct for backbone in paper], dtype="Int64"),
        paper_films=PAPER_TEST_FILMS,
    )
    shown = [
        (
            row.model,
            f"{row.parameters:,}",
            counted(row.correct, row.films),
            interval(row.ci_low_percent, row.ci_high_percent),
            *(MISSING if pd.isna(top) else f"{top:.1f}" for top in (row.imagenet_top1, row.imagenet_top5)),
            f"{backbone.paper_parameters:,}" if backbone else MISSING,
            counted(backbone.paper_correct, PAPER_TEST_FILMS) if backbone else MISSING,
        )
        for row, backbone in zip(tidy.itertuples(), paper)
    ]
    columns = [
        ("", "Model"),
        ("Measured", "Parameters"),
        ("Measured", "Clean accuracy (%)"),
        ("Measured", "95 % interval"),
        ("ImageNet (%)", "Top-1"),
        ("ImageNet (%)", "Top-5"),
        ("Paper", "Parameters"),
        ("Paper", "Clean accuracy (%)"),
    ]
    caption = (
        "The classifiers: parameters of backbone and adaptation head together, accuracy on the clean test films "
        "with counts and Wilson intervals, and the backbones' published ImageNet accuracy."
    )
    return plain_table("table1", "Table I", caption, tidy, shown, columns)


def clean_table(clean, films_are="test films"):
    """Build the table of clean accuracies on the films that were attacked.

    Args:
        clean: what `clean_accuracy` returned.
        films_are: what `nosign.rows.recorded_films` returned.
    """
    shown = [
        (row.target, counted(row.correct, row.films), interval(row.ci_low_percent, row.ci_high_percent))
        for row in clean.itertuples()
    ]
    caption = f"Accuracy on the {films_are} that were attacked, before the attacks, with counts and Wilson 95 % intervals."
    return plain_table(
        "clean", "Before the attacks", caption, clean, shown, [("", "Model"), ("", "Accuracy (%)"), ("", "95 % interval")]
    )
