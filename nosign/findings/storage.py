"""What storing adversarial films leaves of the attacks: rounding to fewer bits, and JPEG."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import ACCURACY, TURNING_COUNTS, FinishedSweep, Run, judged, twins
from nosign.measures.storage import EIGHT_BITS, STORAGES
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH, add_legend, attack_style, draw_band, finish_panel, hide_empty
from nosign.output.table import Table, bold_last, numbers, words
from nosign.output.words import MISSING, estimate, joined, p_value, pair_title, percent, plural, signed, span, tested
from nosign.rows import CLEAN_STORED, ROUNDED, models_in, ordered, read_by_word
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import in_columns
from nosign.statistics.paired import compare_hits

HEADING = "What storing leaves"
STORED_PER_ROW = 3
SHARE_INTERVAL = ("ci_low_share_percent", "ci_high_share_percent")
GENTLEST_FIRST = tuple(sorted(STORAGES, key=lambda name: (not name.endswith("bits"), -int("".join(filter(str.isdigit, name))))))
COMPARISON_COLUMNS = (
    *("source", "condition", "storage", "sign_attack", "no_sign_attack", "strength", "counted", "films", "sign_films"),
    *("no_sign_films", "only_sign", "only_no_sign", "patients", "difference_points", "ci_low_points", "ci_high_points", "p"),
)


def describe(run: Run) -> Finding:
    """Return what storing leaves of each sweep's white-box attacks, and what it does to films before any attack."""
    tables, drawings, sentences = [], [], []
    comparisons = compare_stored(run.sweeps)
    for sweep in run.sweeps:
        stored = count_stored(sweep)
        if not stored.empty and (stored["target"] == sweep.source).any():
            tables.append(storing_table(sweep, stored))
            caption = f"Share of the films turned white-box that are still turned after storing; {sweep.described}."
            alt = "One panel per strength: share that survives by way of storing, one line per attack."
            drawings.append(Drawing("storing" + sweep.suffix, HEADING, caption, alt, draw_storing(sweep, stored), sweep.name))
            sentences += storing_sentences(sweep, stored)
        if not (compared := run.of(comparisons, sweep)).empty:
            tables.append(comparison_table(sweep, compared))
            sentences.append(comparison_sentence(sweep, compared))
        if not (ratios := turning_ratios(sweep)).empty:
            tables.append(turning_table(sweep, ratios))
            sentences += turning_sentences(sweep, ratios)
    clean = count_stored_clean(run.results, run.sweeps[0]) if run.sweeps else None
    if clean is not None:
        tables.append(stored_clean_table(clean, run.films_are))
    return Finding("storage", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def seen_stored(sweep: FinishedSweep, cell: tuple[str, float]) -> dict[str, pd.DataFrame]:
    """Return the class that each model sees in a cell's films after each way of storing.

    Every cell has its films in 8 bits; the other ways are measured at some strengths.

    Returns:
        Dict from storage to a frame, one row per film, with one column per model.
    """
    films = sweep.cells[cell]
    rounded = {model: films[model + ROUNDED] for model in models_in(films, sweep.clean)}
    return {EIGHT_BITS: pd.DataFrame(rounded, copy=False)} | sweep.stored.get(cell, {})


def count_stored(sweep: FinishedSweep) -> pd.DataFrame:
    """Count what storing leaves of the attacks.

    Returns:
        Frame, one row per cell, storage and target, no rows if nothing was stored:
            source, condition, attack, strength, storage, target, films
            correct, accuracy_percent             films right after storing, with its 95 % interval; with an aim
            (reached, attackable, success_...)    films taken for it
            turned, surviving, share_percent      films that the attack turned, and those still turned after storing
            newly_turned                          films that only storing turned: right after the attack, wrong after storing
            turned_by_both, surviving_of_both     the same of the films that the other attack of the pair turns too; NaN
                                                  where it was not stored at this strength

    Raises:
        UserError: a file of predictions after storing is malformed.
    """
    twin_of = {one: other for pair in twins(sweep.stored) for one, other in (pair, pair[::-1])}
    rows = []
    for attack, strength in sweep.stored:
        cell, twin = sweep.cells[attack, strength], sweep.cells.get(twin_of.get((attack, strength), ("", 0.0)), ())
        for storage, stored in seen_stored(sweep, (attack, strength)).items():
            for target in (target for target in sweep.targets if target in stored and target in cell):
                turned = sweep.turned(target, cell[target])
                turned_stored = sweep.turned(target, stored[target])
                surviving = turned & turned_stored
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
                        "newly_turned": int((turned_stored & ~turned).sum()),
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
        newly = part.set_index("storage")["newly_turned"]
        still = [percent(shares.get(storage)) for storage in storages]
        rows.append([*first, *still, *(str(newly.get(storage, MISSING)) for storage in storages)])
    columns = (
        *words("Attack"),
        *numbers("Strength", "Turned"),
        *numbers(*storages, group="Still turned (%) after"),
        *numbers(*storages, group="Turned only by"),
    )
    turned = f"newly taken for {sweep.aim}" if sweep.aim else "right before it, wrong after it"
    caption = (
        f"What storing leaves of the attacks: the films that an attack turned for {sweep.source} ({turned}), and the "
        "share of them that is still turned after the film was stored; beside them the films that the attack did not turn and "
        f"storing its result did; {sweep.described}. {sweep.intervals} stand in the CSV file."
    )
    return Table("storing" + sweep.suffix, "Storing", caption, stored, columns, rows, None, sweep.name)


def storages_in(stored: pd.DataFrame) -> list[str]:
    """Return the storages on record, more bits before fewer and JPEG last."""
    return ordered(stored["storage"], GENTLEST_FIRST)


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
    hide_empty(panels, len(strengths), columns)
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


def compare_stored(sweeps: tuple[FinishedSweep, ...]) -> pd.DataFrame:
    """Test at each strength and after each way of storing whether sign and no-sign differ, white-box.

    Holm's correction runs over all of a source's attacks and ways of storing, coloured and grey together. Strength 0, which is
    no attack, is left out.

    Returns:
        Frame, one row per comparison:
            source, condition, storage
            sign_attack, no_sign_attack, strength
            counted                                              what is counted, in words
            films, sign_films, no_sign_films                     all, and those counted under each
            only_sign, only_no_sign, difference_points, ...      no-sign minus sign; see `compare_hits`
            comparisons, holm_p, least_points, verdict           see `nosign.finished.judged`
    """
    rows = []
    for sweep in sweeps:
        seen = {cell: seen_stored(sweep, cell) for cell in sweep.cells if cell[1] > 0}
        for storage in GENTLEST_FIRST:
            scored = {cell: by[storage][sweep.source] for cell, by in seen.items() if sweep.source in by.get(storage, ())}
            for sign, no_sign in twins(scored):
                row = compare_pair(sweep, storage, sign, no_sign, (scored[sign], scored[no_sign]))
                rows.append({"family": str(replace(sweep.condition, grey=False)), **row})
    frame = pd.DataFrame(rows, columns=["family", *COMPARISON_COLUMNS])
    gain = np.where(frame["counted"] == "right", -1, 1) * (frame["no_sign_films"] - frame["sign_films"])
    return judged(frame, gain, ["source", "family"]).drop(columns="family")


def compare_pair(
    sweep: FinishedSweep, storage: str, sign: tuple[str, float], no_sign: tuple[str, float], seen: tuple[pd.Series, pd.Series]
) -> dict:
    """Return a row of `compare_stored`, without Holm's correction; `seen` is what the source model sees under each."""
    hits = [sweep.hits(classes) for classes in seen]
    return {
        **sweep.keys,
        "storage": storage,
        "sign_attack": sign[0],
        "no_sign_attack": no_sign[0],
        "strength": sign[1],
        "counted": f"taken for {sweep.aim}" if sweep.aim else "right",
        "films": int(sweep.attackable.sum()),
        "sign_films": int(hits[0].sum()),
        "no_sign_films": int(hits[1].sum()),
        **compare_hits(sweep.patients, hits[0], hits[1], ("sign", "no_sign"), sweep.attackable),
    }


def comparison_table(sweep: FinishedSweep, comparisons: pd.DataFrame) -> Table:
    """Build the table of the tests of sign against no-sign after storing."""
    rows = [
        [
            *(row.storage, pair_title(row), f"{row.strength:g}", f"{row.sign_films}", f"{row.no_sign_films}"),
            *(f"{row.only_sign}", f"{row.only_no_sign}", signed(row.difference_points)),
            *(span(row.ci_low_points, row.ci_high_points), p_value(row.p), p_value(row.holm_p), row.verdict),
        ]
        for row in comparisons.itertuples()
    ]
    counted, films = comparisons[["counted", "films"]].iloc[0]
    columns = (
        *words("Stored as", "Pair"),
        *numbers("Strength"),
        *numbers("sign", "no-sign", "only sign", "only no-sign", group=f"Films {counted} under"),
        *numbers("Difference", "95 % interval", "p", "Holm p"),
        *words("Verdict"),
    )
    caption = (
        f"Sign against no-sign after storing, white-box, same {films} films: those {counted} under each and under one of "
        f"the two only; difference in points, no-sign minus sign, with {sweep.intervals}; "
        f"{tested(comparisons['comparisons'].iloc[0])} that could reject, coloured and grey together; {sweep.described}."
    )
    bold = bold_last(rows, comparisons["verdict"] != VERDICTS[0])
    title = "Sign against no-sign, stored"
    return Table("storing-comparison" + sweep.suffix, title, caption, comparisons, columns, rows, bold, sweep.name)


def comparison_sentence(sweep: FinishedSweep, comparisons: pd.DataFrame) -> Sentence:
    """Count the verdicts after each way of storing, in words."""
    counts = comparisons.groupby("storage", sort=False)["verdict"].value_counts().unstack(fill_value=0)
    told = [
        f"after {storage} no-sign is better in {row.get(VERDICTS[1], 0)} of {plural(row.sum(), 'comparison')} and sign in "
        f"{row.get(VERDICTS[-1], 0)}"
        for storage, row in counts.loc[storages_in(comparisons)].iterrows()
    ]
    return Sentence(f"{sweep.heading}: {'; '.join(told)}; the others cannot be told apart.", sweep.name)


def turning_ratios(sweep: FinishedSweep) -> pd.DataFrame:
    """Compare the change at which each stored film turns under sign and under no-sign, white-box.

    Returns:
        Frame, one row per pair, no rows where nothing is on record:
            source, condition, sign_attack, no_sign_attack
            films, both, only_sign, only_no_sign, neither, right_again     `TURNING_COUNTS` of the films in 8 bits
            l2_ratio                                          median of no-sign over sign of the films in 8 bits, with its 95 %
                                                              interval in `_low` and `_high`
            unrounded_l2_ratio                                the same of the films before rounding; NaN if not on record
    """
    rows = []
    for pair, target in sweep.turning_pairs(stored=True):
        known = all((attack, target) in sweep.turning for attack in pair)
        before = sweep.norm_ratio(*pair, target, "l2") if known else np.full(len(sweep.clean), np.nan)
        ratios = {"l2_ratio": sweep.norm_ratio(*pair, target, "l2", stored=True), "unrounded_l2_ratio": before}
        rows.append(
            {
                **sweep.keys,
                "sign_attack": pair[0],
                "no_sign_attack": pair[1],
                **sweep.count_turned(pair, target, stored=True),
                **in_columns({name: sweep.patients.median(ratio) for name, ratio in ratios.items()}),
            }
        )
    return pd.DataFrame(rows)


def turning_table(sweep: FinishedSweep, ratios: pd.DataFrame) -> Table:
    """Build the table of the ratios at which stored films turn."""
    rows = [
        [
            pair_title(row),
            *(str(getattr(row, name)) for name in TURNING_COUNTS),
            *estimate(row, "l2_ratio", 3),
            *estimate(row, "unrounded_l2_ratio", 3),
        ]
        for row in ratios.itertuples()
    ]
    columns = (
        *words("Pair"),
        *numbers("all", "both", "sign only", "no-sign only", "neither", group="Films in 8 bits turned by"),
        *numbers("Right again"),
        *numbers("median", "95 % interval", group="L2 in 8 bits, no-sign over sign"),
        *numbers("median", "95 % interval", group="L2 before rounding"),
    )
    caption = (
        f"The change at which a film turns for {sweep.source} when it is rounded to 8 bits before the model sees it: L2 of the "
        f"rounded film, no-sign over sign, medians with {sweep.intervals}, beside the same without "
        f"rounding. A film that only one attack turns counts as 0 or infinity; {sweep.described}."
    )
    title = "Turning strengths, stored"
    return Table("storing-turning" + sweep.suffix, title, caption, ratios, columns, rows, None, sweep.name)


def turning_sentences(sweep: FinishedSweep, ratios: pd.DataFrame) -> list[Sentence]:
    """Say what a no-sign step needs where films are stored in 8 bits."""
    sentences = []
    for row in ratios[ratios["films"] > ratios["neither"]].itertuples():
        before = "" if np.isnan(row.unrounded_l2_ratio) else f"; without rounding {row.unrounded_l2_ratio:.3f}"
        text = (
            f"To turn a film of {sweep.source} stored in 8 bits, one no-sign step needs {row.l2_ratio:.3f} times the L2 "
            f"norm of one sign step (median of {plural(row.films - row.neither, 'film')}; 95 % interval {row.l2_ratio_low:.3f} "
            f"to {row.l2_ratio_high:.3f}{before})."
        )
        sentences.append(Sentence(text, sweep.name))
    return sentences
