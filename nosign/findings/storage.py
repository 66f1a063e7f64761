"""What storing adversarial films leaves of the attacks: rounding to fewer bits, and JPEG."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import ACCURACY, FinishedSweep, Run, twins
from nosign.measures.storage import STORAGES
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH, add_legend, attack_style, draw_band, finish_panel
from nosign.output.table import Table, numbers, words
from nosign.output.words import INTERVALS, joined, percent
from nosign.rows import CLEAN_STORED, STORED, models_in, ordered, read_by_word

HEADING = "What storing leaves"
STORED_PER_ROW = 3
SHARE_INTERVAL = ("ci_low_share_percent", "ci_high_share_percent")


def describe(run: Run) -> Finding:
    """Return what storing leaves of each sweep's white-box attacks, and what it does to films before any attack."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        stored = count_stored(sweep)
        if stored.empty or not (stored["target"] == sweep.source).any():
            continue
        tables.append(storing_table(sweep, stored))
        caption = f"Share of the films turned white-box that are still turned after storing; {sweep.described}."
        alt = "One panel per strength: share that survives by way of storing, one line per attack."
        drawings.append(Drawing("storing" + sweep.suffix, HEADING, caption, alt, draw_storing(sweep, stored), sweep.name))
        sentences += storing_sentences(sweep, stored)
    clean = count_stored_clean(run.results, run.sweeps[0]) if run.sweeps else None
    if clean is not None:
        tables.append(stored_clean_table(clean, run.films_are))
    return Finding("storage", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def count_stored(sweep: FinishedSweep) -> pd.DataFrame:
    """Count what storing leaves of the attacks.

    Returns:
        Frame, one row per cell, storage and target, no rows if nothing was stored:
            source, condition, attack, strength, storage, target, films
            correct, accuracy_percent             films right after storing, with its 95 % interval; with an aim
            (reached, attackable, success_...)    films taken for it
            turned, surviving, share_percent      films that the attack turned, and those still turned after storing
            turned_by_both, surviving_of_both     the same of the films that the other attack of the pair turns too; NaN
                                                  where it was not stored at this strength

    Raises:
        UserError: a file of predictions after storing is malformed.
    """
    found = {
        cell: read_by_word(path.with_suffix(STORED), "storage", (), sweep.clean)
        for cell, path in sweep.paths.items()
        if path.with_suffix(STORED).exists()
    }
    twin_of = {one: other for pair in twins(found) for one, other in (pair, pair[::-1])}
    rows = []
    for (attack, strength), storages in found.items():
        cell, twin = sweep.cells[attack, strength], sweep.cells.get(twin_of.get((attack, strength), ("", 0.0)), ())
        for storage, stored in storages.items():
            for target in (target for target in sweep.targets if target in stored and target in cell):
                turned = sweep.turned(target, cell[target])
                surviving = turned & sweep.turned(target, stored[target])
                both = turned & sweep.turned(target, twin[target]) if target in twin else None
                rows.append(
                    {
                        **sweep.keys,
                        "attack": attack,
                        "strength": strength,
                        "storage": storage,
                        "target": target,
                        "films": len(stored),
                        **sweep.effect_of(stored[target]),
                        "turned": int(turned.sum()),
                        "surviving": int(surviving.sum()),
                        **dict(zip(("share_percent", *SHARE_INTERVAL), sweep.patients.share(surviving, turned))),
                        "turned_by_both": np.nan if both is None else int(both.sum()),
                        "surviving_of_both": np.nan if both is None else int((both & surviving).sum()),
                    }
                )
    return pd.DataFrame(rows)


def count_stored_clean(results: Path, sweep: FinishedSweep) -> pd.DataFrame | None:
    """Count what storing alone does to clean films; any sweep of the results folder will do.

    Returns:
        Frame, one row per target and storage; None if it is not on record:
            target, storage, films
            right_before, correct, fallen     films right before, right after, and right before but wrong after
            accuracy_percent                  after storing, with its 95 % interval

    Raises:
        UserError: the file is malformed.
    """
    path = results / CLEAN_STORED
    if not path.exists():
        return None
    rows, clean = [], sweep.clean
    for storage, stored in read_by_word(path, "storage", (), clean).items():
        for target in models_in(stored.columns, clean):
            before, after = clean[target] == clean["label"], stored[target] == clean["label"]
            rows.append(
                {
                    "target": target,
                    "storage": storage,
                    "films": len(clean),
                    "right_before": int(before.sum()),
                    "correct": int(after.sum()),
                    "fallen": int((before & ~after).sum()),
                    **dict(zip(("accuracy_percent", *ACCURACY), sweep.patients.share(after))),
                }
            )
    return pd.DataFrame(rows)


def stored_clean_table(stored: pd.DataFrame, films_are: str) -> Table:
    """Build the table of what storing alone does to films before any attack."""
    storages = storages_in(stored)
    rows = []
    for target, part in stored.groupby("target", sort=False):
        counts = part.set_index("storage").loc[storages, ["correct", "fallen"]].to_numpy().ravel()
        rows.append([target, str(part["right_before"].iloc[0]), *map(str, counts)])
    by_storage = [column for storage in storages for column in numbers("right", "fallen", group=storage)]
    caption = (
        f"What storing alone does to the {stored['films'].iloc[0]} {films_are}: films that a model gets right before and "
        "after storing, and how many of the former it gets wrong then. The control for what storing leaves of the "
        "attacks."
    )
    columns = (*words("Model"), *numbers("Right before"), *by_storage)
    return Table("storing-clean", "Storing clean films", caption, stored, columns, rows)


def storing_table(sweep: FinishedSweep, stored: pd.DataFrame) -> Table:
    """Build the table of what storing leaves of the white-box attacks; the frame holds all targets."""
    own = stored[stored["target"] == sweep.source]
    storages = storages_in(stored)
    rows = []
    for (attack, strength), part in own.groupby(["attack", "strength"], sort=False):
        shares = part.set_index("storage")["share_percent"]
        first = [ATTACKS[attack].title, f"{strength:g}", str(part["turned"].iloc[0])]
        rows.append([*first, *(percent(shares.get(storage)) for storage in storages)])
    columns = (*words("Attack"), *numbers("Strength", "Turned"), *numbers(*storages, group="Still turned (%) after"))
    turned = f"newly taken for {sweep.aim}" if sweep.aim else "right before it, wrong after it"
    caption = (
        f"What storing leaves of the attacks: the films that an attack turned for {sweep.source} ({turned}), and the "
        f"share of them that is still turned after the film was stored; {sweep.described}. {INTERVALS} stand in the "
        "CSV file."
    )
    return Table("storing" + sweep.suffix, "Storing", caption, stored, columns, rows, None, sweep.name)


def storages_in(stored: pd.DataFrame) -> list[str]:
    """Return the storages on record, more bits before fewer and JPEG last."""
    bits = [name for name in STORAGES if name.endswith("bits")]
    gentlest_first = sorted(bits, key=lambda name: -int(name.split()[0])) + [name for name in STORAGES if name not in bits]
    return ordered(stored["storage"], gentlest_first)


@matplotlib.rc_context(STYLE)
def draw_storing(sweep: FinishedSweep, stored: pd.DataFrame) -> Figure:
    """Draw the share of the white-box attacks' successes that survives storing, a panel a strength."""
    stored, storages = stored[stored["target"] == sweep.source], storages_in(stored)
    strengths = sorted(stored["strength"].unique())
    rows = -(-len(strengths) // STORED_PER_ROW)
    columns = -(-len(strengths) // rows)
    figure = Figure(figsize=(WIDTH, 0.8 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, strength in zip(panels, strengths):
        part = stored[stored["strength"] == strength]
        for name in ordered(part["attack"], ATTACKS):
            found = part[part["attack"] == name].set_index("storage").reindex(storages)
            axes.plot(range(len(storages)), found["share_percent"], clip_on=False, **attack_style(name))
            draw_band(axes, range(len(storages)), found[SHARE_INTERVAL[0]], found[SHARE_INTERVAL[1]], name)
        axes.set_title(f"strength {strength:g}")
        axes.set_xticks(range(len(storages)), storages, rotation=40, ha="right", rotation_mode="anchor")
        finish_panel(axes)
    for axes in panels[len(strengths) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(strengths) - columns) : len(strengths)]:
        axes.tick_params(labelbottom=True)  # also where the row below is not full
    panels[0].set(ylim=(0, 105), yticks=range(0, 101, 20))
    add_legend(figure, stored["attack"])
    figure.supylabel("successes that survive storing (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel(f"{sweep.described}; bands: 95 % intervals", fontsize=SMALL_POINTS)
    return figure


def storing_sentences(sweep: FinishedSweep, stored: pd.DataFrame) -> list[Sentence]:
    """Return the sentence on what storing leaves of sign and no-sign attacks, over the strengths at which both were stored."""
    own = stored[stored["target"] == sweep.source].set_index(["attack", "strength"]).sort_index()
    pairs = list(twins(own.index.unique()))
    if not pairs:
        return []
    counts = ["turned", "turned_by_both", "surviving", "surviving_of_both"]
    sums = {
        storage: [
            own[own["storage"] == storage].loc[[pair[place] for pair in pairs], counts].sum().astype(int) for place in (0, 1)
        ]
        for storage in storages_in(own)
    }
    left = {
        storage: " and ".join(" / ".join(str(found[count]) for found in both) for count in counts[2:])
        for storage, both in sums.items()
    }
    told = [f"{words} after {joined(list(storages))}" for words, storages in groupby(left, key=left.get)]
    sign, no_sign = sums[next(iter(sums))]
    text = (
        f"{sweep.heading}: of the {sign['turned']} / {no_sign['turned']} films that sign / no-sign attacks turned, and of "
        f"the {sign['turned_by_both']} that both turned, so many are still turned after storing: {joined(told)} (all stored "
        "strengths at which both ran, added up)."
    )
    return [Sentence(text, sweep.name)]
