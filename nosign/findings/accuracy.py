"""Accuracy under attack: Tables II and III, and Figure 4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, CONTROLS, attack_groups
from nosign.classifiers.catalogue import BACKBONES
from nosign.finished import FinishedSweep, Run, effect_before, effect_columns, kind
from nosign.output import table
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import Lines, draw_lines
from nosign.output.table import Table
from nosign.output.words import condition_note, joined, percent, starred
from nosign.rows import ordered
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import ALPHA, censored_median

HEADING = "Accuracy under attack"


def describe(run: Run) -> Finding:
    """Return Tables II and III, Figure 4 and the lowest accuracies, of each sweep."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        counts, comparisons = run.of(run.counts, sweep), run.of(run.comparisons, sweep)
        made = [attack_table(sweep, counts, comparisons, iterative) for iterative in (False, True)]
        tables += [one for one in made if one is not None]
        drawings += figure4(sweep, counts)
        sentences += lowest(sweep, counts)
    return Finding("accuracy", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def attack_table(sweep: FinishedSweep, counts: pd.DataFrame, comparisons: pd.DataFrame, iterative: bool) -> Table | None:
    """Build Table II (single-step attacks, beside them the controls) or III (iterative ones) of a sweep.

    Args:
        counts, comparisons: the sweep's rows of `Run.counts` and `Run.comparisons`.
        iterative: which of the two tables.

    Returns:
        The table, or None if none of its attacks has a finished cell.
    """
    groups = [group for group in attack_groups(iterative) if counts["attack"].isin(group).any()]
    if groups and not iterative:
        groups += [(control,) for control in CONTROLS if (counts["attack"] == control).any()]
    frame = counts[counts["attack"].isin([attack for group in groups for attack in group])]
    if frame.empty:
        return None
    grid, before = accuracy_grid(frame, groups, effect_columns(sweep.aim)[0]), effect_before(sweep, frame)
    rows = [["0 (clean)", *(percent(before[target]) for target, _ in grid.columns)]]
    rows += [[f"{strength:g}", *map(percent, values)] for strength, values in zip(grid.index, grid.to_numpy())]
    columns = [table.Column(ATTACKS[attack].title, starred(target, sweep.source)) for target, attack in grid.columns]
    tested = comparisons[comparisons["sign_attack"].isin([group[0] for group in groups])]
    bold = np.zeros((len(rows), 1 + len(columns)), bool)
    bold[1:, 1:] = better_of_pair(grid, tested)
    name, title = ("table3", "Table III") if iterative else ("table2", "Table II")
    caption = attack_caption(sweep, frame, groups, tested)
    return Table(name + sweep.suffix, title, caption, frame, (table.Column("Strength"), *columns), rows, bold, sweep.name)


def accuracy_grid(counts: pd.DataFrame, groups: Sequence[tuple[str, ...]], value: str) -> pd.DataFrame:
    """Lay a sweep's counts out as in the paper.

    Args:
        counts: rows of `Run.counts` of one sweep.
        groups: of attacks, one beside the other, that make the columns; see `nosign.attacks.catalogue.attack_groups`.
        value: name of the column to lay out.

    Returns:
        Frame with one row per strength and columns (target, attack), NaN for cells that are not there.
    """
    grid = counts.pivot(index="strength", columns=["target", "attack"], values=value)
    targets = ordered(counts["target"], BACKBONES)
    return grid.reindex(columns=[(target, attack) for target in targets for group in groups for attack in group])


def better_of_pair(grid: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Mark the attack of each sign/no-sign pair that the tests find better.

    Args:
        grid: frame of `accuracy_grid`.
        comparisons: rows of `Run.comparisons` of the same sweep.

    Returns:
        Bool frame like `grid`; nothing is marked where the two cannot be told apart or one of them is missing.
    """
    marks = pd.DataFrame(False, index=grid.index, columns=grid.columns)
    for row in comparisons.itertuples():
        better = {VERDICTS[1]: row.no_sign_attack, VERDICTS[-1]: row.sign_attack}.get(row.verdict)
        if (row.target, better) in marks.columns:
            marks.loc[row.strength, (row.target, better)] = True
    return marks


def attack_caption(
    sweep: FinishedSweep, frame: pd.DataFrame, groups: Sequence[tuple[str, ...]], comparisons: pd.DataFrame
) -> str:
    """Return the caption of Table II or III: attacks, films, steps T, condition, intervals, what star and bold mean."""
    versus = " and ".join(" against ".join(ATTACKS[attack].title for attack in group) for group in groups)
    iterative = ATTACKS[groups[0][0]].iterative
    steps = ("unknown" if sweep.steps is None else sweep.steps) if iterative else 1
    measured, better = "Accuracy (%)", "leaves fewer films right"
    if sweep.aim:
        measured = f"Success (% of the films of other classes that are taken for {sweep.aim})"
        better = "succeeds more often"
    low, high = effect_columns(sweep.aim)[1]
    widest = (frame[high] - frame[low]).max() / 2
    families = " and ".join(
        f"{size} of {question} attacks" if question != "transfer" else f"{size} of transfer"
        for question, size in comparisons.groupby("question", sort=False)["comparisons"].first().items()
    )
    bold = (
        f"Bold: the attack of a sign/no-sign pair that {better}, told apart by the exact sign-change test by patient (p below "
        f"{ALPHA:g} after Holm's correction over the tests that could reject: {families})."
        if len(comparisons)
        else "No sign/no-sign pair is complete, so none is tested."
    )
    return (
        f"{measured} on {len(sweep.clean)} {sweep.films_are} under {versus}. Gradients from {sweep.source} (*: white-box; the "
        f"others: black-box), T = {steps}, condition '{sweep.condition}': {condition_note(sweep.condition)}. {bold} The "
        f"widest 95 % interval over draws of patients is \N{PLUS-MINUS SIGN}{widest:.1f} points; all of them, and the films "
        "newly turned, stand in the CSV file."
    )


def figure4(sweep: FinishedSweep, counts: pd.DataFrame) -> list[Drawing]:
    """Draw accuracy against strength, and below it where the attacks become visible; nothing for controls alone."""
    value, (low, high) = effect_columns(sweep.aim)
    lines = counts.rename(columns={value: "percent", low: "low", high: "high"})
    boundaries = median_boundaries(sweep)
    note = f"{len(sweep.clean)} {sweep.films_are}; gradients from {sweep.source}; bands: 95 % intervals"
    figure = draw_lines(Lines(lines, effect_before(sweep, counts), sweep.source, sweep.aim, boundaries), note)
    if figure is None:
        return []
    measured = f"share of films taken for {sweep.aim}" if sweep.aim else "accuracy"
    caption = (
        f"{measured.capitalize()} against strength, sign attacks in blue and no-sign attacks in orange, on each target model "
        f"(*: white-box); {sweep.described}."
    )
    if len(boundaries):
        caption += (
            " Below each panel, the median strength up to which perturbations are invisible by four criteria (hollow: a "
            "bound only; of several attacks of a direction the middle)."
        )
    alt = f"Lines of {measured} falling or rising with the strength of each attack, one panel per target model."
    return [Drawing("figure4" + sweep.suffix, "Figure 4", caption, alt, figure, sweep.name)]


def median_boundaries(sweep: FinishedSweep) -> pd.DataFrame:
    """Return the median visibility boundaries over all films, for `draw_lines`; controls, which are not drawn there, have none.

    Returns:
        Frame, one row per kind of attack, direction and criterion, no rows where nothing is on record:
            attacks, direction, criterion
            strength, bound                 median of the attacks' medians; "at least", "at most" or ""
    """
    columns = ["attacks", "direction", "criterion", "strength", "bound"]
    found = []
    for (attack, criterion), films in sweep.boundaries.items():
        if attack not in CONTROLS:
            median, bound = censored_median(films["strength"], films["beyond"])
            found.append((kind(attack), ATTACKS[attack].direction, criterion, median, bound))
    medians = pd.DataFrame(found, columns=columns)
    keys = ["attacks", "direction", "criterion"]
    return medians.groupby(keys, sort=False).agg(strength=("strength", "median"), bound=("bound", "max")).reset_index()


def lowest(sweep: FinishedSweep, counts: pd.DataFrame) -> list[Sentence]:
    """Say how far each attack brings the source model, white-box."""
    own = counts[counts["white_box"]]
    if own.empty:
        return []
    column, total, how = ("reached", "attackable", "most") if sweep.aim else ("correct", "films", "fewest")
    before = int(sweep.hits(sweep.clean[sweep.source]).sum())
    told = []
    for attack, part in own.groupby("attack", sort=False):
        best = part.loc[part[column].idxmax() if sweep.aim else part[column].idxmin()]
        told.append(f"{best[column]} under {ATTACKS[attack].title} (at {best['strength']:g})")
    does = (
        f"takes {before} of {own[total].iloc[0]} films of other classes for {sweep.aim}"
        if sweep.aim
        else (f"has {before} of {own[total].iloc[0]} films right")
    )
    text = (
        f"{sweep.source}, white-box, condition '{sweep.condition}', {does} before the attacks; the {how} at any strength are "
    )
    return [Sentence(f"{text}{joined(told)}.", sweep.name)]
