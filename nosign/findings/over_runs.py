"""The spread over runs with different seeds."""

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.classifiers.catalogue import BACKBONES
from nosign.findings.directions import FAMILY, aimed_rows, kind
from nosign.output.plot import draw_lines
from nosign.output.table import plain_table
from nosign.output.words import CLEAN, MISSING, condition_suffix, interval, ordered, pair_title, plural, signed, span, starred
from nosign.statistics.families import gain_of


def spread_over_runs(runs):
    """Describe how each cell's accuracy varies over runs with different seeds.

    Args:
        runs: list of (cells, clean), what `count_cells` and `clean_accuracy` of `nosign.tables` returned for each run.

    Returns:
        Frame: source, condition, attack (`CLEAN` for none, with strength 0), strength, target, white_box, measure
        ("accuracy", or "success" where the attacks aim at a class), runs (that have the cell), mean_percent,
        sd_points (standard deviation with n - 1; NaN for one run), lowest_percent, highest_percent.
    """
    parts = []
    for cells, clean in runs:
        parts.append(with_measure(cells))
        for source, condition in cells[~aimed_rows(cells)].groupby(["source", "condition"], sort=False).groups:
            parts.append(
                clean.assign(
                    source=source,
                    condition=condition,
                    attack=CLEAN,
                    strength=0.0,
                    measure="accuracy",
                    white_box=clean["target"] == source,
                    percent=clean["accuracy_percent"],
                )
            )
    keys = ["source", "condition", "attack", "strength", "target", "white_box", "measure"]
    spread = (
        pd.concat(parts)[[*keys, "percent"]]
        .groupby(keys, sort=False)["percent"]
        .agg(runs="count", mean_percent="mean", sd_points="std", lowest_percent="min", highest_percent="max")
        .reset_index()
    )
    place = {name: number for number, name in enumerate([CLEAN, *ATTACKS])}
    first = {name: number for number, name in enumerate(spread[["source", "condition"]].drop_duplicates().agg(tuple, axis=1))}
    order = [(first[row.source, row.condition], place[row.attack], row.strength) for row in spread.itertuples()]
    return spread.iloc[sorted(range(len(spread)), key=order.__getitem__)].reset_index(drop=True)


def with_measure(cells):
    """Return `count_cells` with measure, "accuracy" or "success" where attacks aim at a class, and its percent."""
    aimed = aimed_rows(cells)
    return cells.assign(
        measure=np.where(aimed, "success", "accuracy"),
        percent=np.where(aimed, cells["success_percent"], cells["accuracy_percent"]),
    )


