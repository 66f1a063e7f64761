"""What the counts allow to be said: intervals, sign against no-sign on the same films, confused classes, spread over runs.

The formulas are those of statsmodels; it is imported where it is used, because that takes a second.
"""

import numpy as np
import pandas as pd

from nosign.attacks import ATTACKS, PAIRS, Condition
from nosign.dataset import CLASSES

ALPHA = 0.05  # level of the tests after Holm's correction; the intervals cover 1 - ALPHA
VERDICTS = {1: "no-sign better", -1: "sign better", 0: "not told apart"}
CLEAN = "clean"  # stands for the attack where there is none
ASKED_CLASS = "COVID-19"  # what does it turn into?
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


def wilson_percent(counts, totals):
    """Return the 95 % intervals of shares by Wilson (1927, doi:10.1080/01621459.1927.10502953).

    Args:
        counts, totals: int [n], or numbers; counts are at most totals.

    Returns:
        (low, high), float64 [n] in per cent, NaN where a total is 0.
    """
    from statsmodels.stats.proportion import proportion_confint

    totals = np.where(np.asarray(totals) > 0, totals, np.nan)
    low, high = proportion_confint(np.asarray(counts, float), totals, alpha=ALPHA, method="wilson")
    return np.clip(100 * low, 0, 100), np.clip(100 * high, 0, 100)  # rounding goes below 0 for a count of 0


def mcnemar_p(only_first, only_second):
    """Return the two-sided p of McNemar's exact test (1947, doi:10.1007/BF02295996).

    Args:
        only_first, only_second: films with the first, or the second, of two yes/no results only. Films with both or
            with neither do not enter the exact test.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def paired_interval(only_first, only_second, films):
    """Return the 95 % interval of the difference of two shares on the same films, second minus first.

    Wald's interval after half a film is added to each of the four counts (Agresti and Min, 2005, doi:10.1002/sim.1781).

    Args:
        only_first, only_second: films with the one, or the other, of two yes/no results only.
        films: all of them.

    Returns:
        (low, high) in points.
    """
    from scipy.stats import norm

    difference, discordant, total = only_second - only_first, only_first + only_second + 1, films + 2
    reach = norm.ppf(1 - ALPHA / 2) * np.sqrt(discordant - difference**2 / total)
    return 100 * (difference - reach) / total, 100 * (difference + reach) / total


def compare_hits(first, second, names):
    """Compare two yes/no results on the same films.

    Args:
        first, second: bool arrays [films].
        names: of the two.

    Returns:
        Dict: only_<name> (films with this result only), difference_points (second minus first) with its interval,
        ci_low_points and ci_high_points, and p (`mcnemar_p`); NaN where there are no films.
    """
    films, only = len(first), (int((first & ~second).sum()), int((second & ~first).sum()))
    low, high = paired_interval(*only, films) if films else (np.nan, np.nan)
    return {
        **{f"only_{name}": count for name, count in zip(names, only)},
        "difference_points": 100 * (only[1] - only[0]) / films if films else np.nan,
        "ci_low_points": low,
        "ci_high_points": high,
        "p": mcnemar_p(*only),
    }


def holm(p):
    """Return p values [n] after Holm's correction (1979, jstor.org/stable/4615733) for n tests."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, alpha=ALPHA, method="holm")[1]


def kind(attack):
    """Return "iterative" or "single-step", the word for an attack's table."""
    return "iterative" if ATTACKS[attack].iterative else "single-step"


