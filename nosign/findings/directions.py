"""Sign against no-sign on the same films, at every strength and target."""

import pandas as pd

from nosign.attacks.catalogue import ATTACKS, PAIRS, Condition
from nosign.dataset import CLASSES
from nosign.output.table import plain_table
from nosign.output.words import condition_suffix, joined, p_value, pair_title, plural, signed, span, starred
from nosign.statistics.families import VERDICTS, gain_of, holm, verdicts_of
from nosign.statistics.intervals import ALPHA
from nosign.statistics.paired import compare_hits

FAMILY = ["source", "condition", "attacks"]  # one of Tables II and III: Holm's correction runs over it
COMPARISON_COLUMNS = (
    *FAMILY,
    "sign_attack",
    "no_sign_attack",
    "strength",
    "target",
    "white_box",
    "counted",
    "films",
    "sign_films",
    "no_sign_films",
    "only_sign",
    "only_no_sign",
    "difference_points",
    "ci_low_points",
    "ci_high_points",
    "p",
)
SUMMARY_COLUMNS = (
    *FAMILY,
    "white_box",
    "targets",
    "pairs",
    "strengths",
    "models",
    "comparisons",
    "no_sign_better",
    "sign_better",
    "not_told_apart",
    "films",
    "holm_over",
    "counted",
    "sentence",
)


def kind(attack):
    """Return "iterative" or "single-step", the word for an attack's table."""
    return "iterative" if ATTACKS[attack].iterative else "single-step"


def compare_directions(sweep):
    """Test at each strength and target whether sign and no-sign differ on the same films.

    Untargeted attacks are compared by the films that stay right, of all films; targeted ones by the films that reach
    the target, of those of other classes.

    Args:
        sweep: list of `nosign.rows.CellFilms`.

    Returns:
        Frame, one row a comparison, in the order of the cells: source, condition, attacks (see `kind`), sign_attack,
        no_sign_attack, strength, target, white_box, counted (what is counted, in words), films, sign_films and
        no_sign_films (those counted), only_sign and only_no_sign (counted under one direction only),
        difference_points (no-sign minus sign, with its interval: see `compare_hits`), p, holm_p, comparisons (over how
        many Holm's correction runs), verdict (one of `VERDICTS`). No rows where no pair has both its cells; strength 0,
        which is no attack, is left out.
    """
    found = {(cell.source, cell.condition, cell.attack, cell.strength): cell for cell in sweep}
    no_sign_of, rows = dict(PAIRS), []
    for (source, condition, attack, strength), sign in found.items():
        no_sign = found.get((source, condition, no_sign_of.get(attack), strength))
        if no_sign is not None and strength > 0:
            rows += [compare_films(sign, no_sign, target) for target in sign.targets if target in no_sign.targets]
    comparison = pd.DataFrame(rows, columns=COMPARISON_COLUMNS)
    if comparison.empty:
        return comparison.assign(holm_p=[], comparisons=[], verdict=[])
    families = comparison.groupby(FAMILY, sort=False)["p"]
    comparison = comparison.assign(holm_p=families.transform(holm), comparisons=families.transform("size"))
    gain = gain_of(comparison["no_sign_films"] - comparison["sign_films"], aimed_rows(comparison))
    return comparison.assign(verdict=verdicts_of(gain, comparison["holm_p"]))


def aimed_rows(frame):
    """Return, a bool a row, whether the row's condition aims at a class."""
    return frame["condition"].map(lambda name: Condition.parse(name).target is not None)


