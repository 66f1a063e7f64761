"""The tables: counts the sweep's predictions film by film and renders them as CSV, Markdown and LaTeX.

Everything here derives from the rows that the stages before wrote: `models.csv`, `clean.csv` and one file per cell.
What the counts allow to be said comes from `nosign.statistics`.
"""

import math
import numbers
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from nosign.attacks import ATTACKS, ITERATIVE_STRENGTHS, PAIRS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, Condition
from nosign.cells import ROUNDED, ordered
from nosign.classifiers import BACKBONES, PAPER_TEST_FILMS
from nosign.dataset import CLASSES
from nosign.provenance import write_csv, write_text
from nosign.records import NEEDED_MEASURES
from nosign.statistics import ALPHA, CLEAN, VERDICTS, at_largest_strength, plural, wilson_percent

PAPER_CONDITION = ("VGG16", "paper")  # source model and condition of the paper's Tables II and III
PAPER_BEST = (("fgsm", 7.67, 0.01), ("fgnm", 7.33, 0.02), ("pgdnm", 6.89, None))  # attack, accuracy in %, strength
PAPER_GAP = ("fgsm", "fgnm", 30, 0.001, 0.005)  # sign, no-sign, points apart, strengths strictly between

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
PROTOCOL_NOTES = {"paper": "each step as long as the strength", "budget": "every attack kept within the strength of the film"}
NORM_NOTES = {"linf": "", "l2": " (in L2: a change by it in every component)"}
GREY_NOTES = {False: "", True: "; perturbations equal in all channels"}
LOSS_NOTES = {
    "cross-entropy": "",
    "softmax": "; a mistake made on purpose: the softmax taken for logits",
    "probabilities": "; a mistake made on purpose: cross-entropy on clipped probabilities",
}
MISSING = "\N{EM DASH}"
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


@dataclass(frozen=True)
class Table:
    """A table in its two forms: tidy rows for programs, a laid-out grid for readers.

    Attributes:
        name: file name without ending.
        title: as in "Table II".
        caption: plain text, sentences.
        tidy: pandas frame, one row an observation, numbers at full precision.
        shown: pandas frame of str; a column's name is (group, heading), group "" for none.
        bold: bool [rows, columns], which entries of `shown` are set in bold.
    """

    name: str
    title: str
    caption: str
    tidy: pd.DataFrame
    shown: pd.DataFrame
    bold: np.ndarray


def attack_pairs(iterative):
    """Return the (sign, no-sign) pairs of attack names that are iterative, or those that are not."""
    return tuple(pair for pair in PAIRS if ATTACKS[pair[0]].iterative == iterative)


def condition_suffix(source, condition):
    """Return what distinguishes a condition's file names: nothing for the paper's own."""
    words = [word for word, default in zip((source, condition), PAPER_CONDITION) if word != default]
    return "".join(f"-{word}" for word in words)


def starred(target, source):
    """Return a target model's heading; a star marks the white-box model."""
    return f"{target}*" if target == source else target


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
        sweep: list of `nosign.records.CellFilms`.
        clean: what `nosign.records.read_clean` returned.

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


def percent(value):
    """Return a percentage with two decimals, or a dash where there is none."""
    return MISSING if pd.isna(value) else f"{value:.2f}"


def counted(correct, films):
    """Return an accuracy with its counts, such as "92.22 (830/900)"."""
    return f"{100 * correct / films:.2f} ({correct}/{films})"


def interval(low, high):
    """Return an interval in per cent, such as "90.28–93.79"."""
    return f"{low:.2f}\N{EN DASH}{high:.2f}"


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


def plain_table(name, title, caption, tidy, shown, columns):
    """Return a `Table` without bold; `shown` is a list of rows of str, `columns` a list of (group, heading)."""
    shown = pd.DataFrame(shown, columns=pd.MultiIndex.from_tuples(columns))
    return Table(name, title, caption, tidy, shown, np.zeros(shown.shape, dtype=bool))


def clean_table(clean, films_are="test films"):
    """Build the table of clean accuracies on the films that were attacked.

    Args:
        clean: what `clean_accuracy` returned.
        films_are: what `nosign.records.recorded_films` returned.
    """
    shown = [
        (row.target, counted(row.correct, row.films), interval(row.ci_low_percent, row.ci_high_percent))
        for row in clean.itertuples()
    ]
    caption = f"Accuracy on the {films_are} that were attacked, before the attacks, with counts and Wilson 95 % intervals."
    return plain_table(
        "clean", "Before the attacks", caption, clean, shown, [("", "Model"), ("", "Accuracy (%)"), ("", "95 % interval")]
    )


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
        films_are: what `nosign.records.recorded_films` returned.

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


