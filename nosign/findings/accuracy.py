"""Accuracy under attack: Tables II and III, and Figure 4."""

import numpy as np
import pandas as pd
from tabulate import tabulate

from nosign.attacks.catalogue import ATTACKS, Condition, attack_pairs
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.output.plot import draw_lines
from nosign.output.table import Table, plain_table
from nosign.output.words import condition_note, condition_suffix, ordered, percent, plural, starred
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS
from nosign.rows import NEEDED_MEASURES, ROUNDED
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import ALPHA, wilson_percent

# Each share and the ends of its interval.
INTERVALS = {
    "accuracy_percent": ("ci_low_percent", "ci_high_percent"),
    "accuracy_8bit_percent": ("ci_low_8bit_percent", "ci_high_8bit_percent"),
    "success_percent": ("ci_low_success_percent", "ci_high_success_percent"),
}
CELL_COLUMNS = (
    "source",
    "condition",
    "attack",
    "strength",
    "target",
    "white_box",
    "correct",
    "films",
    "accuracy_percent",
    *INTERVALS["accuracy_percent"],
    "correct_8bit",
    "accuracy_8bit_percent",
    *INTERVALS["accuracy_8bit_percent"],
    *(f"{column}_mean" for column in NEEDED_MEASURES),
    "wrong_after",
    "wrong_after_percent",
    "right_before",
    "turned_of_right",
    "turned_of_right_percent",
    "succeeded",
    "succeeded_before",
    "attackable",
    "success_percent",
    *INTERVALS["success_percent"],
)


def with_share(frame, count, total, percent, ends=INTERVALS["accuracy_percent"]):
    """Return a frame with a share in per cent and its Wilson 95 % interval, NaN where the total is 0.

    Args:
        frame: has the columns `count` and `total`.
        percent, ends: names of the share's column and of the interval's two.
    """
    low, high = wilson_percent(frame[count], frame[total])
    return frame.assign(**{percent: 100 * frame[count] / frame[total], ends[0]: low, ends[1]: high})


def count_cells(sweep, clean):
    """Count right predictions per cell and target model.

    Args:
        sweep: list of `nosign.rows.CellFilms`.
        clean: what `nosign.rows.read_clean` returned.

    Returns:
        Frame with one row per cell and target: source, condition, attack, strength, target, white_box; correct, films,
        accuracy_percent; correct_8bit, accuracy_8bit_percent (after rounding to 8 bits); the means over films of the
        perturbation's L-inf and L2 norm (pixels in [0, 1]) and of the SSIM: linf_mean, l2_mean, ssim_mean; wrong_after
        and wrong_after_percent (of all films); right_before, turned_of_right and turned_of_right_percent (films right
        before the attack and wrong after it, of those right before); and what counts as success under the condition
        (`count_success`): succeeded, attackable, success_percent, and succeeded_before, the films that a model takes for
        the class aimed at without any attack. `INTERVALS` names the columns of the Wilson intervals.
    """
    frame = pd.DataFrame([count_cell(cell, target, clean) for cell in sweep for target in cell.targets])
    for count, total, percent in (
        ("correct", "films", "accuracy_percent"),
        ("correct_8bit", "films", "accuracy_8bit_percent"),
        ("succeeded", "attackable", "success_percent"),
    ):
        frame = with_share(frame, count, total, percent, INTERVALS[percent])
    frame["wrong_after_percent"] = 100 * frame["wrong_after"] / frame["films"]
    frame["turned_of_right_percent"] = 100 * frame["turned_of_right"] / frame["right_before"]
    return frame[list(CELL_COLUMNS)]


def count_cell(cell, target, clean):
    """Return the counts and means of a row of `count_cells`."""
    labels, before, after = clean["label"], clean[target], cell.films[target]
    succeeded, attackable = count_success(after, before, labels, cell.condition)
    return {
        "source": cell.source,
        "condition": cell.condition,
        "attack": cell.attack,
        "strength": cell.strength,
        "target": target,
        "white_box": target == cell.source,
        "films": len(labels),
        "correct": int((after == labels).sum()),
        "correct_8bit": int((cell.films[target + ROUNDED] == labels).sum()),
        **{f"{column}_mean": cell.films[column].mean() for column in NEEDED_MEASURES},
        "wrong_after": int((after != labels).sum()),
        "right_before": int((before == labels).sum()),
        "turned_of_right": int(((before == labels) & (after != labels)).sum()),
        "succeeded": succeeded,
        "succeeded_before": count_success(before, before, labels, cell.condition)[0],
        "attackable": attackable,
    }


