"""Transfer: gradients from every source model, tested on every target model."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.classifiers.catalogue import BACKBONES
from nosign.finished import Run, effect_columns
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import Table, numbers, words
from nosign.output.words import condition_suffix, joined, percent
from nosign.paper import PAPER_CONDITION
from nosign.rows import ordered

HEADING = "Transfer"


def describe(run: Run) -> Finding:
    """Return all sources against all targets, under each condition that was run from two sources or more."""
    tables, drawings, sentences = [], [], []
    for condition, sweeps in run.by_condition():
        counts, aim = at_shared_strength(run.counts[run.counts["condition"] == condition]), sweeps[0].aim
        if counts.empty:
            continue
        tables.append(transfer_table(counts, condition, aim, run.films_are))
        name = "transfer" + condition_suffix(PAPER_CONDITION[0], condition)
        caption = (
            f"All sources against all targets at the largest strength that was run for all sources, condition '{condition}' "
            "(*: white-box)."
        )
        alt = "Heat maps, one per attack, of source models by target models."
        drawings.append(Drawing(name, HEADING, caption, alt, draw_transfer(counts, aim, run.films_are)))
        sentences.append(transfer_sentence(counts, condition, aim))
    return Finding("transfer", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def at_shared_strength(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that make the transfer matrix: each attack at the largest strength that was run from every source.

    Args:
        counts: rows of `Run.counts` of one condition; no rows come back if there is one source only.
    """
    sources = counts["source"].nunique()
    shared = counts.groupby(["attack", "strength"])["source"].nunique()
    shared = shared[(shared == sources) & (sources > 1)].reset_index()
    largest = shared.groupby("attack", as_index=False)["strength"].max()
    matrix = counts.merge(largest, on=["attack", "strength"])
    order = {name: place for place, name in enumerate([*ATTACKS, *ordered(counts["source"], BACKBONES)])}
    return matrix.sort_values(["attack", "source"], key=lambda column: column.map(order), kind="stable")


def transfer_sentence(counts: pd.DataFrame, condition: str, aim: str | None) -> Sentence:
    """Say how far attacks reach on their own source model and on others, on average."""
    value = effect_columns(aim)[0]
    measured = f"films taken for {aim}" if aim else "accuracy"
    told = [
        f"{part.loc[part['white_box'], value].mean():.1f} % white-box and {part.loc[~part['white_box'], value].mean():.1f} % "
        f"on the others under {ATTACKS[attack].title} (at {part['strength'].iloc[0]:g})"
        for attack, part in counts.groupby("attack", sort=False)
    ]
    return Sentence(f"Condition '{condition}', mean {measured} over source models: {joined(told)}.")


def transfer_table(counts: pd.DataFrame, condition: str, aim: str | None, films_are: str) -> Table:
    """Build the table of all sources against all targets under one condition.

    Args:
        counts: rows of `at_shared_strength`.
        aim: class that the attacks aim at, or None.
    """
    grid = counts.pivot(index=["attack", "strength", "source"], columns="target", values=effect_columns(aim)[0])
    targets = ordered(counts["target"], BACKBONES)
    keys = counts[["attack", "strength", "source"]].drop_duplicates()
    rows = [
        [
            *(ATTACKS[attack].title, f"{strength:g}", source),
            *(percent(grid.loc[(attack, strength, source), target]) + "*" * (source == target) for target in targets),
        ]
        for attack, strength, source in keys.itertuples(index=False)
    ]
    columns = (*words("Attack"), *numbers("Strength"), *words("Source"), *numbers(*targets, group="Target"))
    measured = "Success (%)" if aim else "Accuracy (%)"
    caption = (
        f"{measured} on {counts['films'].iloc[0]} {films_are} of each target model under attacks with gradients from each "
        "source model (*: white-box), at the largest strength that was run for all sources, condition "
        f"'{condition}'. Intervals stand in the CSV file."
    )
    return Table("transfer" + condition_suffix(PAPER_CONDITION[0], condition), HEADING, caption, counts, columns, rows)


@matplotlib.rc_context(STYLE)
def draw_transfer(counts: pd.DataFrame, aim: str | None, films_are: str) -> Figure:
    """Draw the transfer matrix: a panel an attack, a row a source model, a column a target model.

    Args:
        counts: rows of `at_shared_strength`.
        aim: class that the attacks aim at, or None.
    """
    attacks = ordered(counts["attack"], ATTACKS)
    sources, targets = ordered(counts["source"], BACKBONES), ordered(counts["target"], BACKBONES)
    value = effect_columns(aim)[0]
    columns = min(2, len(attacks))
    rows = -(-len(attacks) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + rows * (0.55 + 0.36 * len(sources))), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, attacks):
        part = counts[counts["attack"] == name]
        grid = part.pivot(index="source", columns="target", values=value).loc[sources, targets].to_numpy()
        image = axes.imshow(grid, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for (row, column), share in np.ndenumerate(grid):
            star = "*" if sources[row] == targets[column] else ""
            axes.text(
                column,
                row,
                f"{share:.1f}{star}",
                ha="center",
                va="center",
                fontsize=SMALL_POINTS + 1,
                color="black" if share > 55 else "white",
            )
        axes.set_title(f"{ATTACKS[name].title}, strength {part['strength'].iloc[0]:g}")
        axes.set_xticks(range(len(targets)), targets)
        axes.set_yticks(range(len(sources)), sources)
        axes.tick_params(length=0)
    for axes in panels[len(attacks) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=list(panels), aspect=30, pad=0.02)
    bar.set_label(f"taken for {aim} (%)" if aim else "accuracy (%)")
    figure.supxlabel(f"target model (*: white-box); {counts['films'].iloc[0]} {films_are}", fontsize=SMALL_POINTS)
    figure.supylabel("source of the gradients", fontsize=SMALL_POINTS)
    return figure