def condition_note(settings):
    """Return what a `Condition` means, in words."""
    return PROTOCOL_NOTES[settings.protocol] + NORM_NOTES[settings.norm] + LOSS_NOTES[settings.loss] + GREY_NOTES[settings.grey]


def success_table(cells, films_are="test films"):
    """Build the table of what attacks without an aim succeed in, over all films and over those that were right before.

    Args:
        cells: rows of `count_cells` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.

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


def comparison_table(comparison, films_are="test films"):
    """Build the table of the tests of sign against no-sign under one source and condition.

    Args:
        comparison: rows of `statistics.compare_directions` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.

    Returns:
        The table, or None if there are no rows.
    """
    if comparison.empty:
        return None
    source, condition, counted_films = comparison[["source", "condition", "counted"]].iloc[0]
    shown = [
        [
            pair_title(row),
            f"{row.strength:g}",
            starred(row.target, source),
            f"{row.films}",
            f"{row.sign_films}",
            f"{row.no_sign_films}",
            f"{row.only_sign}",
            f"{row.only_no_sign}",
            signed(row.difference_points),
            span(row.ci_low_points, row.ci_high_points),
            p_value(row.p),
            p_value(row.holm_p),
            row.verdict,
        ]
        for row in comparison.itertuples()
    ]
    group = f"Films {counted_films} under"
    columns = [
        ("", "Pair"),
        ("", "Strength"),
        ("", "Target"),
        ("", "Films"),
        (group, "sign"),
        (group, "no-sign"),
        (group, "only sign"),
        (group, "only no-sign"),
        ("", "Difference"),
        ("", "95 % interval"),
        ("", "p"),
        ("", "Holm p"),
        ("", "Verdict"),
    ]
    families = " and ".join(
        f"{plural(size, 'comparison')} of {attacks} attacks"
        for attacks, size in comparison.groupby("attacks", sort=False).size().items()
    )
    among = "films" if counted_films == "right" else "films of other classes"
    caption = (
        f"Paired on the same {films_are}, gradients from {source} (*: white-box), condition "
        f"'{condition}': {among} {counted_films} under each and under one of the two only; difference in points, "
        "no-sign minus sign, with the interval of Agresti and Min; p of the exact McNemar test, and after Holm's "
        f"correction over {families}. Told apart: Holm p below {ALPHA:g}."
    )
    table = plain_table(
        "comparison" + condition_suffix(source, condition), "Sign against no-sign", caption, comparison, shown, columns
    )
    table.bold[:, -1] = comparison["verdict"] != VERDICTS[0]
    return table


def pair_title(row):
    """Return the name of a row's pair of attacks, such as "FGSM / FGNM"."""
    return f"{ATTACKS[row.sign_attack].title} / {ATTACKS[row.no_sign_attack].title}"


def span(low, high):
    """Return the interval of a difference in points, such as "-3.10 to +0.25" with a true minus sign."""
    return f"{signed(low)} to {signed(high)}"


def signed(points):
    """Return a difference with two decimals, and its sign unless it is zero."""
    return MISSING if pd.isna(points) else f"{points:+.2f}".replace("-", "\N{MINUS SIGN}") if points else "0.00"


def p_value(p):
    """Return a p value with three significant digits, or a bound for a very small one."""
    return "<0.0001" if p < 0.0001 else f"{p:#.3g}"


def confusion_table(confusion, films_are="test films"):
    """Build the table of confusion matrices of one source and condition; white-box at the largest strengths is shown.

    Args:
        confusion: rows of `statistics.count_confusion` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.

    Returns:
        The table, or None if the source model was not among the targets.
    """
    own = at_largest_strength(confusion[confusion["white_box"]])
    if set(own["attack"]) <= {CLEAN}:
        return None
    source, condition = own[["source", "condition"]].iloc[0]
    shown = []
    for (attack, strength, true), part in own.groupby(["attack", "strength", "true_class"], sort=False):
        title, strength = (attack, MISSING) if attack == CLEAN else (ATTACKS[attack].title, f"{strength:g}")
        shown.append([title, strength, true, *map(str, part.set_index("predicted_class")["films"].loc[list(CLASSES)])])
    columns = [("", "Attack"), ("", "Strength"), ("", "True class"), *(("Taken for", name) for name in CLASSES)]
    caption = (
        f"What {source} takes the {films_are} for: counts before the attacks and under each at the largest strength "
        f"run, gradients from {source} (white-box), condition '{condition}'. The CSV file holds all strengths and "
        "targets."
    )
    return plain_table(
        "confusion" + condition_suffix(source, condition), "Confusion matrices", caption, confusion, shown, columns
    )