def count_success(predicted, before, labels, condition):
    """Count on how many films an attack succeeds, and on how many it could.

    A targeted attack could on all films of other classes, and succeeds where the target is seen; any other attack
    could on the films that were right before, and succeeds where another class is seen.

    Args:
        predicted, before: classes that a model sees in the adversarial and in the clean films.
        labels: the films' classes.
        condition: name of a `Condition`.
    """
    target = Condition.parse(condition).target
    if target is None:
        attackable = before == labels
        reached = predicted != labels
    else:
        attackable = labels != CLASSES.index(target)
        reached = predicted == CLASSES.index(target)
    return int((attackable & reached).sum()), int(attackable.sum())


def missing_cells(cells):
    """List the cells that a full sweep would add to those there.

    A full sweep has, for every condition, all attacks at the paper's strengths and at those found beside them.

    Returns:
        Dict from (source, condition, attack) to the ascending list of absent strengths; complete attacks are left out.
    """
    missing = {}
    for (source, condition), found in cells.groupby(["source", "condition"], sort=False):
        for attack in ATTACKS.values():
            if attack.name not in (*PAPER_ATTACKS, *found["attack"]):
                continue
            pairs = attack_pairs(attack.iterative)
            alike = found["attack"].isin([name for pair in pairs for name in pair])
            paper = ITERATIVE_STRENGTHS if attack.iterative else SINGLE_STEP_STRENGTHS
            wanted = {*paper, *found.loc[alike, "strength"]}
            if absent := sorted(wanted - set(found.loc[found["attack"] == attack.name, "strength"])):
                missing[source, condition, attack.name] = absent
    return missing


def accuracy_grid(cells, pairs, value):
    """Lay one condition's cells out as in the paper.

    Args:
        cells: rows of `count_cells` of one source and condition.
        pairs: the (sign, no-sign) pairs that make the columns.
        value: name of the column to show.

    Returns:
        Frame with one row a strength and columns (target, attack), NaN for cells that are not there.
    """
    grid = cells.pivot(index="strength", columns=["target", "attack"], values=value)
    targets = ordered(cells["target"], BACKBONES)
    return grid.reindex(columns=[(target, attack) for target in targets for pair in pairs for attack in pair])


def better_of_pair(grid, comparison):
    """Mark the attack of each sign/no-sign pair that the tests find better.

    Args:
        grid: what `accuracy_grid` returned.
        comparison: rows of `statistics.compare_directions` of the same source and condition.

    Returns:
        Bool frame like `grid`; nothing is marked where the two cannot be told apart or one of them is missing.
    """
    marks = pd.DataFrame(False, index=grid.index, columns=grid.columns)
    for row in comparison.itertuples():
        better = {VERDICTS[1]: row.no_sign_attack, VERDICTS[-1]: row.sign_attack}.get(row.verdict)
        if (row.target, better) in marks.columns:
            marks.loc[row.strength, (row.target, better)] = True
    return marks


def attack_table(cells, clean, iterative, steps, comparison, films_are="test films"):
    """Build Table II (single-step attacks) or III (iterative ones) of one condition.

    Args:
        cells: rows of `count_cells` of one source and condition.
        clean: what `clean_accuracy` returned.
        iterative: which of the two tables.
        steps: T of the iterative attacks, None if it is not on record.
        comparison: what `statistics.compare_directions` returned.
        films_are: what `nosign.rows.recorded_films` returned.

    Returns:
        The table, or None if none of its attacks has a finished cell.
    """
    pairs = [pair for pair in attack_pairs(iterative) if cells["attack"].isin(pair).any()]
    tidy = cells[cells["attack"].isin([attack for pair in pairs for attack in pair])]
    if tidy.empty:
        return None
    source, condition = tidy[["source", "condition"]].iloc[0]
    aimed = Condition.parse(condition).target is not None
    grid = accuracy_grid(tidy, pairs, "success_percent" if aimed else "accuracy_percent")
    clean = percent_before(tidy) if aimed else clean.set_index("target")["accuracy_percent"]
    rows = [["0 (clean)", *(percent(clean[target]) for target, _ in grid.columns)]]
    rows += [[f"{strength:g}", *map(percent, values)] for strength, values in zip(grid.index, grid.to_numpy())]
    columns = [("", "Strength"), *((starred(target, source), ATTACKS[attack].title) for target, attack in grid.columns)]
    bold = np.zeros((len(rows), len(columns)), dtype=bool)
    comparison = comparison[
        (comparison["source"] == source)
        & (comparison["condition"] == condition)
        & comparison["sign_attack"].isin([sign for sign, _ in pairs])
    ]
    bold[len(rows) - len(grid) :, 1:] = better_of_pair(grid, comparison)
    name = ("table3" if iterative else "table2") + condition_suffix(source, condition)
    caption = attack_caption(tidy, pairs, steps if iterative else 1, len(comparison), films_are)
    return Table(
        name,
        "Table III" if iterative else "Table II",
        caption,
        tidy,
        pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns)),
        bold,
    )