def directions_over_runs(runs):
    """Compare sign and no-sign within each run, and describe how the difference varies over runs with different seeds.

    Args:
        runs: as for `spread_over_runs`.

    Returns:
        Frame, one row a pair, strength and target that at least two runs have: source, condition, attacks (see `kind`),
        sign_attack, no_sign_attack, strength, target, white_box, measure, runs, no_sign_better, sign_better and equal (in how
        many of them), mean_points (no-sign minus sign), sd_points (n - 1), lowest_points, highest_points.
    """
    no_sign_of, parts = dict(PAIRS), []
    for run, (cells, _) in enumerate(runs):
        frame = with_measure(cells[cells["strength"] > 0]).assign(run=run)
        signs = frame[frame["attack"].isin(no_sign_of)].assign(no_sign_attack=lambda rows: rows["attack"].map(no_sign_of))
        same = ["run", "source", "condition", "strength", "target", "white_box", "measure"]
        parts.append(
            signs.merge(frame, left_on=[*same, "no_sign_attack"], right_on=[*same, "attack"], suffixes=("_sign", "_no_sign"))
        )
    pairs = pd.concat(parts, ignore_index=True).rename(columns={"attack_sign": "sign_attack"})
    points = pairs["percent_no_sign"] - pairs["percent_sign"]
    gain = gain_of(points, aimed_rows(pairs))
    pairs = pairs.assign(
        points=points, no_sign_better=gain > 0, sign_better=gain < 0, equal=gain == 0, attacks=pairs["sign_attack"].map(kind)
    )
    keys = [*FAMILY, "sign_attack", "no_sign_attack", "strength", "target", "white_box", "measure"]
    found = (
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
    return found[found["runs"] > 1].reset_index(drop=True)


def directions_sentences(directions):
    """Say at how many strengths and targets each direction is better in every run, and how far apart they are.

    Args:
        directions: what `directions_over_runs` returned.

    Returns:
        List of str, one for each source, condition and kind of attack, white-box and transfer apart.
    """
    sentences = []
    for (source, condition, attacks), part in directions.groupby(FAMILY, sort=False):
        for white_box, own in sorted(part.groupby("white_box"), reverse=True):
            box = f"white-box ({source})" if white_box else f"transfer from {source}"
            counts = [int((own[name] == own["runs"]).sum()) for name in ("no_sign_better", "sign_better")]
            sentences.append(
                f"Condition '{condition}', {attacks} attacks, {box}, over {own['runs'].max()} runs: of "
                f"{plural(len(own), 'comparison')} no-sign is better in every run at {counts[0]}, sign in every run at "
                f"{counts[1]}; no-sign minus sign is {own['mean_points'].mean():+.1f} points of {own['measure'].iloc[0]} on "
                f"average, and varies from run to run by {own['sd_points'].mean():.1f} points (mean SD)."
            )
    return sentences


def seeds_table(spread, films_are="test films"):
    """Build the table of the spread over runs with different seeds, of one source and condition.

    Args:
        spread: rows of `statistics.spread_over_runs` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.
    """
    source, condition, measure = spread[["source", "condition", "measure"]].iloc[0]
    targets = ordered(spread["target"], BACKBONES)
    shown = []
    for (attack, strength), part in spread.groupby(["attack", "strength"], sort=False):
        cells = {row.target: row for row in part.itertuples()}
        shown.append(
            [
                attack if attack == CLEAN else ATTACKS[attack].title,
                MISSING if attack == CLEAN else f"{strength:g}",
                str(part["runs"].max()),
                *(text for target in targets for text in spread_words(cells.get(target))),
            ]
        )
    headings = ("mean \N{PLUS-MINUS SIGN} SD", "range")
    columns = [
        ("", "Attack"),
        ("", "Strength"),
        ("", "Runs"),
        *((starred(target, source), heading) for target in targets for heading in headings),
    ]
    caption = (
        f"{measure.capitalize()} (%) on {films_are} over {plural(spread['runs'].max(), 'run')} with different seeds "
        "(split, training and random starts): mean and standard deviation (n - 1) over the runs, lowest to highest. "
        f"Gradients from {source} (*: white-box), condition '{condition}'."
    )
    return plain_table("seeds" + condition_suffix(source, condition), "Spread over runs", caption, spread, shown, columns)


def runs_table(directions, films_are="test films"):
    """Build the table of no-sign minus sign within runs with different seeds, of one source and condition.

    Args:
        directions: rows of `statistics.directions_over_runs` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.
    """
    source, condition, measure = directions[["source", "condition", "measure"]].iloc[0]
    shown = [
        [
            pair_title(row),
            f"{row.strength:g}",
            starred(row.target, source),
            str(row.runs),
            str(row.no_sign_better),
            str(row.sign_better),
            f"{signed(row.mean_points)} \N{PLUS-MINUS SIGN} {row.sd_points:.2f}",
            span(row.lowest_points, row.highest_points),
        ]
        for row in directions.itertuples()
    ]
    columns = [
        ("", "Pair"),
        ("", "Strength"),
        ("", "Target"),
        ("", "Runs"),
        ("Better in runs", "no-sign"),
        ("Better in runs", "sign"),
        ("Difference", "mean \N{PLUS-MINUS SIGN} SD"),
        ("Difference", "range"),
    ]
    caption = (
        f"No-sign minus sign within each of {plural(directions['runs'].max(), 'run')} with different seeds, {measure} "
        f"on {films_are} in points: mean and standard deviation (n - 1) over the runs, lowest to highest. Gradients "
        f"from {source} (*: white-box), condition '{condition}'."
    )
    return plain_table(
        "runs" + condition_suffix(source, condition), "Sign against no-sign over runs", caption, directions, shown, columns
    )


def spread_words(row):
    """Return the mean with the standard deviation, and the range, of a row of `statistics.spread_over_runs` or of None."""
    if row is None or pd.isna(row.mean_percent):
        return MISSING, MISSING
    spread = MISSING if pd.isna(row.sd_points) else f"{row.sd_points:.2f}"
    return f"{row.mean_percent:.2f} \N{PLUS-MINUS SIGN} {spread}", interval(row.lowest_percent, row.highest_percent)


def draw_seeds(spread, films_are="test films"):
    """Draw the mean over runs with different seeds against strength, laid out as figure 4. Bands are the runs' range.

    Cells that some runs lack are left out: beside the others they would show the runs' difference as one of strength.

    Args:
        spread: rows of `statistics.spread_over_runs` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.
    """
    whole = spread[spread["runs"] == spread["runs"].max()]
    shown = whole.rename(columns={"mean_percent": "shown", "lowest_percent": "low", "highest_percent": "high"})
    clean = shown[shown["attack"] == CLEAN].set_index("target")["shown"]
    return draw_lines(
        shown[shown["attack"] != CLEAN],
        clean,
        f"mean of {plural(spread['runs'].max(), 'run')} with different seeds, {films_are}; gradients from "
        f"{spread['source'].iloc[0]}; bands: lowest to highest run",
    )