def seeds_table(spread, films_are="test films"):
    """Build the table of the spread over runs with different seeds, of one source and condition.

    Args:
        spread: rows of `statistics.spread_over_runs` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.
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
        films_are: what `nosign.records.recorded_films` returned.
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


def transfer_table(cells, films_are="test films"):
    """Build the table of all sources against all targets under one condition, at the largest strength that all share.

    Args:
        cells: rows of `count_cells` of one condition.
        films_are: what `nosign.records.recorded_films` returned.

    Returns:
        The table, or None if there are fewer than two sources.
    """
    tidy = transfer_cells(cells)
    if tidy.empty:
        return None
    condition, films = tidy[["condition", "films"]].iloc[0]
    aimed = Condition.parse(condition).target is not None
    grid = tidy.pivot(
        index=["attack", "strength", "source"], columns="target", values="success_percent" if aimed else "accuracy_percent"
    )
    targets = ordered(tidy["target"], BACKBONES)
    keys = tidy[["attack", "strength", "source"]].drop_duplicates()
    rows = [
        [
            ATTACKS[attack].title,
            f"{strength:g}",
            source,
            *(percent(grid.loc[(attack, strength, source), target]) + "*" * (source == target) for target in targets),
        ]
        for attack, strength, source in keys.itertuples(index=False)
    ]
    columns = [("", "Attack"), ("", "Strength"), ("", "Source"), *(("Target", target) for target in targets)]
    measured = "Success (%)" if aimed else "Accuracy (%)"
    caption = (
        f"{measured} on {films} {films_are} of each target model under attacks with gradients from each source "
        f"model (*: white-box), at the largest strength that was run for all sources, condition '{condition}'. Wilson "
        "95 % intervals stand in the CSV file."
    )
    return plain_table("transfer" + condition_suffix(PAPER_CONDITION[0], condition), "Transfer", caption, tidy, rows, columns)


def transfer_cells(cells):
    """Return the rows of `count_cells` of one condition that make the transfer matrix: each attack at the largest strength
    that was run with gradients from every source; no rows if there is one source only."""
    sources = cells["source"].nunique()
    shared = cells.groupby(["attack", "strength"])["source"].nunique()
    shared = shared[(shared == sources) & (sources > 1)].reset_index()
    largest = shared.groupby("attack", as_index=False)["strength"].max()
    found = cells.merge(largest, on=["attack", "strength"])
    order = {name: place for place, name in enumerate([*ATTACKS, *ordered(cells["source"], BACKBONES)])}
    return found.sort_values(["attack", "source"], key=lambda column: column.map(order), kind="stable")


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
    return {**row, "measured": best["accuracy_percent"], "measured_note": note, **best[list(INTERVALS["accuracy_percent"])]}


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
        "measured_note": f"mean of {len(inside)} strengths" if len(inside) else "not run",
    }


def model_comparisons(models):
    """Return the rows that set the paper's parameter counts and clean accuracies beside the measured ones."""
    measured = {row.model: row for row in models.itertuples()}
    parameters, accuracies = [], []
    for name, backbone in BACKBONES.items():
        own = measured.get(name)
        parameters.append(
            {
                "quantity": f"{name} parameters",
                "unit": "",
                "paper": backbone.paper_parameters,
                "paper_note": "",
                "measured": own.parameters if own else math.nan,
                "measured_note": "" if own else "not trained",
            }
        )
        accuracies.append(
            {
                "quantity": f"{name} clean accuracy",
                "unit": "%",
                "paper": 100 * backbone.paper_correct / PAPER_TEST_FILMS,
                "paper_note": f"{backbone.paper_correct}/{PAPER_TEST_FILMS}",
                "measured": 100 * own.correct / own.films if own else math.nan,
                "measured_note": f"{own.correct}/{own.films}" if own else "not trained",
                **(dict(zip(INTERVALS["accuracy_percent"], wilson_percent(own.correct, own.films))) if own else {}),
            }
        )
    return parameters + accuracies