def percent_before(cells):
    """Return the share of the films of other classes that each target takes for the class aimed at without any attack.

    Args:
        cells: rows of `count_cells` of one source and targeted condition.

    Returns:
        Series in per cent by target, NaN where there are no such films.
    """
    first = cells.groupby("target").first()
    return 100 * first["succeeded_before"] / first["attackable"].where(first["attackable"] > 0)


def attack_caption(tidy, pairs, steps, comparisons, films_are):
    """Return the caption of Table II or III: attacks, films, steps T, condition, intervals, what star and bold mean."""
    source, condition, films = tidy[["source", "condition", "films"]].iloc[0]
    versus = " and ".join(" against ".join(ATTACKS[attack].title for attack in pair) for pair in pairs)
    steps = "unknown" if steps is None else steps
    settings = Condition.parse(condition)
    measured, ends, better = "Accuracy (%)", INTERVALS["accuracy_percent"], "leaves fewer films right"
    if settings.target:
        measured = f"Success (% of the films of other classes that are taken for {settings.target})"
        ends, better = INTERVALS["success_percent"], "succeeds more often"
    widest = (tidy[ends[1]] - tidy[ends[0]]).max() / 2
    tested = (
        f"Bold: the attack of a sign/no-sign pair that {better}, where the exact McNemar test on the same films tells "
        f"the two apart (p below {ALPHA:g} after Holm's correction over {plural(comparisons, 'comparison')})."
        if comparisons
        else "No sign/no-sign pair is complete, so none is tested."
    )
    return (
        f"{measured} on {films} {films_are} under {versus}. Gradients from {source} (*: white-box; the others: "
        f"black-box), T = {steps}, condition '{condition}': {condition_note(settings)}. {tested} Wilson 95 % intervals "
        f"stand in the CSV file; the widest is \N{PLUS-MINUS SIGN}{widest:.1f} points."
    )


def success_table(cells, films_are="test films"):
    """Build the table of what attacks without an aim succeed in, over all films and over those that were right before.

    Args:
        cells: rows of `count_cells` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.

    Returns:
        The table, or None where the attacks aim at a class: Tables II and III then show their success.
    """
    source, condition, films = cells[["source", "condition", "films"]].iloc[0]
    if Condition.parse(condition).target is not None:
        return None
    targets = ordered(cells["target"], BACKBONES)
    shown = []
    for (attack, strength), part in cells.groupby(["attack", "strength"], sort=False):
        found = part.set_index("target").reindex(targets)
        shares = found[["wrong_after_percent", "turned_of_right_percent"]].to_numpy().ravel()
        shown.append([ATTACKS[attack].title, f"{strength:g}", *map(percent, shares)])
    columns = [
        ("", "Attack"),
        ("", "Strength"),
        *((starred(target, source), heading) for target in targets for heading in ("wrong, of all", "turned, of right")),
    ]
    caption = (
        f"What the attacks succeed in, in per cent: films that a model gets wrong after the attack, of all {films} "
        f"{films_are}, and films that it got right before and gets wrong after, of those right before. Gradients from "
        f"{source} (*: white-box), condition '{condition}'. Counts and intervals stand in the CSV files of Tables II "
        "and III."
    )
    keys = [
        "source",
        "condition",
        "attack",
        "strength",
        "target",
        "white_box",
        "films",
        "wrong_after",
        "wrong_after_percent",
        "right_before",
        "turned_of_right",
        "turned_of_right_percent",
    ]
    return plain_table("success" + condition_suffix(source, condition), "Success", caption, cells[keys], shown, columns)


def plain_grid(grid):
    """Return what `accuracy_grid` laid out for one target as aligned text for a terminal."""
    rows = [[f"{strength:g}", *map(percent, values)] for strength, values in zip(grid.index, grid.to_numpy())]
    headings = ["strength", *(ATTACKS[attack].title for attack in grid.columns)]
    return tabulate(rows, headings, disable_numparse=True, stralign="right")


def draw_accuracy(cells, clean, films_are="test films"):
    """Draw figure 4: accuracy against strength, a row for single-step and one for iterative attacks.

    Where the attacks aim at a class, the share of films that reach it is drawn. Bands are the Wilson 95 % intervals.

    Args:
        cells: rows of `tables.count_cells` of one source and condition.
        clean: what `tables.clean_accuracy` returned.
        films_are: what `nosign.rows.recorded_films` returned.

    Returns:
        The figure; a row without any finished cell is left out.
    """
    source, condition, films = cells[["source", "condition", "films"]].iloc[0]
    value = "success_percent" if Condition.parse(condition).target else "accuracy_percent"
    shown = cells.assign(shown=cells[value], low=cells[INTERVALS[value][0]], high=cells[INTERVALS[value][1]])
    before = clean.set_index("target")["accuracy_percent"] if value == "accuracy_percent" else percent_before(cells)
    return draw_lines(shown, before, f"{films} {films_are}; gradients from {source}; bands: Wilson 95 % intervals")
