"""Classes and collections: what films of each class and collection turn into, and how well models tell them apart before."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import logsumexp

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.finished import ACCURACY, FinishedSweep, Run
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import CLASS_COLOURS, CLASS_HATCHES, SMALL_POINTS, STYLE, WIDTH, hide_empty
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, interval, intervals_over, joined, stratum_title
from nosign.rows import CleanFilms
from nosign.statistics.auc import auc
from nosign.statistics.intervals import in_columns
from nosign.statistics.patients import Patients

HEADING = "Classes and collections"
POSITIVE = "COVID-19"  # against all others, for the AUC
INTO = {name: f"into_{name}" for name in CLASSES}  # columns: films that were turned into each class
STRATUM = ["class", "collection"]
LAID_OUT = 2  # attacks in the grid; more would not fit on a page
TOLD = 10  # films of a class and collection that each attack has to turn before a sentence says into what
RULE = "the smallest strength that turns half of the films, or else where it turns most"


def describe(run: Run) -> Finding:
    """Return what films turn into by class and collection, of each untargeted sweep, and the AUC before the attacks."""
    if run.films is None or run.patients is None:
        return Finding("by_collection", HEADING)
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        turned = count_turned(sweep, run.of(run.counts, sweep))
        if not turned.empty:
            tables.append(turned_table(sweep, turned))
            drawings.append(turned_drawing(sweep, turned))
            sentences += turned_sentences(sweep, turned)
    areas = measure_auc(run.films, run.patients)
    if not areas.empty:
        tables.append(auc_table(areas, f"{len(run.films.predictions)} {run.films_are}", run.patients.draws))
        sentences.append(auc_sentence(areas))
    return Finding("by_collection", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def half_turning(counts: pd.DataFrame) -> dict[str, float]:
    """Return for each attack, controls left out, the strength at which it is asked what films turn into: see `RULE`.

    Args:
        counts: a sweep's rows of `Run.counts`; the white-box ones are looked at.
    """
    is_control = counts["attack"].map(lambda name: bool(ATTACKS[name].control))
    own = counts[counts["white_box"] & ~is_control & (counts["strength"] > 0) & (counts["can_turn"] > 0)]
    chosen = {}
    for attack, part in own.sort_values("strength", kind="stable").groupby("attack", sort=False):
        half = 2 * part["turned"] >= part["can_turn"]
        chosen[attack] = part.loc[half.idxmax() if half.any() else part["turned"].idxmax(), "strength"]
    return {attack: chosen[attack] for attack in ATTACKS if attack in chosen}


def count_turned(sweep: FinishedSweep, counts: pd.DataFrame) -> pd.DataFrame:
    """Count by class and collection what an untargeted sweep's films turn into, white-box.

    Args:
        counts: the sweep's rows of `Run.counts`.

    Returns:
        Frame, one row per attack, class and collection, no rows for a targeted sweep:
            source, condition, attack, strength                the strength by `RULE`
            class, collection, films
            right_before, accuracy_percent                     before the attack; with its 95 % interval
            turned                                             of these, wrong after it
            into_<class>                                       of these, taken for each class
    """
    if sweep.aim or sweep.source not in sweep.targets:
        return pd.DataFrame()
    found = []
    for attack, strength in half_turning(counts).items():
        seen = sweep.cells[attack, strength][sweep.source].to_numpy()
        turned = sweep.turned(sweep.source, seen)
        for own, before in strata(sweep):
            into = np.bincount(seen[own & turned].astype(int), minlength=len(CLASSES))
            after = {"turned": int((own & turned).sum())} | dict(zip(INTO.values(), into.tolist()))
            found.append({**sweep.keys, "attack": attack, "strength": strength, **before, **after})
    return pd.DataFrame(found)


def strata(sweep: FinishedSweep) -> list[tuple[np.ndarray, dict]]:
    """Return which films each class and collection has, bool [films], with their columns of `count_turned`."""
    right, found = sweep.clean[sweep.source].to_numpy() == sweep.labels, []
    for name, collection, own in sweep.strata():
        counts = {"films": int(own.sum()), "right_before": int((own & right).sum())}
        accuracy = dict(zip(("accuracy_percent", *ACCURACY), sweep.patients.share(right, own)))
        found.append((own, {"class": name, "collection": collection, **counts, **accuracy}))
    return found


def turned_table(sweep: FinishedSweep, turned: pd.DataFrame) -> Table:
    """Build the table of what films turn into; the first attacks are laid out.

    Args:
        turned: frame of `count_turned`.
    """
    attacks = dict(turned[["attack", "strength"]].drop_duplicates().head(LAID_OUT).itertuples(index=False))
    rows = []
    for (name, collection), part in turned.groupby(STRATUM, sort=False):
        first, of_attack = part.iloc[0], part.set_index("attack")
        counts = of_attack.loc[list(attacks), ["turned", *INTO.values()]].to_numpy()
        accuracy = (f"{first['accuracy_percent']:.1f}", interval(*first[list(ACCURACY)]))
        known = (name, collection or MISSING, str(first["films"]), str(first["right_before"]))
        rows.append([*known, *accuracy, *map(str, counts.ravel())])
    columns = (
        *words("Class", "Collection"),
        *numbers("Films"),
        *numbers("right", "%", "95 % interval", group="Before"),
        *(
            column
            for attack, strength in attacks.items()
            for column in numbers("turned", *(f"to {name}" for name in CLASSES), group=f"{ATTACKS[attack].title} {strength:g}")
        ),
    )
    caption = (
        f"What films that {sweep.source} has right turn into, by class and collection, white-box; each attack at {RULE}. "
        f"{sweep.described[0].upper()}{sweep.described[1:]}. The CSV file holds all attacks."
    )
    return Table("collections" + sweep.suffix, HEADING, caption, turned, columns, rows, None, sweep.name)


def turned_sentences(sweep: FinishedSweep, turned: pd.DataFrame) -> list[Sentence]:
    """Say in one sentence into which class films of each class and collection turn most often, where enough of them turn.

    Args:
        turned: frame of `count_turned`.
    """
    told = []
    for stratum, part in turned.groupby(STRATUM, sort=False):
        if part["turned"].min() < TOLD:
            continue
        most = part[list(INTO.values())].sum().idxmax()
        shares = 100 * part[most] / part["turned"]
        span = " to ".join(dict.fromkeys((f"{shares.min():.0f}", f"{shares.max():.0f}")))
        told.append(f"{stratum_title(*stratum)} to {most.removeprefix('into_')} ({span} %)")
    if not told:
        return []
    text = (
        f"{sweep.heading}, white-box, each attack at {RULE}: of those that turn, most go from {joined(told)} (shares of the "
        "films turned, over the attacks)."
    )
    return [Sentence(text, sweep.name)]


def turned_drawing(sweep: FinishedSweep, turned: pd.DataFrame) -> Drawing:
    """Return the figure of what films turn into, with what is said of it."""
    caption = (
        f"What becomes of the films that {sweep.source} has right, by class and collection (in brackets how many), each "
        f"attack at {RULE}, white-box; {sweep.described}."
    )
    alt = "Stacked bars, one per class and collection: films still right, and films taken for each other class."
    return Drawing("collections" + sweep.suffix, HEADING, caption, alt, draw_turned(turned), sweep.name)


@matplotlib.rc_context(STYLE)
def draw_turned(turned: pd.DataFrame) -> Figure:
    """Draw a panel for each attack, with a bar for each class and collection that has films right before.

    Args:
        turned: frame of `count_turned`.
    """
    shown = turned[turned["right_before"] > 0]
    panels = list(shown.groupby(["attack", "strength"], sort=False))
    bars = shown[STRATUM].drop_duplicates().shape[0]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + lines * (0.45 + 0.17 * bars)), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, ((attack, strength), part) in zip(grid, panels):
        places, left = np.arange(len(part)), np.zeros(len(part))
        parts = {"still right": part["right_before"] - part["turned"]} | {name: part[INTO[name]] for name in CLASSES}
        for label, films in parts.items():
            width = (100 * films / part["right_before"]).to_numpy()
            look = {"color": CLASS_COLOURS.get(label, "#DDDDDD"), "hatch": CLASS_HATCHES.get(label), "edgecolor": "white"}
            axes.barh(places, width, left=left, height=0.75, label=label, linewidth=0, **look)
            left += width
        titles = [f"{stratum_title(row['class'], row['collection'])} ({row['right_before']})" for _, row in part.iterrows()]
        axes.set_yticks(places, titles)
        axes.set_title(f"{ATTACKS[attack].title} {strength:g}")
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlim(0, 100)
    grid[0].invert_yaxis()
    hide_empty(grid, len(panels), columns)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=1 + len(CLASSES), frameon=False)
    figure.supxlabel(
        "% of the films that were right before the attack, by what they are taken for after it", fontsize=SMALL_POINTS
    )
    return figure


def film_sets(labels: np.ndarray, collections: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the sets of films on which `POSITIVE` is told from the others: a name, and which films they are, bool [films].

    All; those of `POSITIVE` with the others of one collection, for each that has others; and each collection by itself that has
    both kinds. Where a class is one collection's, only the smaller sets tell the class from the collection.
    """
    positive = labels == CLASSES.index(POSITIVE)
    yield "all films", np.ones(len(labels), bool)
    for collection in np.unique(collections[~positive]):
        own = collections == collection
        if (own | positive).all():
            continue
        yield f"{POSITIVE} against others of {collection}", own | positive
        if (own & positive).any():
            yield f"{collection} alone", own