def paper_table(models, cells):
    """Build the table that lists each number which the paper states beside the same quantity measured here.

    Args:
        models: what `nosign.records.read_models` returned.
        cells: what `count_cells` returned; only the paper's own condition is compared.
    """
    rows = [*model_comparisons(models), *(best_comparison(cells, *best) for best in PAPER_BEST), gap_comparison(cells)]
    shown = [
        (
            row["quantity"],
            quantity(row["paper"], row["unit"]),
            row["paper_note"],
            quantity(row["measured"], row["unit"]),
            row["measured_note"],
        )
        for row in rows
    ]
    columns = [("", "Quantity"), ("Paper", "Value"), ("Paper", "Note"), ("Measured", "Value"), ("Measured", "Note")]
    caption = (
        f"The numbers that the paper states, beside the same quantities measured here (gradients from "
        f"{PAPER_CONDITION[0]}, condition '{PAPER_CONDITION[1]}')."
    )
    return plain_table("paper", "Comparison with the paper", caption, pd.DataFrame(rows), shown, columns)


def quantity(value, unit):
    """Return a count in full, another number with two decimals, each with its unit."""
    if pd.isna(value):
        return MISSING
    number = f"{value:,}" if isinstance(value, numbers.Integral) else f"{value:.2f}"
    return f"{number} {unit}".rstrip()


def to_markdown(table):
    """Return a table as GitHub-flavoured Markdown, its title and caption above it."""
    headings = [" ".join(filter(None, column)) for column in table.shown.columns]
    rows = [
        [f"**{text}**" if marked else text for text, marked in zip(texts, marks)]
        for texts, marks in zip(table.shown.to_numpy(), table.bold)
    ]
    grid = tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=alignments(table))
    return f"**{table.title}.** {table.caption}\n\n{grid}\n"


def plain_grid(grid):
    """Return what `accuracy_grid` laid out for one target as aligned text for a terminal."""
    rows = [[f"{strength:g}", *map(percent, values)] for strength, values in zip(grid.index, grid.to_numpy())]
    headings = ["strength", *(ATTACKS[attack].title for attack in grid.columns)]
    return tabulate(rows, headings, disable_numparse=True, stralign="right")


def alignments(table):
    """Return "left" or "right" for each column: numbers to the right, names and notes to the left."""
    words = ("Model", "Quantity", "Note", "Attack", "Source", "Pair", "Measure", "Criterion", "Target", "True class", "Verdict")
    return ["left" if heading in words else "right" for _, heading in table.shown.columns]


def escape_latex(text):
    """Return plain text with LaTeX's special characters escaped."""
    return text.translate(LATEX_SPECIALS)


def to_latex(table):
    """Return a table as LaTeX floats over both columns of a page, each of `LATEX_ROWS` rows at most.

    It needs the package booktabs.
    """
    shown = table.shown.map(escape_latex)
    shown.columns = pd.MultiIndex.from_tuples([tuple(map(escape_latex, column)) for column in shown.columns])
    parts = np.array_split(np.arange(len(shown)), max(1, -(-len(shown) // LATEX_ROWS)))
    floats = []
    for number, rows in enumerate(parts, start=1):
        marks = np.where(table.bold[rows], "textbf:--rwrap;", "")
        style = shown.iloc[rows].style.hide(axis="index").apply(lambda _: marks, axis=None)
        style.set_table_styles([{"selector": "footnotesize", "props": ":;"}])  # Table III is too wide at 10 pt
        part = f" Part {number} of {len(parts)}." if len(parts) > 1 else ""
        floats.append(
            style.to_latex(
                environment="table*",
                position="t",
                position_float="centering",
                hrules=True,
                multicol_align="c",
                column_format="".join(side[0] for side in alignments(table)),
                caption=escape_latex(table.caption + part),
                label=f"tab:{table.name}" + (f"-{number}" if number > 1 else ""),
            )
        )
    return "\n".join(floats)


def write_table(folder, table):
    """Write a table as CSV, Markdown and LaTeX.

    Returns:
        The three paths.
    """
    paths = [Path(folder) / f"{table.name}.{ending}" for ending in ("csv", "md", "tex")]
    write_csv(paths[0], table.tidy, float_format="%.10g")
    write_text(paths[1], to_markdown(table))
    write_text(paths[2], to_latex(table))
    return paths


def write_summary(folder, sentences, counts):
    """Write the generated sentences as `summary.md`, and the counts behind those of the tests as `summary.csv`.

    Args:
        folder: `tables/`.
        sentences: list of (heading, list of str).
        counts: what `statistics.summarise` returned; None if there are no tests behind the sentences.

    Returns:
        The paths.
    """
    paths = [Path(folder) / "summary.md"]
    groups = [f"## {heading}\n\n" + "".join(f"- {line}\n" for line in lines) for heading, lines in sentences]
    write_text(paths[0], "\n".join(groups))
    if counts is not None:
        paths.append(Path(folder) / "summary.csv")
        write_csv(paths[1], counts)
    return paths