def compare_directions(sweep):
    """Test at each strength and target whether sign and no-sign differ on the same films.

    Untargeted attacks are compared by the films that stay right, of all films; targeted ones by the films that reach
    the target, of those of other classes.

    Args:
        sweep: list of `nosign.records.CellFilms`.

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


def gain_of(difference, aimed):
    """Return by how much no-sign is the better attack: it leaves fewer films right, and takes more films to a target.

    Args:
        difference: of films right or taken for the aim, or their shares, no-sign minus sign.
        aimed: bool, whether attacks aim at a class; one or one an entry.
    """
    return difference * np.where(aimed, 1, -1)


def verdicts_of(gain, holm_p):
    """Return the verdict, one of `VERDICTS`, on each gain of `gain_of`, a series, by its p after Holm's correction."""
    return np.sign(gain).where(holm_p < ALPHA, 0).astype(int).map(VERDICTS)


def with_verdicts(frame, aim):
    """Return tests of sign against no-sign with holm_p, over the frame, and verdict, one of `VERDICTS`.

    Args:
        frame: has p and difference_points, no-sign minus sign, of films right or taken for the aim.
        aim: class that the attacks aim at, None for none.
    """
    holm_p = holm(frame["p"])
    return frame.assign(holm_p=holm_p, verdict=verdicts_of(gain_of(frame["difference_points"], aim is not None), holm_p))


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


def plural(number, word):
    """Return a number and what it counts, such as "1 film" or "2 films"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def joined(words):
    """Return words as a list in prose: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def count_confusion(sweep, clean):
    """Count how often each class is taken for each, on the clean films and under every attack.

    Args:
        sweep: list of `nosign.records.CellFilms`.
        clean: what `nosign.records.read_clean` returned.

    Returns:
        Frame: source, condition, attack (`CLEAN` for none, with strength 0), strength, target, white_box, true_class,
        predicted_class, films. The clean films' rows open each source and condition.
    """
    parts = []
    for cell in sweep:
        same = (cell.source, cell.condition)
        if not parts or same != parts[-1][0][:2]:
            parts += [((*same, CLEAN, 0.0, target), clean[target]) for target in clean.columns.drop(["film", "label"])]
        parts += [((*same, cell.attack, cell.strength, target), cell.films[target]) for target in cell.targets]
    size, labels = len(CLASSES), clean["label"].to_numpy(int)
    counts = [np.bincount(labels * size + seen.to_numpy(int), minlength=size * size) for _, seen in parts]
    keys = pd.DataFrame([key for key, _ in parts], columns=["source", "condition", "attack", "strength", "target"])
    frame = keys.assign(white_box=keys["source"] == keys["target"]).loc[keys.index.repeat(size * size)]
    return frame.reset_index(drop=True).assign(
        true_class=np.tile(np.repeat(CLASSES, size), len(parts)),
        predicted_class=np.tile(CLASSES, size * len(parts)),
        films=np.concatenate(counts),
    )


def at_largest_strength(confusion):
    """Return the rows of `count_confusion` of each attack's largest strength, the clean films' rows among them."""
    largest = confusion.groupby(["source", "condition", "attack"])["strength"].transform("max")
    return confusion[confusion["strength"] == largest]


def turned_sentences(confusion):
    """Say for each attack, white-box at its largest strength, what the films of `ASKED_CLASS` are taken for.

    Args:
        confusion: what `count_confusion` returned.

    Returns:
        List of str.
    """
    own = at_largest_strength(confusion[confusion["white_box"] & (confusion["true_class"] == ASKED_CLASS)])
    sentences, before = [], {}
    for (source, condition, attack, strength), part in own.groupby(["source", "condition", "attack", "strength"], sort=False):
        seen = part.set_index("predicted_class")["films"]
        if attack == CLEAN:
            before[source, condition] = seen[ASKED_CLASS]
            continue
        others = joined([f"{number} for {name}" for name, number in seen.drop(ASKED_CLASS).items()])
        sentences.append(
            f"Condition '{condition}', {ATTACKS[attack].title} at {strength:g}, white-box: of "
            f"{plural(seen.sum(), f'{ASKED_CLASS} film')} {source} recognises {before[source, condition]} before the attack "
            f"and {seen[ASKED_CLASS]} after it; it then takes {others}."
        )
    return sentences


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
