"""Coloured against grey perturbations: what attacks lose where they must change all channels alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import FinishedSweep, Run, judged
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import CLEAN_LINE, GREY, SMALL_POINTS, STYLE, WIDTH, add_legend, attack_style, finish_panel
from nosign.output.table import Table, numbers, words
from nosign.output.words import joined, percent, plural, signed, starred, tested
from nosign.rows import ordered
from nosign.statistics.intervals import ALPHA
from nosign.statistics.paired import compare_hits

HEADING = "Grey perturbations"


def describe(run: Run) -> Finding:
    """Return coloured against grey perturbations for each pair of sweeps that differ in nothing else."""
    tables, drawings, sentences = [], [], []
    for coloured, grey in grey_twins(run.sweeps):
        compared = compare_grey(coloured, grey)
        if compared.empty:
            continue
        tables.append(grey_table(coloured, compared))
        caption = f"{coloured.effect.capitalize()} under grey against that under coloured perturbations; {coloured.described}."
        alt = "One panel per target model, one marker per cell beside the diagonal."
        drawings.append(Drawing("grey" + coloured.suffix, HEADING, caption, alt, draw_grey(coloured, compared), coloured.name))
        sentences += grey_sentences(coloured, compared)
    return Finding("grey", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def grey_twins(sweeps: tuple[FinishedSweep, ...]) -> Iterator[tuple[FinishedSweep, FinishedSweep]]:
    """Yield (coloured, grey) sweeps that differ in nothing else."""
    by_name = {(sweep.source, sweep.condition): sweep for sweep in sweeps}
    for sweep in sweeps:
        grey = by_name.get((sweep.source, replace(sweep.condition, grey=True)))
        if not sweep.condition.grey and grey is not None:
            yield sweep, grey


def compare_grey(coloured: FinishedSweep, grey: FinishedSweep) -> pd.DataFrame:
    """Compare two sweeps cell by cell.

    Returns:
        Frame, one row per cell that both have and target:
            source, condition (the coloured one), attack, strength, target, films
            correct_coloured, correct_grey                       films right, in per cent too, with intervals; with
            (reached_..., attackable)                            an aim films taken for it
            only_coloured, only_grey, difference_points, ...     grey minus coloured; see `compare_hits`
            holm_p, comparisons, least_points                    see `judged`; the frame is one family
            told_apart
    """
    rows = []
    for (attack, strength), cell in ((cell, films) for cell, films in coloured.cells.items() if cell[1] > 0):
        other = grey.cells.get((attack, strength), ())
        for target in (target for target in coloured.targets if target in cell and target in other):
            hits, grey_hits = coloured.hits(cell[target]), grey.hits(other[target])
            rows.append(
                {
                    **coloured.keys,
                    "attack": attack,
                    "strength": strength,
                    "target": target,
                    "films": len(cell),
                    **coloured.effect_of(cell[target], "_coloured"),
                    **coloured.effect_of(other[target], "_grey"),
                    **compare_hits(coloured.patients, hits, grey_hits, ("coloured", "grey"), coloured.attackable),
                }
            )
    if not rows:
        return pd.DataFrame()
    compared = pd.DataFrame(rows)
    compared = judged(compared, compared["difference_points"]).drop(columns="verdict")
    return compared.assign(told_apart=compared["holm_p"] < ALPHA)


def grey_table(sweep: FinishedSweep, compared: pd.DataFrame) -> Table:
    """Build the table of coloured against grey perturbations."""
    targets = ordered(compared["target"], sweep.targets)
    rows, bold = [], []
    for (attack, strength), part in compared.groupby(["attack", "strength"], sort=False):
        by_target = part.set_index("target").reindex(targets)
        texts = [
            text
            for row in by_target.to_dict("records")
            for text in (
                *(percent(row[f"{sweep.effect}_percent_{way}"]) for way in ("coloured", "grey")),
                signed(row["difference_points"]),
            )
        ]
        rows.append([ATTACKS[attack].title, f"{strength:g}", *texts])
        bold.append([False, False, *(mark for apart in by_target["told_apart"].eq(True) for mark in (False, False, apart))])
    by_target = [
        column
        for target in targets
        for column in numbers("coloured", "grey", "difference", group=starred(target, sweep.source))
    ]
    caption = (
        f"{sweep.effect.title()} (%) under coloured perturbations and under grey ones, equal in all channels, and the "
        f"difference in points; {sweep.described} (*: white-box). Bold: told apart, {tested(compared['comparisons'].iloc[0])}. "
        "Counts and intervals stand in the CSV file."
    )
    columns = (*words("Attack"), *numbers("Strength"), *by_target)
    return Table("grey" + sweep.suffix, HEADING, caption, compared, columns, rows, np.array(bold), sweep.name)


@matplotlib.rc_context(STYLE)
def draw_grey(sweep: FinishedSweep, compared: pd.DataFrame) -> Figure:
    """Draw the accuracy under grey against that under coloured perturbations, one panel per target, one marker per cell."""
    targets = ordered(compared["target"], sweep.targets)
    figure = Figure(figsize=(WIDTH, 0.9 + 6.6 / max(3, len(targets))), layout="constrained")
    for axes, target in zip(figure.subplots(1, len(targets), sharex=True, sharey=True, squeeze=False)[0], targets):
        for name in ordered(compared["attack"], ATTACKS):
            part = compared[(compared["attack"] == name) & (compared["target"] == target)]
            axes.plot(
                part[f"{sweep.effect}_percent_coloured"],
                part[f"{sweep.effect}_percent_grey"],
                clip_on=False,
                **{**attack_style(name), "linestyle": "none"},
            )
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=CLEAN_LINE, zorder=1)
        axes.set(
            title=starred(target, sweep.source),
            xlabel=f"{sweep.effect} (%), coloured",
            aspect="equal",
            xlim=(0, 100),
            ylim=(0, 100),
            xticks=range(0, 101, 25),
            yticks=range(0, 101, 25),
        )
        finish_panel(axes)
    figure.get_axes()[0].set_ylabel(f"{sweep.effect} (%), grey")
    add_legend(figure, compared["attack"], lines=False)
    figure.supxlabel(sweep.described, fontsize=SMALL_POINTS)
    return figure


def grey_sentences(sweep: FinishedSweep, compared: pd.DataFrame) -> list[Sentence]:
    """Return the sentence on how much a grey perturbation costs each attack against the white-box model."""
    own = compared[compared["target"] == sweep.source]
    if own.empty:
        return []
    told = [
        f"{signed(part['difference_points'].mean(), 1)} under {ATTACKS[name].title}"
        for name, part in own.groupby("attack", sort=False)
    ]
    # A weaker attack leaves more films right, and takes fewer to a target.
    weaker = own["told_apart"] & (own["difference_points"] * (-1 if sweep.aim else 1) > 0)
    stronger = own["told_apart"] & ~weaker
    text = (
        f"{sweep.heading}: where the perturbation is grey, the {sweep.effect} changes by so many "
        f"points, on average over the strengths that were run: {joined(told)}; of {plural(len(own), 'cell')} grey "
        f"is weaker at {weaker.sum()}, stronger at {stronger.sum()}, and at {len(own) - own['told_apart'].sum()} the two "
        f"cannot be told apart ({tested(compared['comparisons'].iloc[0])})."
    )
    return [Sentence(text, sweep.name)]
