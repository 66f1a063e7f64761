"""The spread over runs with different seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.classifiers.catalogue import BACKBONES
from nosign.finished import Run, effect_columns, kind
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import Lines, draw_lines
from nosign.output.table import SweepName, Table, numbers, words
from nosign.output.words import CLEAN, MISSING, condition_suffix, interval, pair_title, plural, signed, span, starred
from nosign.rows import ordered

HEADING = "Over several seeds"
KIND = ["source", "condition", "attacks"]
KEYS = ["source", "condition", "attack", "strength", "target", "white_box", "measure"]


def describe(run: Run) -> Finding:
    """Return mean and spread of every cell over the runs, and of no-sign minus sign within each."""
    if not run.seeds:
        return Finding("over_runs", HEADING)
    shares = pd.concat([shares_of(seed, number) for number, seed in enumerate(run.seeds)])
    aims = {sweep.name: sweep.aim for seed in run.seeds for sweep in seed.sweeps}
    spread, directions = spread_over_runs(shares), directions_over_runs(shares)
    tables, drawings = [], []
    for name, part in spread.groupby(["source", "condition"], sort=False):
        sweep = SweepName(*name)
        tables.append(seeds_table(part, sweep, run.films_are))
        drawings += draw_seeds(part, sweep, aims[sweep], run.films_are)
    for name, part in directions.groupby(["source", "condition"], sort=False):
        tables.append(runs_table(part, SweepName(*name), run.films_are))
    return Finding("over_runs", HEADING, tuple(tables), tuple(drawings), tuple(directions_sentences(directions)))


def shares_of(seed: Run, number: int) -> pd.DataFrame:
    """Return what one run's tables show, in per cent.

    Returns:
        Frame, one row per cell and target, and per model before untargeted attacks (attack `CLEAN`, strength 0): `KEYS`,
        percent, run (its number), aimed (whether the attacks aim at a class).
    """
    parts = []
    for sweep in seed.sweeps:
        counts, value = seed.of(seed.counts, sweep), effect_columns(sweep.aim)[0]
        parts.append(counts.assign(measure=sweep.effect, percent=counts[value], aimed=sweep.aim is not None))
        if sweep.aim is None:
            white_box = seed.accuracy["target"] == sweep.source
            before = seed.accuracy.assign(**sweep.keys, attack=CLEAN, strength=0.0, measure=sweep.effect, white_box=white_box)
            parts.append(before.assign(percent=before["accuracy_percent"], aimed=False))
    return pd.concat(parts)[[*KEYS, "percent", "aimed"]].assign(run=number)


def spread_over_runs(shares: pd.DataFrame) -> pd.DataFrame:
    """Describe how each cell's accuracy varies over runs with different seeds.

    Args:
        shares: frames of `shares_of`, one below the other.

    Returns:
        Frame of what at least two runs have, if there are as many, sweep by sweep in the order of tables:
            source, condition, attack, strength, target, white_box, measure     "accuracy", or "success" with an aim
            runs                                                              that have the cell
            mean_percent, sd_points, lowest_percent, highest_percent          SD with n - 1; NaN for one run
    """
    spread = (
        shares.groupby(KEYS, sort=False)["percent"]
        .agg(runs="count", mean_percent="mean", sd_points="std", lowest_percent="min", highest_percent="max")
        .reset_index()
    )
    # What one of several runs alone has stands in its own tables.
    spread = spread[spread["runs"] >= min(2, shares["run"].nunique())]
    place = {name: number for number, name in enumerate([CLEAN, *ATTACKS])}
    names = spread[["source", "condition"]].drop_duplicates().itertuples(index=False, name=None)
    first = {name: number for number, name in enumerate(names)}
    order = [(first[row.source, row.condition], place[row.attack], row.strength) for row in spread.itertuples()]
    return spread.iloc[sorted(range(len(spread)), key=order.__getitem__)].reset_index(drop=True)


def directions_over_runs(shares: pd.DataFrame) -> pd.DataFrame:
    """Compare sign and no-sign within each run, and describe how the difference varies over the runs.

    Args:
        shares: frames of `shares_of`, one below the other.

    Returns:
        Frame, one row per pair, strength and target that at least two runs have:
            source, condition, attacks, sign_attack, no_sign_attack, strength, target, white_box, measure
            runs, no_sign_better, sign_better, equal                  all, and in how many of them
            mean_points, sd_points, lowest_points, highest_points     no-sign minus sign; SD with n - 1
    """
    no_sign_of, cells = dict(PAIRS), shares[shares["strength"] > 0]
    signs = cells[cells["attack"].isin(list(no_sign_of))].assign(no_sign_attack=lambda rows: rows["attack"].map(no_sign_of))
    same = ["run", "source", "condition", "strength", "target", "white_box", "measure", "aimed"]
    pairs = signs.merge(
        cells, left_on=[*same, "no_sign_attack"], right_on=[*same, "attack"], suffixes=("_sign", "_no_sign")
    ).rename(columns={"attack_sign": "sign_attack"})
    points = pairs["percent_no_sign"] - pairs["percent_sign"]
    gain = points * np.where(pairs["aimed"], 1, -1)
    pairs = pairs.assign(
        points=points, no_sign_better=gain > 0, sign_better=gain < 0, equal=gain == 0, attacks=pairs["sign_attack"].map(kind)
    )
    keys = [*KIND, "sign_attack", "no_sign_attack", "strength", "target", "white_box", "measure"]
    compared = (
        pairs.groupby(keys, sort=False)
        .agg(
            runs=("points", "count"),
            no_sign_better=("no_sign_better", "sum"),
            sign_better=("sign_better", "sum"),
            equal=("equal", "sum"),
            mean_points=("points", "mean"),
            sd_points=("points", "std"),
            lowest_points=("points", "min"),
            highest_points=("points", "max"),
        )
        .reset_index()
    )
    return compared[compared["runs"] > 1].reset_index(drop=True)


def directions_sentences(directions: pd.DataFrame) -> list[Sentence]:
    """Say at how many strengths and targets each direction is better in every run, and how far apart they are.

    Args:
        directions: frame of `directions_over_runs`.

    Returns:
        One sentence for each source, condition and kind of attack, white-box and transfer apart.
    """
    sentences = []
    for (source, condition, attacks), part in directions.groupby(KIND, sort=False):
        for white_box, own in sorted(part.groupby("white_box"), reverse=True):
            box = f"white-box ({source})" if white_box else f"transfer from {source}"
            counts = [int((own[name] == own["runs"]).sum()) for name in ("no_sign_better", "sign_better")]
            mean = signed(own["mean_points"].mean(), 1)
            text = (
                f"Condition '{condition}', {attacks} attacks, {box}, over {own['runs'].max()} runs: of "
                f"{plural(len(own), 'comparison')} no-sign is better in every run at {counts[0]}, sign in every run at "
                f"{counts[1]}; no-sign minus sign is {mean} points of {own['measure'].iloc[0]} on average, and varies from "
                f"run to run by {own['sd_points'].mean():.1f} points (mean SD)."
            )
            sentences.append(Sentence(text, SweepName(source, condition), answer=white_box))
    return sentences


def seeds_table(spread: pd.DataFrame, sweep: SweepName, films_are: str) -> Table:
    """Build the table of the spread over runs with different seeds.

    Args:
        spread: the sweep's rows of `spread_over_runs`.
    """
    targets = ordered(spread["target"], BACKBONES)
    rows = []
    for (attack, strength), part in spread.groupby(["attack", "strength"], sort=False):
        of_target = {row.target: row for row in part.itertuples()}
        name, at = (attack, MISSING) if attack == CLEAN else (ATTACKS[attack].title, f"{strength:g}")
        shares = [text for target in targets for text in spread_words(of_target.get(target))]
        rows.append([name, at, str(part["runs"].max()), *shares])
    headings = ("mean \N{PLUS-MINUS SIGN} SD", "range")
    groups = [column for target in targets for column in numbers(*headings, group=starred(target, sweep.source))]
    caption = (
        f"{spread['measure'].iloc[0].capitalize()} (%) on {films_are} over {plural(spread['runs'].max(), 'run')} with "
        "different seeds (split, training and random starts): mean and standard deviation (n - 1) over the runs, lowest to "
        "highest. "
        f"Gradients from {sweep.source} (*: white-box), condition '{sweep.condition}'."
    )
    columns = (*words("Attack"), *numbers("Strength", "Runs"), *groups)
    return Table("seeds" + condition_suffix(*sweep), "Spread over runs", caption, spread, columns, rows, None, sweep)


def runs_table(directions: pd.DataFrame, sweep: SweepName, films_are: str) -> Table:
    """Build the table of no-sign minus sign within runs with different seeds.

    Args:
        directions: the sweep's rows of `directions_over_runs`.
    """
    rows = [
        [
            *(pair_title(row), f"{row.strength:g}", starred(row.target, sweep.source), str(row.runs)),
            *(str(row.no_sign_better), str(row.sign_better)),
            f"{signed(row.mean_points)} \N{PLUS-MINUS SIGN} {row.sd_points:.2f}",
            span(row.lowest_points, row.highest_points),
        ]
        for row in directions.itertuples()
    ]
    columns = (
        *words("Pair"),
        *numbers("Strength"),
        *words("Target"),
        *numbers("Runs"),
        *numbers("no-sign", "sign", group="Better in runs"),
        *numbers("mean \N{PLUS-MINUS SIGN} SD", "range", group="Difference"),
    )
    caption = (
        f"No-sign minus sign within each of {plural(directions['runs'].max(), 'run')} with different seeds, "
        f"{directions['measure'].iloc[0]} on {films_are} in points: mean and standard deviation (n - 1) over the runs, lowest "
        f"to highest. Gradients from {sweep.source} (*: white-box), condition '{sweep.condition}'."
    )
    title = "Sign against no-sign over runs"
    return Table("runs" + condition_suffix(*sweep), title, caption, directions, columns, rows, None, sweep)


def spread_words(row: Any) -> tuple[str, str]:
    """Return the mean with the standard deviation, and the range, of a row of `spread_over_runs` or of None."""
    if row is None or pd.isna(row.mean_percent):
        return MISSING, MISSING
    spread = MISSING if pd.isna(row.sd_points) else f"{row.sd_points:.2f}"
    return f"{row.mean_percent:.2f} \N{PLUS-MINUS SIGN} {spread}", interval(row.lowest_percent, row.highest_percent)


def draw_seeds(spread: pd.DataFrame, sweep: SweepName, aim: str | None, films_are: str) -> list[Drawing]:
    """Draw the mean over runs with different seeds against strength, laid out as Figure 4; bands are the runs' range.

    Cells that some runs lack are left out: beside the others they would show the runs' difference as one of strength.

    Args:
        spread: the sweep's rows of `spread_over_runs`.
        aim: class that the attacks aim at, or None.

    Returns:
        The drawing; none where no attack but controls was run for all seeds.
    """
    whole = spread[spread["runs"] == spread["runs"].max()]
    lines = whole.rename(columns={"mean_percent": "percent", "lowest_percent": "low", "highest_percent": "high"})
    before = lines[lines["attack"] == CLEAN].set_index("target")["percent"]
    of_what = f"{plural(spread['runs'].max(), 'run')} with different seeds, {films_are}; gradients from {sweep.source}"
    figure = draw_lines(
        Lines(lines[lines["attack"] != CLEAN], before, sweep.source, aim), f"mean of {of_what}; bands: lowest to highest run"
    )
    if figure is None:
        return []
    caption = f"Accuracy against strength, mean and range over {of_what}, condition '{sweep.condition}'."
    alt = "Lines of mean accuracy against the strength of each attack with bands over the runs, one panel per target model."
    return [Drawing("seeds" + condition_suffix(*sweep), "Spread over runs", caption, alt, figure, sweep)]