def measure_auc(films: CleanFilms, patients: Patients) -> pd.DataFrame:
    """Measure how well each model tells `POSITIVE` from the other classes before the attacks, one against the rest.

    The score is the log-odds of `POSITIVE`: its logit minus the logsumexp of the others.

    Returns:
        Frame, one row per model and set of `film_sets`, no rows where no logits are on record:
            target, set
            positive, negative, patients         films of either kind, and whose they are
            auc, auc_low, auc_high               with the 95 % interval over draws of patients
    """
    labels, found = films.predictions["label"].to_numpy(), []
    positive = labels == CLASSES.index(POSITIVE)
    for model, logits in films.logits.items():
        scores = log_odds(logits.astype(float))
        for name, own in film_sets(labels, films.collections):
            counts = {"positive": int((own & positive).sum()), "negative": int((own & ~positive).sum())}
            area = in_columns({"auc": auc(patients, scores, positive, own)})
            found.append({"target": model, "set": name, **counts, "patients": len(np.unique(patients.of_film[own])), **area})
    return pd.DataFrame(found)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return the log-odds of `POSITIVE`, float [films], from logits [films, classes]."""
    place = CLASSES.index(POSITIVE)
    return logits[:, place] - logsumexp(np.delete(logits, place, axis=1), axis=1)


def auc_table(areas: pd.DataFrame, films: str, draws: int) -> Table:
    """Build the table of AUCs.

    Args:
        areas: frame of `measure_auc`.
        films: how many films there are, and what they are.
        draws: of patients.
    """
    rows = [
        [
            *(row.target, row.set, str(row.positive), str(row.negative), str(row.patients), f"{row.auc:.3f}"),
            MISSING if np.isnan(row.auc_low) else f"{row.auc_low:.3f}\N{EN DASH}{row.auc_high:.3f}",
        ]
        for row in areas.itertuples()
    ]
    columns = (*words("Model", "Films"), *numbers(POSITIVE, "others", "patients", "AUC", "95 % interval"))
    caption = (
        f"Area under the ROC curve, {POSITIVE} against the rest, before the attacks, on {films} and on parts of them: all "
        f"films of {POSITIVE} against the other films of one collection, and collections by themselves that hold both. The "
        f"score is the logit of {POSITIVE} minus the logsumexp of the others; {intervals_over(draws)}."
    )
    return Table("auc", "AUC before the attacks", caption, areas, columns, rows)


def auc_sentence(areas: pd.DataFrame) -> Sentence:
    """Say each model's AUC on all films, and on the set of films where it is lowest.

    Args:
        areas: frame of `measure_auc`.
    """
    told = []
    for model, part in areas.groupby("target", sort=False):
        whole, least = part.iloc[0], part.loc[part["auc"].idxmin()]
        lowest = f", at the least {least['auc']:.3f} ({least['set']})" if least["auc"] < whole["auc"] else ""
        told.append(f"{model} {whole['auc']:.3f} ({whole['set']}){lowest}")
    return Sentence(f"AUC before the attacks, {POSITIVE} against the rest: {'; '.join(told)}.")
