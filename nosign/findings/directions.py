"""Sign against no-sign on the same films, at every strength and target."""

from __future__ import annotations

import pandas as pd

from nosign.finished import FAMILY, FinishedSweep, Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import SweepName, Table, bold_last, numbers, words
from nosign.output.words import joined, p_value, pair_title, plural, quantity, signed, span, starred, tested
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import ALPHA

HEADING = "Sign against no-sign"
SUMMARY_COLUMNS = (
    *FAMILY,
    *("attacks", "white_box", "targets", "pairs", "strengths", "models", "comparisons", "no_sign_better", "sign_better"),
    *("not_told_apart", "films", "holm_over", "counted", "sentence"),
)


def describe(run: Run) -> Finding:
    """Return the tests at every strength and target, and what they say in words."""
    made = [comparison_table(sweep, run.of(run.comparisons, sweep), run.films_are) for sweep in run.sweeps]
    tables = tuple(table for table in made if table is not None)
    sentences = []
    for row in summarise(run.comparisons).to_dict("records") if tables else ():
        sweep = SweepName(row["source"], row["condition"])
        sentences += [Sentence(short_sentence(row), sweep, answer=row["white_box"]), Sentence(row["sentence"], sweep)]
    return Finding("directions", HEADING, tables, (), tuple(sentences))


def summarise(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts of each source, condition and kind of attack, white-box and transfer apart.

    Args:
        comparisons: `Run.comparisons`.

    Returns:
        Frame, one row per sentence:
            source, condition, question, attacks, white_box
            targets                                   names joined by a space
            pairs, strengths, models                  how many of each
            comparisons, no_sign_better, sign_better, not_told_apart
            films, holm_over                          films of each comparison; tests in Holm's correction
            counted, sentence
    """
    rows = []
    keys = [*FAMILY, "attacks", "white_box"]
    for names, part in comparisons.groupby(keys, sort=False):
        rows.append({**dict(zip(keys, names)), **count_verdicts(part)})
        rows[-1]["sentence"] = comparison_sentence(rows[-1], strengths_in_words(part))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def count_verdicts(part: pd.DataFrame) -> dict:
    """Return the counts of a row of `summarise` from its rows of `Run.comparisons`."""
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


def strengths_in_words(part: pd.DataFrame) -> str:
    """Name the strengths at which no-sign is better, such as " (0.001 to 0.006)", where each was compared once."""
    run = sorted(part["strength"])
    better = sorted(part.loc[part["verdict"] == VERDICTS[1], "strength"])
    if not better or len(set(run)) < len(run):
        return ""
    first = run.index(better[0])
    if len(better) > 2 and better == run[first : first + len(better)]:
        return f" ({better[0]:g} to {better[-1]:g})"
    return f" ({', '.join(f'{strength:g}' for strength in better)})"


def comparison_sentence(row: dict, named: str) -> str:
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
        f"cannot be told apart ({tested(row['holm_over'])}, {plural(row['films'], 'film')})."
    )


def short_sentence(row: dict) -> str:
    """Return a row of `summarise` in one short line, for the answer that opens the report."""
    box = f"on {row['source']} itself" if row["white_box"] else f"transferred from {row['source']}"
    counted = "fewer films right" if row["counted"] == "right" else f"more films {row['counted']}"
    return (
        f"At equal strength, {row['attacks']} attacks {box}: no-sign leaves {counted} in {row['no_sign_better']} of "
        f"{plural(row['comparisons'], 'comparison')}, sign in {row['sign_better']}; {row['not_told_apart']} cannot be told "
        "apart."
    )


def comparison_table(sweep: FinishedSweep, comparisons: pd.DataFrame, films_are: str) -> Table | None:
    """Build the table of the tests of sign against no-sign of one sweep; None if there is nothing to compare.

    Args:
        comparisons: the sweep's rows of `Run.comparisons`.
    """
    if comparisons.empty:
        return None
    rows = [
        [
            *(pair_title(row), f"{row.strength:g}", starred(row.target, sweep.source), f"{row.films}", f"{row.sign_films}"),
            *(f"{row.no_sign_films}", f"{row.only_sign}", f"{row.only_no_sign}", signed(row.difference_points)),
            *(span(row.ci_low_points, row.ci_high_points), p_value(row.p), p_value(row.holm_p)),
            *(quantity(row.least_points, "") if row.verdict == VERDICTS[0] else "", row.verdict),
        ]
        for row in comparisons.itertuples()
    ]
    counted = comparisons["counted"].iloc[0]
    columns = (
        *words("Pair"),
        *numbers("Strength"),
        *words("Target"),
        *numbers("Films"),
        *numbers("sign", "no-sign", "only sign", "only no-sign", group=f"Films {counted} under"),
        *numbers("Difference", "95 % interval", "p", "Holm p", "Least told"),
        *words("Verdict"),
    )
    families = joined(
        [
            f"{question} ({size})"
            for question, size in comparisons.groupby("question", sort=False)["comparisons"].first().items()
        ]
    )
    changed = int((comparisons["verdict"] != comparisons["verdict_neighbours"]).sum())
    among = "films" if counted == "right" else "films of other classes"
    caption = (
        f"Paired on the same {films_are}, gradients from {sweep.source} (*: white-box), condition '{sweep.condition}': "
        f"{among} {counted} under each and under one of the two only; difference in points, "
        f"no-sign minus sign, with {sweep.intervals}; p of the exact test over all sign changes of the patients' sums, and "
        f"after Holm's correction over the tests of one question that could reject: {families}. Told apart: Holm p below "
        f"{ALPHA:g}; where not, the least difference in points that would have been told. Counting neighbours in number as one "
        f"patient changes {plural(changed, 'verdict')}."
    )
    bold = bold_last(rows, comparisons["verdict"] != VERDICTS[0])
    return Table("comparison" + sweep.suffix, HEADING, caption, comparisons, columns, rows, bold, sweep.name)