def compare_films(sign, no_sign, target):
    """Return a row of `compare_directions`, without Holm's correction: two `CellFilms` seen by one target model."""
    aim = Condition.parse(sign.condition).target
    labels = sign.films["label"].to_numpy()
    wanted, among = (labels, slice(None)) if aim is None else (CLASSES.index(aim), labels != CLASSES.index(aim))
    ours, theirs = ((cell.films[target].to_numpy() == wanted)[among] for cell in (sign, no_sign))
    return {
        "source": sign.source,
        "condition": sign.condition,
        "attacks": kind(sign.attack),
        "sign_attack": sign.attack,
        "no_sign_attack": no_sign.attack,
        "strength": sign.strength,
        "target": target,
        "white_box": target == sign.source,
        "counted": "right" if aim is None else f"taken for {aim}",
        "films": len(ours),
        "sign_films": int(ours.sum()),
        "no_sign_films": int(theirs.sum()),
        **compare_hits(ours, theirs, ("sign", "no_sign")),
    }


def summarise(comparison):
    """Count the verdicts of each source, condition and kind of attack, white-box and transfer apart.

    Args:
        comparison: what `compare_directions` returned.

    Returns:
        Frame, one row a sentence: source, condition, attacks, white_box, targets (names joined by a space), pairs,
        strengths, models (how many of each), comparisons, no_sign_better, sign_better, not_told_apart, films,
        holm_over (comparisons in Holm's correction), counted, and sentence.
    """
    rows = []
    for family, part in comparison.groupby(FAMILY, sort=False):
        for white_box in (True, False):
            own = part[part["white_box"] == white_box]
            if not own.empty:
                rows.append({**dict(zip(FAMILY, family)), "white_box": white_box, **count_verdicts(own)})
                rows[-1]["sentence"] = comparison_sentence(rows[-1], strengths_in_words(own))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def count_verdicts(part):
    """Return the counts of a row of `summarise` from its rows of `compare_directions`."""
    verdicts = {
        verdict.replace("-", "_").replace(" ", "_"): int((part["verdict"] == verdict).sum()) for verdict in VERDICTS.values()
    }
    return {
        "targets": " ".join(part["target"].unique()),
        "pairs": part["sign_attack"].nunique(),
        "strengths": part["strength"].nunique(),
        "models": part["target"].nunique(),
        "comparisons": len(part),
        **verdicts,
        "films": part["films"].iloc[0],
        "holm_over": part["comparisons"].iloc[0],
        "counted": part["counted"].iloc[0],
    }


def strengths_in_words(part):
    """Name the strengths at which no-sign is better, such as " (0.001 to 0.006)", where each was compared once."""
    run = sorted(part["strength"])
    better = sorted(part.loc[part["verdict"] == VERDICTS[1], "strength"])
    if not better or len(set(run)) < len(run):
        return ""
    first = run.index(better[0])
    if len(better) > 2 and better == run[first : first + len(better)]:
        return f" ({better[0]:g} to {better[-1]:g})"
    return f" ({', '.join(f'{strength:g}' for strength in better)})"


def comparison_sentence(row, named):
    """Return a row of `summarise` in words.

    Args:
        row: dict of the row's other columns.
        named: what `strengths_in_words` returned.
    """
    targets = row["targets"].split()
    box = f"white-box ({row['source']})" if row["white_box"] else f"transfer from {row['source']} to {joined(targets)}"
    of = plural(row["comparisons"], "strength")
    if row["strengths"] < row["comparisons"]:
        parts = [
            plural(row[name], word)
            for name, word in (("pairs", "pair"), ("strengths", "strength"), ("models", "model"))
            if row[name] > 1
        ]
        of = f"{plural(row['comparisons'], 'comparison')} ({joined(parts)})"
    more, less = (
        ("left fewer films right", "more") if row["counted"] == "right" else (f"had more films {row['counted']}", "fewer")
    )
    return (
        f"Condition '{row['condition']}', {row['attacks']} attacks, {box}: of {of} no-sign {more} at "
        f"{row['no_sign_better']}{named}, {less} at {row['sign_better']}, and at {row['not_told_apart']} the two "
        f"cannot be told apart (exact McNemar, Holm over {plural(row['holm_over'], 'comparison')}, "
        f"{plural(row['films'], 'film')})."
    )


def comparison_table(comparison, films_are="test films"):
    """Build the table of the tests of sign against no-sign under one source and condition.

    Args:
        comparison: rows of `statistics.compare_directions` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.

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
